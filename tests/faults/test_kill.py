"""kill -9 of the supervisor, anywhere: at the nth call of everything that changes something, and at chosen moments.

After each kill nothing wrong may stand under a final name; `ingest resume` alone then completes the session, copies
nothing again that was `validated`, reads nothing twice but to know a half-copied file's source again, and clears the
dead run's staging. A kill counts as a
hit only if the process died of SIGKILL while the journal held its session and did not call it completed.

strace injects the signal: it counts per thread and per system call, so each call is a sweep of its own, and the kill
lands before the call is made. Workers are left alone (``-b execve``): ``test_workers.py`` kills those.

Some 40 hits by default. ``INGEST_CAMPAIGN=full``: every call of every kind, of a session and of the resume of one that
was killed half-way, and many more of the chosen moments: more than 500 hits with `test_workers.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from faults.commands import Shell
from faults.journal import Journal
from processes import spread

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
pytestmark = pytest.mark.timeout(3600 if FULL else 300)
# Everything by which the supervisor changes a disk, or tells a worker what to do, and the flushes between.
CALLS = [
    "pwrite64", "write", "fdatasync", "fsync", "ftruncate", "renameat2", "mkdirat", "mkdir", "unlinkat", "unlink", "rmdir",
]  # fmt: skip
CLOSED = ("completed", "completed_with_errors", "cancelled", "failed")
MOST = None if FULL else 3  # points of one call
MOST_OF_RESUMES = None if FULL else 2
CALLS_OF_RESUMES = CALLS if FULL else ["pwrite64", "write", "fdatasync", "renameat2", "unlinkat"]
AT_ONCE = os.cpu_count() or 1
LOOK = 32 << 20  # what is read again at most, of the one big file


@dataclass
class Rounds:
    """Runs a session, has it killed, resumes and checks; each round in folders of its own."""

    card: Any
    template: Path
    folder: Path
    shell: Any
    check: Any
    tally: Counter
    numbers: Iterator[int] = field(default_factory=count)

    def prepare(self) -> tuple[Path, Path]:
        """A journal that knows a session already, and an archive that carries its marker."""
        place = self.folder / f"round-{next(self.numbers)}"
        shutil.copytree(self.template, place)
        return place / "home", place / "archive"

    def start(self, home: Path, archive: Path, *strace: str) -> Any:
        return self.shell.traced(
            "copy", self.card.folder, archive, "--workers", "2", strace=["-o", "/dev/null", *strace], home=home
        )

    def left(self, home: Path) -> Any:
        """The session as the kill left it; None if it was not running (not opened yet, or over already)."""
        session = Journal(home).session(self.card)
        return None if session is None or session["state"] in CLOSED else session

    def resumed(self, home: Path, archive: Path, before: Any) -> None:
        """Everything that has to be true after a hit, and after `resume` alone."""
        self.tally["hits"] += 1
        self.check(self.card, archive, complete=False, home=home)
        journal = Journal(home)
        proven = {
            key: row for key, row in journal.copies(before["key"]).items() if row["state"] in ("validated", "finalized")
        }
        ended = self.shell.run("resume", home=home)
        assert (ended.code, ended.document["state"]) == (0, "completed"), ended
        self.check(self.card, archive, home=home)
        after = journal.copies(before["key"])
        for key, row in proven.items():
            again = after[key]
            assert (again["attempts"], again["staging"], again["blake3"]) == (
                row["attempts"],
                row["staging"],
                row["blake3"],
            )
        now = journal.session(self.card)
        read, resumed = (now[key] - before[key] for key in ("bytes_read", "bytes_resumed"))
        owed = self.card.size - sum(row["size"] for row in proven.values()) - resumed
        assert owed <= read <= owed + LOOK, f"resume read {read} bytes of the source, {owed} were not there"
        self.tally["half copies gone on with"] += resumed > 0
        self.tally["validated copies not made again"] += len(proven)
        shutil.rmtree(home.parent)


@pytest.fixture
def rounds(make_card, shell, check, tally, tmp_path):
    card = make_card()
    template = tmp_path / "template"
    (template / "archive").mkdir(parents=True)
    other = make_card({"before.jpg": 1000}, tmp_path / "OTHER")
    assert shell.run("copy", other.folder, template / "archive", home=template / "home").code == 0
    # What is there already belongs to another card: only this one's names are to be looked at.
    shutil.rmtree(template / "archive" / "OTHER")
    # Where it was made nothing stands any more: beside it, each copy of it would be a clone.
    kept = template.rename(tmp_path / "kept")
    return Rounds(card, kept, tmp_path, shell, check, tally)


def counted(rounds: Rounds, *command: Any, home: Path) -> Counter:
    """How often a thread of the supervisor makes each call, at most, in a run that nobody disturbs."""
    log = rounds.folder / "calls"
    traced = ["-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    assert rounds.shell.traced(*command, strace=traced, home=home).end().code == 0
    by_thread = Counter(re.findall(rf"^(\d+) +({'|'.join(CALLS)})\(", log.read_text(), re.MULTILINE))
    most: Counter = Counter()
    for (_, call), number in by_thread.items():
        most[call] = max(most[call], number)
    return most


def points(calls: Counter, most: int | None, of: list[str]) -> list[tuple[str, int]]:
    return [(call, nth) for call, number in sorted(calls.items()) if call in of for nth in spread(number, most)]


@pytest.mark.slow
def test_killed_at_any_call_of_a_session_resume_completes_it(rounds, tally):
    home, archive = rounds.prepare()
    calls = counted(rounds, "copy", rounds.card.folder, archive, "--workers", "2", home=home)
    assert calls["pwrite64"] > 20, "the journal was written in this run"

    def one(point: tuple[str, int]) -> None:
        call, nth = point
        home, archive = rounds.prepare()
        running = rounds.start(home, archive, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={nth}")
        killed = running.end_killed()
        before = rounds.left(home)
        if before is not None:
            assert killed, f"{call} {nth}: nobody killed it, and it did not complete"
            rounds.resumed(home, archive, before)
        elif killed:
            # Before the session was written down, or after it was completed: nothing is left to resume.
            tally["kills outside a session"] += 1
            assert rounds.shell.run("copy", rounds.card.folder, archive, home=home).code == 0
            rounds.check(rounds.card, archive, home=home)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, points(calls, MOST, CALLS)))

    assert tally["hits"] >= (100 if FULL else 9), tally


@pytest.mark.slow
def test_killed_at_any_call_of_a_resume_the_next_one_completes_it(rounds, tally):
    """Each run is killed twice: half-way through its session, and while that is taken up again."""
    home, archive = rounds.prepare()
    command = ("copy", rounds.card.folder, archive, "--workers", "2")
    halfway = counted(rounds, *command, home=home)["fdatasync"] // 2

    def killed_halfway() -> tuple[Path, Path]:
        home, archive = rounds.prepare()
        inject = ["-e", "trace=fdatasync", "-e", f"inject=fdatasync:signal=KILL:when={halfway}"]
        assert rounds.start(home, archive, *inject).end_killed()
        assert rounds.left(home) is not None
        return home, archive

    home, archive = killed_halfway()
    calls = counted(rounds, "resume", home=home)

    def one(point: tuple[str, int]) -> None:
        call, nth = point
        home, archive = killed_halfway()
        tally["kills half-way, before"] += 1
        inject = ["-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={nth}"]
        killed = rounds.shell.traced("resume", strace=inject, home=home).end_killed()
        before = rounds.left(home)
        if before is not None:
            assert killed, f"{call} {nth}: nobody killed it, and it did not complete"
            rounds.resumed(home, archive, before)
        else:
            tally["kills outside a session"] += killed
            rounds.check(rounds.card, archive, home=home)
            shutil.rmtree(home.parent)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, points(calls, MOST_OF_RESUMES, CALLS_OF_RESUMES)))

    assert tally["hits"] >= (100 if FULL else 5), tally


def test_an_engine_that_gives_names_before_the_bytes_is_caught(make_card, archive, check, ingest, until):
    card = make_card({"B.MOV": 1_500_000})
    extra = (("PYTHONPATH", str(Path(__file__).with_name("meddling"))), ("INGEST_BROKEN", "hasty"))
    hasty = Shell(replace(ingest, extra=extra))
    slowly = ["-o", "/dev/null", "-e", "trace=write", "-e", "inject=write:delay_enter=50000"]
    running = hasty.start("copy", card.folder, archive, "--workers", "1")
    try:
        victim = until(running.workers, "a worker")[0]
        tracer = subprocess.Popen(["strace", "-f", "-qq", *slowly, "-p", str(victim)])
        until((archive / "CARD/B.MOV").exists, "a name")
        running.kill()
        tracer.wait(30)
    finally:
        hasty.close()

    with pytest.raises(AssertionError, match="wrong bytes under a final name"):
        check(card, archive, complete=False)


def staging_file(archive, journal, card):
    return next(archive.glob(".ingest/staging/*/*.part"), None)


def final_name(archive, journal, card):
    return (archive / card.folder.name).exists()


def validated_row(archive, journal, card):
    return journal.live("SELECT 1 FROM copies WHERE state = 'validated'")


def finalized_row(archive, journal, card):
    return journal.live("SELECT 1 FROM copies WHERE state = 'finalized' AND session > 1")  # the template's is the first


def manifest_part(archive, journal, card):
    return len(list(archive.glob(".ingest/manifests/*/*.parquet"))) > 1


# Commits that take this long (microseconds) leave the moments between them open long enough to be seen.
SLOW_COMMITS = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=15000"]


@pytest.mark.parametrize(
    "moment", [staging_file, final_name, validated_row, finalized_row, manifest_part], ids=lambda m: m.__name__
)
def test_killed_at_a_chosen_moment_resume_completes_it(rounds, tally, until, moment):
    def one(_: int) -> None:
        for _ in range(5):  # a moment can be over before the signal arrives: then it is tried again
            home, archive = rounds.prepare()
            journal = Journal(home)
            running = rounds.start(home, archive, *SLOW_COMMITS)
            until(lambda: moment(archive, journal, rounds.card), moment.__name__)  # noqa: B023 - called at once
            running.kill()
            if before := rounds.left(home):
                rounds.resumed(home, archive, before)
                return
        pytest.fail("never hit")

    times = 20 if FULL else 2
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, range(times)))
    assert tally["hits"] == times


def test_killed_while_it_scans_the_scan_begins_again(rounds, tally):
    folders = ["DCIM/100CANON", "DCIM/101CANON", "PRIVATE", "CLIP"][:: 1 if FULL else 2]

    def one(folder: str) -> None:
        home, archive = rounds.prepare()
        path = str(rounds.card.folder / folder)
        running = rounds.start(home, archive, "-P", path, "-e", "inject=getdents64:signal=KILL:when=2")

        assert running.end_killed()

        before = rounds.left(home)
        assert (before["state"], before["scanned"]) == ("scanning", 0)
        rounds.resumed(home, archive, before)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, folders))
    assert tally["hits"] == len(folders)


def test_killed_again_and_again_while_it_resumes_it_still_completes(rounds, tally, until):
    """Each resume gets a little further; at the end one is left alone."""
    home, archive = rounds.prepare()
    journal = Journal(home)
    running = rounds.start(home, archive, *SLOW_COMMITS)
    until(lambda: staging_file(archive, journal, rounds.card), "a staging file")
    running.kill()
    before = rounds.left(home)
    for nth in range(1, 40 if FULL else 9):
        strace = ["-o", "/dev/null", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:signal=KILL:when={nth}"]

        killed = rounds.shell.traced("resume", strace=strace, home=home).end_killed()

        rounds.check(rounds.card, archive, complete=False, home=home)
        if not killed or rounds.left(home) is None:
            break
        tally["hits"] += 1
    assert tally["hits"] >= 4
    assert journal.session(rounds.card)["run"] >= before["run"] + 3, (
        "the kills hit resumes that had taken the session up"
    )
    if left := rounds.left(home):
        rounds.resumed(home, archive, left)
    else:
        rounds.check(rounds.card, archive, home=home)


@pytest.mark.parametrize(("call", "nth"), [("fsync", 1), ("renameat2", 1), ("fsync", 3), ("fsync", 5)])
def test_killed_while_a_root_gets_its_marker_the_next_copy_works(rounds, tally, call, nth):
    """A new root: no session is written down before the marker is durable, and no half marker is ever seen."""
    home, archive = rounds.prepare()
    shutil.rmtree(archive)
    archive.mkdir()
    running = rounds.start(home, archive, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={nth}")

    assert running.end_killed()

    assert Journal(home).session(rounds.card) is None
    rounds.check.nothing(archive)
    assert rounds.shell.run("copy", rounds.card.folder, archive, home=home).code == 0
    rounds.check(rounds.card, archive, home=home)
    tally["kills outside a session"] += 1


def test_two_destinations_and_a_kill_in_between(make_card, shell, check, journal, tally, until, tmp_path):
    card = make_card()
    roots = [tmp_path / "first", tmp_path / "second"]
    for root in roots:
        root.mkdir()
    running = shell.start("copy", card.folder, roots[0], "--also", roots[1])
    until(lambda: (roots[0] / "CARD").exists() or (roots[1] / "CARD").exists(), "a final name")
    running.kill()
    assert journal.session(card)["state"] not in CLOSED
    tally["hits"] += 1
    check(card, *roots, complete=False)

    ended = shell.run("resume")

    assert ended.code == 0
    check(card, *roots)


def test_orphans_die_with_their_supervisor(make_card, archive, shell, check, until):
    card = make_card({"A.MOV": 100 << 20, "B.MOV": 100 << 20})
    running = shell.start("copy", card.folder, archive, "--workers", "2")
    with running.catch(card.folder / "A.MOV"):
        workers = until(lambda: (found := running.workers()) and len(found) == 2 and found, "two workers")

        running.kill()

        until(lambda: not running.alive(workers), "the workers' end", 5)
    check.nothing(archive)
    assert shell.run("resume").code == 0
    check(card, archive)


def test_a_session_that_is_being_worked_on_is_left_alone(make_card, archive, shell, check, journal):
    card = make_card({"A.MOV": 100 << 20})
    running = shell.start("copy", card.folder, archive)
    with running.catch(card.folder / "A.MOV"):
        session = journal.session(card)["id"]

        by_name, by_default = shell.run("resume", session), shell.run("resume")

        assert (by_name.code, by_default.code) == (8, 0)
        assert "worked on" in by_name.document["error"]["cause"]
    assert running.end().code == 0
    check(card, archive)
