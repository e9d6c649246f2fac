"""Every system call of a small session may fail: with EIO, with ENOSPC, interrupted, or told to try again.

strace makes the nth call of a kind fail, in each thread that makes so many, of the supervisor or of a worker; all
kinds that an undisturbed session makes, but for those of `SPARED`, which say why. Counting begins with the program's
own first step: interpreter and modules are loaded before (nursery.py). Each run ends well, with everything there and
right, or non-zero, with nothing acknowledged that is not; never as a bug, never for ever; and what did not end well is
then completed by `ingest resume` or another copy.

Some 25 failures by default. ``INGEST_CAMPAIGN=full``: more than 500, of every kind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any

import pytest

from faults.watching import is_frozen, is_traced
from nursery import Child, Nursery
from processes import children, spread

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
pytestmark = [
    pytest.mark.timeout(7200 if FULL else 300),
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
]
LANES = int(os.environ.get("INGEST_CAMPAIGN_LANES", os.cpu_count() or 1))  # runs side by side
ERRORS = ["EIO", "ENOSPC", "EINTR", "EAGAIN"]
FILES = {"A.JPG": 3000, "B.MOV": 1_200_000, "D/C.JPG": 500}
OPTIONS = ["--workers", "1", "--stall-copy", "5", "--stall-validate", "5"]
MOST = 3  # calls of a kind that fail, the first, a middle and the last, with each error
LONGEST = 120.0  # seconds of a run
TRIES = 3  # on a machine that is very busy, a disk may be given up that is only slow
# What is not made to fail.
SPARED = {
    "futex": "no file: a lock of the C library, whose failure is a crash by design",
    "clone": "no file", "clone3": "no file", "vfork": "no file", "fork": "no file", "execve": "another program begins",
    "exit": "has no answer", "exit_group": "has no answer", "rt_sigreturn": "has no answer", "restart_syscall": "has no answer",
    "rt_sigprocmask": "cannot fail", "rt_sigaction": "cannot fail", "sigaltstack": "cannot fail", "gettid": "cannot fail",
    "getpid": "cannot fail", "getppid": "cannot fail", "sched_yield": "cannot fail", "set_robust_list": "cannot fail",
    "rseq": "cannot fail", "madvise": "advice on memory", "munmap": "memory that is given back", "brk": "memory: see mmap",
    "mprotect": "memory: see mmap", "mremap": "memory: see mmap",
    "kill": "a signal to a child of one's own: it cannot fail like this",
    "getrandom": "random bytes come from memory; a runtime whose hash tables get none ends by design",
    "mmap": "memory that cannot be had ends a process at once, as any allocation may: that is what kills are for",
}  # fmt: skip


# Children


def begin(
    nursery: Nursery, home: Path, *arguments: Any, environment: dict[str, str] | None = None, **order: Any
) -> Child:
    """Start a child with a journal of its own, as the leader of a session."""
    told = {**os.environ, "INGEST_HOME": str(home), **(environment or {})}
    return nursery.begin([*map(str, arguments), "--json"], told, leads=True, **order)


def end(child: Child) -> Ended:
    """Wait for it."""
    out, errors = child.communicate()
    code = child.wait()
    try:
        found = json.loads(out or "{}")
    except ValueError:
        found = {"cut": out}
    return Ended(code, found if isinstance(found, dict) else {"reports": found}, out, errors)


def run(nursery: Nursery, home: Path, *arguments: Any, **order: Any) -> Ended:
    return end(begin(nursery, home, *arguments, **order))


@dataclass(frozen=True)
class Ended:
    code: int
    document: dict[str, Any]
    out: str
    errors: str


# Runs


@dataclass(frozen=True)
class Point:
    """The nth call of a kind fails so, in the supervisor or in a worker."""

    role: str
    call: str
    error: str
    nth: int

    def __str__(self) -> str:
        return f"{self.role} | {self.call} {self.nth} | {self.error}"

    @property
    def injection(self) -> list[str]:
        return ["-e", f"trace={self.call}", "-e", f"inject={self.call}:error={self.error}:when={self.nth}"]


class SilentError(AssertionError):
    """A run was wrong and did not say so, or said what it must not."""


@dataclass
class Lane:
    """Room for runs, one after the other."""

    folder: Path
    nursery: Nursery
    make_bench: Any
    until: Any
    numbers: Any = field(default_factory=count)

    def go(self, role: str, tracing: list[str], judge: Any, **extra: str) -> Any:
        """A session of which one process is traced, and what a judge makes of it; `extra`: of a worker's environment."""
        place = self.folder / f"{next(self.numbers)}"
        place.mkdir()
        bench = self.make_bench(place)
        card = bench.card(FILES, place / "CARD", place / "CARD")
        roots = [place / "first", place / "second"]
        for root in roots:
            root.mkdir()
        home, log = bench.ingest.home, place / "calls"
        command = ["copy", card.folder, roots[0], "--also", roots[1], *OPTIONS]
        environment = {
            "PYTHONPATH": str(Path(__file__).with_name("meddling")), "INGEST_HALT": str(place / "halted"), **extra
        }  # fmt: skip
        if role == "worker":
            supervisor = begin(self.nursery, home, *command, environment=environment)
            (pid,) = self.until(lambda: [pid for pid in children(supervisor.pid) if is_frozen(pid)], "a worker")
        else:
            supervisor = begin(self.nursery, home, *command, halt=True)
            pid = supervisor.pid
            self.until(lambda: is_frozen(pid), "the supervisor")
        strace = subprocess.Popen(["strace", "-f", "-b", "execve", "-qq", "-o", log, *tracing, "-p", str(pid)])
        self.until(lambda: is_traced(pid) or strace.poll() is not None, "the tracer")
        os.kill(pid, signal.SIGCONT)
        watch = threading.Timer(LONGEST, os.killpg, (supervisor.pid, signal.SIGKILL))
        watch.start()
        try:
            ended = end(supervisor)
        finally:
            late = not watch.is_alive()
            watch.cancel()
            strace.wait(30)
        run = Run(bench, card, roots, home, self.nursery, command)
        try:
            return judge(run, ended, log.read_text(errors="replace"), late)
        finally:
            shutil.rmtree(place)


