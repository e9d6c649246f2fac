"""Commands that move bytes: started, watched from outside, and interfered with.

A worker can be caught in the middle of a file and stopped there, so that what is done meanwhile meets a session at a
known place, however fast the machine is. Whatever a test leaves running is killed at its end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

import nursery
from faults.watching import PATIENCE, is_alive, is_frozen, is_traced, is_worker, positions, until
from processes import children

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass
class Ended:
    """A command that has ended. `document`: its JSON."""

    code: int
    document: dict[str, Any]
    errors: str


class Running:
    """A command that moves bytes: watched from outside, and interfered with."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def supervisor(self) -> int:
        """The process of the command itself, below its attendant if there is one."""
        with suppress(FileNotFoundError):
            if Path(f"/proc/{self.process.pid}/comm").read_text().strip() == "ingest-attend":
                return next(iter(children(self.process.pid)), self.process.pid)
        return self.process.pid

    @staticmethod
    def alive(pids: Iterable[int]) -> list[int]:
        """Those of some processes that have not ended."""
        return [pid for pid in pids if is_alive(pid)]

    def workers(self) -> list[int]:
        return [pid for pid in children(self.supervisor) if is_worker(pid)]

    def end(self, seconds: float = 90) -> Ended:
        """Wait for it."""
        out, errors = self.process.communicate(timeout=seconds)
        return Ended(self.process.returncode, json.loads(out or "{}"), errors)

    def end_killed(self, seconds: float = 90) -> bool:
        """Wait for it; whether SIGKILL ended it. It may not end in any other way but well."""
        out, errors = self.process.communicate(timeout=seconds)
        assert self.process.returncode in (0, -signal.SIGKILL), (self.process.returncode, out, errors)
        return self.process.returncode == -signal.SIGKILL

    def kill(self) -> None:
        """kill -9, proven to have hit."""
        os.kill(self.supervisor, signal.SIGKILL)
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == -signal.SIGKILL

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """What a terminal does: the whole group gets it."""
        os.killpg(self.process.pid, number)

    def catch(self, source: Path) -> Frozen:
        """Freeze the worker that is in the middle of a file: opened, some of it moved, more of it to come."""
        size = source.stat().st_size

        def middle(pid: int) -> bool:
            reading = positions(pid, str(source).__eq__)
            moved = reading + positions(pid, lambda path: "/.ingest/staging/" in path) if reading else []
            return bool(moved) and 0 < max(moved) <= size - (4 << 20)

        def caught() -> Frozen | None:
            assert self.process.poll() is None, (
                f"it ended before {source.name} was caught: {self.process.communicate()}"
            )
            if not (workers := self.workers()):
                time.sleep(0.005)  # it takes far longer until one has something open
            for pid in workers:
                if positions(pid, str(source).__eq__):
                    # From here on it moves only while nobody looks: it would be done before it was looked at twice.
                    frozen = Frozen([pid])
                    if middle(pid):
                        return frozen
                    frozen.thaw()
            return None

        with first():
            return until(caught, f"a worker in the middle of {source.name}", most=0.0005)

    def freeze(self) -> Frozen:
        """Freeze every worker, wherever it is."""
        return Frozen(until(self.workers, "a worker"))


@contextmanager
def first() -> Iterator[None]:
    """Before all others at the processor, where that may be asked: a copy takes less time than waiting for one's turn."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


class Frozen:
    """Workers that were stopped; as a context manager they go on at its end."""

    def __init__(self, workers: list[int]) -> None:
        self.workers = workers
        for pid in workers:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGSTOP)
            until(lambda pid=pid: is_frozen(pid), "a frozen worker")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()

    def thaw(self) -> None:
        for pid in self.workers:
            with suppress(ProcessLookupError):  # killed meanwhile
                os.kill(pid, signal.SIGCONT)


class Shell:
    """The command line of one journal, as these tests use it. Whatever still runs at the end is killed."""

    def __init__(self, ingest: Any) -> None:
        self._ingest = ingest
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str | Path, home: Path | None = None) -> Running:
        ingest = replace(self._ingest, home=home) if home else self._ingest
        return self._keep(ingest.start(*arguments, "--json", start_new_session=True))

    def traced(self, *arguments: str | Path, strace: list[str], home: Path | None = None) -> Running:
        """Start with strace attached, which follows the supervisor's threads and leaves its workers alone.

        What it counts begins with the program's own first step: interpreter and modules are loaded before.
        """
        if shutil.which("strace") is None:
            pytest.skip("needs strace")
        environment = {**self._ingest.environment, **({"INGEST_HOME": str(home)} if home else {})}
        child = nursery.halted(self._ingest.command(*arguments, "--json"), env=environment)
        self._keep(child)
        until(lambda: is_frozen(child.pid), "the command's process")
        command, null = ["strace", "-f", "-b", "execve", "-qq", *strace, "-p", str(child.pid)], subprocess.DEVNULL
        self._keep(tracer := subprocess.Popen(command, stdout=null, stderr=null, start_new_session=True))
        until(lambda: is_traced(child.pid) or tracer.poll() is not None, "the tracer")
        os.kill(child.pid, signal.SIGCONT)
        return Running(child)

    def _keep(self, process: subprocess.Popen[str]) -> Running:
        self._started.append(process)
        return Running(process)

    def run(self, *arguments: str | Path, home: Path | None = None, seconds: float = 90) -> Ended:
        """Run to the end."""
        environment = {**self._ingest.environment, **({"INGEST_HOME": str(home)} if home else {})}
        done = nursery.run(self._ingest.command(*arguments, "--json"), env=environment, text=True, timeout=seconds)
        assert "Traceback" not in done.stderr, done.stderr
        assert '"internal"' not in done.stdout, done.stdout
        found = json.loads(done.stdout or "{}")
        return Ended(done.returncode, found if isinstance(found, dict) else {"reports": found}, done.stderr)

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                with suppress(ProcessLookupError):  # a tracer ends with what it traces
                    os.killpg(process.pid, signal.SIGKILL)
            if process.stdout and not process.stdout.closed:
                process.communicate(timeout=PATIENCE)
            process.wait(PATIENCE)
