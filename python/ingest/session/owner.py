"""Who holds a session: a process, told apart from any later one by its start time and its machine's boot."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """A process.

    Attributes:
        machine: of its host. boot: of that machine's running kernel. space: its process-id namespace.
        pid, started: the process; the start in the kernel's clock ticks (0 where the system does not tell).
    """

    machine: str
    boot: str
    space: str
    pid: int
    started: int

    @classmethod
    def this(cls) -> Owner:
        """This process."""
        return cls(
            _machine(),
            _first_line("/proc/sys/kernel/random/boot_id"),
            _space(),
            os.getpid(),
            _started(os.getpid()) or 0,
        )

    def alive(self) -> bool | None:
        """Whether the process still runs; None if that cannot be told from here (another machine or container)."""
        here = Owner.this()
        if self.machine != here.machine:
            return None
        if self.boot != here.boot:
            return False
        if self.space != here.space:
            return None
        started = _started(self.pid)
        if started is None:
            return False
        return started == self.started or not (started and self.started)


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as lines:
            return lines.readline().strip()
    except OSError:
        return ""


def _machine() -> str:
    return _first_line("/etc/machine-id") or f"{uuid.getnode():012x}-{socket.gethostname()}"


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When a process started; None if there is no such process, 0 if the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as line:
            fields = line.read().rpartition(b")")[2].split()
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return None
    except OSError:
        return 0
    else:
        # A zombie does nothing any more, whoever forgot to reap it. Fields 3 and 22 of proc(5).
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return 0
    return 0