@dataclass(frozen=True)
class Run:
    """A session that has ended."""

    bench: Any
    card: Any
    roots: list[Path]
    home: Path
    nursery: Nursery
    command: list[Any]

    def judge(self, point: Point, ended: Ended) -> int:
        """What it says and what is there must agree, and it can be completed; acknowledgements that were checked."""
        self._speaks(point, ended)
        if ended.code == 0:
            # A folder that could not be removed stays, empty, with a warning.
            left = point.call in ("rmdir", "unlink", "unlinkat") and "staging was not cleared" in ended.out
            return self.bench.check(self.card, *self.roots, abandoned=left)
        checked = self.bench.check(self.card, *self.roots, complete=False)
        session = ended.document.get("session")
        for _ in range(TRIES):
            again = run(self.nursery, self.home, "resume", *([session] if session else []))
            if again.code != 8:
                break
        if again.code or "session" not in json.dumps(again.document):
            again = run(self.nursery, self.home, *self.command)
        if again.code:
            raise SilentError(f"it cannot be completed: {again}, after {ended}")
        return checked + self.bench.check(self.card, *self.roots)

    def _speaks(self, point: Point, ended: Ended) -> None:
        # A worker whose interpreter was not told what to run says so by itself, before any of the program's lines.
        # What a library's finalizer meets when it closes something is ignored by the interpreter, and told.
        spoken = sum(ended.errors.count(each) for each in ("in spawn_main", "Exception ignored in"))
        unborn = ended.errors.count("Traceback") <= spoken
        if ("Traceback" in ended.errors and not unborn) or '"internal"' in ended.out:
            raise SilentError(f"a bug was shown: {ended.out} {ended.errors}")
        document = ended.document
        if ended.code == 0 and "session" not in document:
            raise SilentError(f"it went well, and did not say so: {ended}")
        # What could not be written cannot be read here.
        heard = point.call == "write" or ended.code in (0, -signal.SIGABRT)
        if not heard and not any(document.get(key) for key in ("error", "failures", "problem")):
            raise SilentError(f"exit {ended.code}, and no word of what: {ended}")


# The sweep


