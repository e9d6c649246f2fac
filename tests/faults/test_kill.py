"""kill -9 of the supervisor, anywhere: at the nth call of everything that changes something, and at chosen moments.

After each kill nothing wrong may stand under a final name; `ingest resume` alone then completes the session, copies
nothing again that was `validated`, reads nothing twice for it, and clears the dead run's staging. A kill counts as a
hit only if the process died of SIGKILL while the journal held its session and did not call it completed.

strace injects the signal: it counts per thread and per system call, so each call is a sweep of its own, and the kill
lands before the call is made. Workers are left alone (``-b execve``): ``test_workers.py`` kills those.

About 40 hits by default. ``INGEST_CAMPAIGN=full``: every call of every kind, and many more of the chosen moments,
several hundred hits in about a quarter of an hour.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
# Everything by which the supervisor changes a disk, or tells a worker what to do, and the flushes between.
CALLS = [
    "pwrite64", "write", "fdatasync", "fsync", "ftruncate", "renameat2", "mkdirat", "mkdir", "unlinkat", "unlink", "rmdir",
]  # fmt: skip
CLOSED = ("completed", "completed_with_errors", "cancelled", "failed")
MOST = None if FULL else 12  # points of one call
AT_ONCE = os.cpu_count() or 1


@dataclass
class Rounds:
    """Runs a session, has it killed, resumes and checks; each round in folders of its own."""

    card: Any
    template: Path
    folder: Path
    shell: Any
    check: Any
    journal: Any
    tally: Counter
    made: int = 0

    def prepare(self) -> tuple[Path, Path]:
        """A journal that knows a session already, and an archive that carries its marker."""
        self.made += 1
        place = self.folder / f"round-{self.made}"
        shutil.copytree(self.template, place)
        return place / "home", place / "archive"

    def start(self, home: Path, archive: Path, *strace: str) -> Any:
        return self.shell.traced(
            "copy", self.card.folder, archive, "--workers", "2", strace=["-o", "/dev/null", *strace], home=home
        )

    def left(self, home: Path) -> Any:
        """The session as the kill left it; None if it was not running (not opened yet, or over already)."""
        session = self.journal(home).session(self.card)
        return None if session is None or session["state"] in CLOSED else session

    def resumed(self, home: Path, archive: Path, before: Any) -> None:
        """Everything that has to be true after a hit, and after `resume` alone."""
        self.tally["hits"] += 1
        self.check(self.card, archive, complete=False, home=home)
        journal = self.journal(home)
        proven = {key: row for key, row in journal.copies(before["key"]).items() if row["state"] in ("validated", "finalized")}
        ended = self.shell.run("resume", home=home)
        assert (ended.code, ended.document["state"]) == (0, "completed"), ended
        self.check(self.card, archive, home=home)
        after = journal.copies(before["key"])
        for key, row in proven.items():
            again = after[key]
            assert (again["attempts"], again["staging"], again["blake3"]) == (row["attempts"], row["staging"], row["blake3"])
        read = journal.session(self.card)["bytes_read"] - before["bytes_read"]
        owed = self.card.size - sum(row["size"] for row in proven.values())
        assert read == owed, f"resume read {read} bytes of the source, {owed} were not validated"
        self.tally["validated copies not made again"] += len(proven)
        shutil.rmtree(home.parent)


@pytest.fixture
def rounds(make_card, shell, check, journal, tally, tmp_path):
    card = make_card()
    template = tmp_path / "template"
    (template / "archive").mkdir(parents=True)
    other = make_card({"before.jpg": 1000}, tmp_path / "OTHER")
    assert shell.run("copy", other.folder, template / "archive", home=template / "home").code == 0
    # What is there already belongs to another card: only this one's names are to be looked at.
    shutil.rmtree(template / "archive" / "OTHER")
    return Rounds(card, template, tmp_path, shell, check, lambda home: type(journal)(home), tally)


def spread(count: int, most: int | None) -> list[int]:
    """From the first call to the last, evenly."""
    if most is None or count <= most:
        return list(range(1, count + 1))
    return sorted({1 + round(step * (count - 1) / (most - 1)) for step in range(most)})


def counted(rounds: Rounds, *command: Any, home: Path) -> Counter:
    """How often a thread of the supervisor makes each call, at most, in a run that nobody disturbs."""
    log = rounds.folder / "calls"
    traced = ["-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    assert rounds.shell.traced(*command, strace=traced, home=home).end().code == 0
    by_thread = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE))
    most: Counter = Counter()
    for (_, call), number in by_thread.items():
        most[call] = max(most[call], number)
    return most


def points(calls: Counter, most: int | None) -> list[tuple[str, int]]:
    return [(call, nth) for call, number in sorted(calls.items()) for nth in spread(number, most)]


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
            assert rounds.shell.run("resume", home=home).code == 0
            assert rounds.shell.run("copy", rounds.card.folder, archive, home=home).code == 0
            rounds.check(rounds.card, archive, home=home)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, points(calls, MOST)))

    assert tally["hits"] >= (150 if FULL else 24), tally
