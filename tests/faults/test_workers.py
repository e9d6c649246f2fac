"""Workers that die: replaced, what they worked on is done again by another, and a file that kills two is given up.

strace kills one worker at the nth call of a kind; it is attached to that process alone, so that the worker that
replaces it lives. The session has to go on by itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"  # about 130 kills instead of 17
pytestmark = pytest.mark.timeout(3600 if FULL else 300)
# What a worker does to a disk, and how it answers (`write` to the pipe as well).
CALLS = {
    "openat2": 30, "write": 30, "fallocate": 1, "sync_file_range": 20, "fsync": 20, "utimensat": 8, "renameat2": 12,
    "mkdirat": 2, "fadvise64": 10, "syncfs": 1,
}  # fmt: skip
POINTS = [(call, nth) for call, most in CALLS.items() for nth in (range(1, most + 1) if FULL else {1, most})]


def crashed(ended):
    return [warning for warning in ended.document["warnings"] if "crashed" in warning]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("call", CALLS)
def test_a_worker_killed_at_any_call_is_replaced_and_the_session_completes(
    make_card, tmp_path, shell, check, tally, until, call
):
    card = make_card()

    def one(nth):
        archive, home = tmp_path / f"{nth}/archive", tmp_path / f"{nth}/home"
        archive.mkdir(parents=True)
        running = shell.start("copy", card.folder, archive, "--workers", "1", home=home)
        victim = until(running.workers, "a worker")[0]
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={nth}"]
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", os.devnull, *inject, "-p", str(victim)])

        ended = running.end()

        assert tracer.wait(10) in (0, -signal.SIGKILL)
        assert (ended.code, ended.document["state"]) == (0, "completed"), ended
        tally["hits"] += len(crashed(ended))
        check(card, archive, home=home)
        shutil.rmtree(archive)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, [nth for name, nth in POINTS if name == call]))
    assert tally["hits"], f"no worker was killed at {call}"


def test_a_worker_killed_in_the_middle_of_a_big_file_is_replaced(make_card, archive, shell, check, journal):
    card = make_card({"A.JPG": 10_000, "B.MOV": 120 << 20, "C.JPG": 10_000})
    running = shell.start("copy", card.folder, archive)
    with running.catch(card.folder / "B.MOV") as caught:
        os.kill(caught.workers[0], signal.SIGKILL)

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (0, "completed")
    assert len(crashed(ended)) == 1
    check(card, archive)
    attempts = {
        bytes(row["source_path"]): row["attempts"] for row in journal.copies(journal.session(card)["key"]).values()
    }
    assert attempts[b"B.MOV"] == 2


def test_a_file_that_kills_two_workers_is_given_up_and_the_rest_arrives(make_card, archive, shell, check):
    card = make_card({"A.JPG": 10_000, "POISON.MOV": 120 << 20, "Z.JPG": 10_000, "Z.MOV": 100 << 20})
    running = shell.start("copy", card.folder, archive)
    for _ in range(2):
        with running.catch(card.folder / "POISON.MOV") as caught:
            os.kill(caught.workers[0], signal.SIGKILL)

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (7, "completed_with_errors")
    (failure,) = ended.document["failures"]
    assert failure["path"].endswith("POISON.MOV")
    assert (failure["state"], failure["reason"]) == ("failed", "crashed")
    assert failure["advice"]
    check(card, archive, missing={"POISON.MOV"})
    assert not (archive / "CARD/POISON.MOV").exists()
    # The cause is gone: named, the session is taken up once more, and its failed file arrives.
    again = shell.run("resume", ended.document["session"])
    assert (again.code, again.document["state"]) == (0, "completed")
    check(card, archive)


def test_what_waits_behind_a_file_that_kills_workers_is_not_blamed(make_card, archive, shell, check):
    card = make_card({"A_POISON.MOV": 120 << 20, "B.MOV": 80 << 20, "C.JPG": 10_000, "D.JPG": 10_000})
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    for _ in range(2):
        with running.catch(card.folder / "A_POISON.MOV") as caught:
            os.kill(caught.workers[0], signal.SIGKILL)

    ended = running.end()

    assert [Path(failure["path"]).name for failure in ended.document["failures"]] == ["A_POISON.MOV"]
    assert ended.code == 7
    check(card, archive, missing={"A_POISON.MOV"})


def test_every_worker_killed_at_once_is_replaced(make_card, archive, shell, check):
    card = make_card({f"{name}.MOV": 70 << 20 for name in "ABCD"})
    running = shell.start("copy", card.folder, archive, "--workers", "2")
    with running.catch(card.folder / "A.MOV"):
        for pid in running.workers():
            os.kill(pid, signal.SIGKILL)

    ended = running.end()

    assert (ended.code, len(crashed(ended))) == (0, 2)
    check(card, archive)


def test_a_source_cut_off_under_its_map_is_changed_and_kills_no_session(make_card, tmp_path, shell, check):
    """A write(2) that meets the missing page gives an error instead of the signal: then it is tried again."""
    for attempt in range(5):
        archive = tmp_path / f"archive-{attempt}"
        archive.mkdir()
        card = make_card({"A.JPG": 10_000, "B.MOV": 120 << 20, "C.JPG": 10_000})
        running = shell.start("copy", card.folder, archive, "--read-mode", "mmap")
        with running.catch(card.folder / "B.MOV"):
            os.truncate(card.folder / "B.MOV", 4096)

        ended = running.end()

        assert (ended.code, ended.document["state"]) == (7, "completed_with_errors")
        (failure,) = ended.document["failures"]
        assert (Path(failure["path"]).name, failure["state"]) == ("B.MOV", "changed")
        assert not (archive / "CARD/B.MOV").exists()
        check(card, archive, missing={"B.MOV"})
        if any(f"exit {-signal.SIGBUS}" in warning for warning in crashed(ended)):
            return
    pytest.fail("no worker died of SIGBUS: this proves nothing")


def test_workers_leave_no_process_behind(make_card, archive, shell, check, until):
    card = make_card({"B.MOV": 100 << 20})
    running = shell.start("copy", card.folder, archive, "--workers", "2")
    with running.catch(card.folder / "B.MOV") as caught:
        os.kill(caught.workers[0], signal.SIGKILL)
    seen = set(until(lambda: (found := running.workers()) and len(found) == 2 and found, "two workers again"))

    assert running.end().code == 0

    until(lambda: not running.alive(seen), "the workers' end", 5)
    check(card, archive)