@pytest.fixture(scope="module")
def lanes(tmp_path_factory, make_bench, until):
    folder = tmp_path_factory.mktemp("lanes")
    free: SimpleQueue[Lane] = SimpleQueue()
    unlearned = Nursery(folder, ["ingest.cli.app"])
    (folder / "CARD").mkdir()
    (folder / "CARD/A.MOV").write_bytes(bytes(1_200_000))
    (folder / "archive").mkdir()
    learned = run(unlearned, folder / "home", "copy", folder / "CARD", folder / "archive", learn=folder / "learned")
    assert learned.code == 0, learned
    modules = (folder / "learned").read_text().split()
    unlearned.close()
    nursery = Nursery(folder, modules)
    for number in range(LANES):
        place = folder / f"lane-{number}"
        place.mkdir()
        free.put(Lane(place, nursery, make_bench, until))
    yield free
    nursery.close()


@contextmanager
def lane(lanes):
    one = lanes.get()
    try:
        yield one
    finally:
        lanes.put(one)


def calls(lanes, role: str) -> Counter:
    """How often a thread of this process makes each call, at most, in a session that nobody disturbs."""

    def judge(run: Run, ended: Ended, log: str, _: bool) -> Counter:
        assert ended.code == 0, ended
        by_thread = Counter(re.findall(r"^(\d+) +(\w+)\(", log, re.MULTILINE))
        most: Counter = Counter()
        for (_, call), number in by_thread.items():
            most[call] = max(most[call], number)
        return most

    with lane(lanes) as one:
        found = one.go(role, ["-e", "trace=all"], judge)
    # A call that is younger than strace (cachestat) has a number for a name there, and cannot be told to fail.
    return Counter(
        {call: number for call, number in found.items() if call not in SPARED and not call.startswith("syscall_")}
    )


def points(role: str, found: Counter) -> list[Point]:
    every = [
        Point(role, call, error, nth)
        for call, number in sorted(found.items()) for error in ERRORS for nth in spread(number, MOST)
    ]  # fmt: skip
    # In an order that leaves a campaign which is stopped early with something of everything.
    return Random(f"some of them, {role}").sample(every, len(every) if FULL else 10)


@pytest.mark.parametrize("role", ["supervisor", "worker"])
def test_no_call_that_fails_is_silent(lanes, tally, told, role):
    found = calls(lanes, role)
    assert {"openat", "read", "write", "close"} <= set(found), found
    wrong: list[str] = []
    chosen = points(role, found)
    told.append(f"{role}: {len(chosen)} runs, of {len(found)} system calls: {', '.join(sorted(found))}")

    def one(point: Point) -> None:
        def judge(run: Run, ended: Ended, log: str, late: bool) -> None:
            met = log.count("(INJECTED)")
            tally["runs"] += 1
            tally["runs that met none"] += not met
            tally["failures injected"] += met
            if late:
                raise SilentError(f"it never ended: {log[-2000:]}")
            checked = run.judge(point, ended)
            tally["acknowledgements checked"] += checked
            tally["well in the end" if ended.code == 0 else "ended non-zero"] += bool(met)
            told.append(f"{point} | {met} met | exit {ended.code} | {checked} acknowledgements")

        with lane(lanes) as room:
            try:
                room.go(role, point.injection, judge)
            except Exception as error:  # noqa: BLE001 - all of them are told at the end
                wrong.append(f"{point} | WRONG | {type(error).__name__}: {error}")
                told.append(wrong[-1])

    with ThreadPoolExecutor(LANES) as pool:
        list(pool.map(one, chosen))

    assert not wrong, f"{len(wrong)} of {tally['runs']}:\n" + "\n".join(wrong)
    assert tally["failures injected"] >= (250 if FULL else 7), tally
    # A call that does not come in every run is missed now and then.
    assert tally["runs that met none"] <= tally["runs"] // 10, tally
    assert tally["acknowledgements checked"], "nothing was acknowledged: this proves nothing"


def test_an_engine_that_does_not_hear_of_failures_is_caught(lanes):
    """The first write of a worker's that is not to its pipe."""
    found = []

    def judge(run: Run, ended: Ended, log: str, _: bool) -> None:
        assert "(INJECTED)" in log
        with pytest.raises(AssertionError, match=r"was acknowledged, and is|nothing on the card explains|wrong bytes"):
            run.judge(Point("worker", "write", "EIO", 1), ended)
        found.append(ended.code)

    with lane(lanes) as one:
        one.go("worker", Point("worker", "write", "EIO", 1).injection, judge, INGEST_BROKEN="deaf")

    assert found == [0]
