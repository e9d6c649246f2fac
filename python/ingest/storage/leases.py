"""Leases: how a session tells those who look at a root from elsewhere that it is being worked on.

A file per session, ``.ingest/leases/<session>``: who holds it, and a counter that moves every 15 s. Nothing that matters
rests on it: staging names are nobody else's, nothing is ever replaced, and what is not proven gets no name. It only keeps
others from clearing away, or taking up, what is being worked on. Whoever wants to do that and cannot know better watches
the lease on a clock of its own: one that stood still for twice its time is stale. Clocks of different machines are
never compared.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
from dataclasses import asdict, dataclass, field, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import from_os_error
from ingest.storage.deposit import deposit
from ingest.storage.marker import INTERNAL, names_in

if TYPE_CHECKING:
    from collections.abc import Hashable

LEASES: Final = INTERNAL + b"/leases"
VERSION: Final = 1
# Between two moves of the counter (seconds). A share may hide a move for some seconds (attribute caches), a busy machine
# may be late; and who has to know waits for twice as long.
EVERY: Final = 15.0
# What another program's file may say of that.
LONGEST: Final = 300.0
# Every lease has this many bytes, so that it is rewritten in place by one write, and never read as half of each.
LENGTH: Final = 512
_PART: Final = b".part"
_SESSION: Final = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Lease:
    """What a lease says.

    Attributes:
        session: its UUID. host, pid: of the process that works on it, for eyes.
        where: which process ids mean the same there as here: the boot, and the namespace of ids, of that machine.
        started: when that process began, in clock ticks since the boot, since ids are given again.
        holder: a word that no other process and no other run has.
        every: seconds between two moves of the counter. count: the counter.
    """

    session: str
    host: str
    where: str
    pid: int
    started: int
    holder: str
    every: float = EVERY
    count: int = 0
    version: int = VERSION

    @classmethod
    def of(cls, session: str) -> Lease:
        """A lease of this process."""
        pid = os.getpid()
        host = socket.gethostname().encode("ascii", "replace").decode("ascii")[:64]
        return cls(session, host, machine(), pid, _started(pid) or 0, token_hex(8))

    @property
    def path(self) -> bytes:
        """Below the root."""
        return lease_path(self.session)

    @property
    def known(self) -> bool:
        """Whether this machine can tell at once if its process still runs."""
        return self.where == machine() != ""

    @property
    def gone(self) -> bool:
        """Its process is known to have ended, or is this very one, which would know of another that holds it."""
        return self.known and (self.pid == os.getpid() or _started(self.pid) != self.started)

    def encode(self) -> bytes:
        """As it is written, always `LENGTH` bytes."""
        return json.dumps(asdict(self)).encode("ascii").ljust(LENGTH - 1) + b"\n"


def lease_path(session: str) -> bytes:
    """Where the lease of a session is, below each of its roots."""
    return LEASES + b"/" + session.encode("ascii")


def _decode(data: bytes) -> Lease | None:
    """The lease, None if it is not one that this version knows to read."""
    try:
        told = json.loads(data)
        every = float(told["every"])
        if math.isnan(every):
            return None  # nobody would ever have waited for long enough
        return Lease(str(told["session"]), str(told["host"]), str(told["where"]), int(told["pid"]), int(told["started"]),
                     str(told["holder"]), min(max(every, 0.1), LONGEST), int(told["count"]), int(told["version"]))  # fmt: skip
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Seen:
    """A lease that lies on a root.

    Attributes:
        data: its bytes; of one that cannot be read whatever else changes when somebody moves it.
        lease: what they say; None where that is nothing to this version. unread: why it cannot be read, if so.
    """

    session: str
    data: bytes
    lease: Lease | None
    unread: str = ""

    @property
    def holder(self) -> str:
        """Whom it names, as far as it tells."""
        if self.lease is not None:
            return told(self.lease)
        why = f"cannot be read ({self.unread})" if self.unread else "says nothing to this version of ingest"
        return f"somebody whose lease {why}"

    @property
    def every(self) -> float:
        """The seconds within which it moves while somebody holds it."""
        return self.lease.every if self.lease is not None else EVERY


def read_lease(root: engine.Root, session: str) -> Seen | None:
    """A session's lease, None if it has none. One that is there and cannot be read is told as such: it may be watched.

    Raises:
        IngestError: it cannot be looked at.
    """
    path = lease_path(session)
    try:
        folder = root.open_folder(LEASES)
        try:
            return _read(folder, session)
        finally:
            os.close(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, "read", root.path + b"/" + path) from error


def _read(folder: int, session: str) -> Seen:
    try:
        file = os.open(session, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
        try:
            data = os.read(file, LENGTH)
        finally:
            os.close(file)
    except FileNotFoundError:
        raise
    except OSError as error:
        facts = os.stat(session, dir_fd=folder, follow_symlinks=False)
        stamp = f"{facts.st_ino} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"
        return Seen(session, stamp.encode("ascii"), None, os.strerror(error.errno or 0))
    return Seen(session, data, _decode(data))


def leases_on(root: engine.Root) -> list[Seen]:
    """Every lease on a root.

    Raises:
        IngestError: they cannot be read.
    """
    names = sorted(name.decode("ascii") for name in names_in(root, LEASES) if _SESSION.fullmatch(name))
    return [seen for name in names if (seen := read_lease(root, name)) is not None]


def remove_lease(root: engine.Root, session: str) -> None:
    """Take away a lease that nobody holds.

    Raises:
        IngestError: it stays there.
    """
    for fault in engine.discard(root, [lease_path(session), lease_path(session) + _PART]):
        if fault is not None:
            raise engine.failed(fault).error()


class LostLeaseError(Exception):
    """A lease is no longer this process's; the text says whose it is."""


@dataclass(slots=True)
class Holding:
    """This process's lease on one root. May be used by one thread."""

    root: engine.Root
    lease: Lease
    begun: bool = field(default=False)

    def keep(self) -> None:
        """Put the lease there, or move its counter.

        Raises:
            LostLeaseError: another one stands in its place, or it was taken away.
            IngestError, OSError: the root does not take it now.
        """
        if not self.begun:
            # Where one stands already it is another's, which the first move finds.
            deposit(self.root, self.lease.path, self.lease.path + _PART, self.lease.encode())
            self.begun = True
            return
        moved = replace(self.lease, count=self.lease.count + 1)
        file = self._open()
        try:
            data = moved.encode()
            if os.pwrite(file, data, 0) != len(data):
                return  # a disk that is full: the next move writes all of it
        finally:
            os.close(file)
        self.lease = moved

    def remove(self) -> None:
        """Take it away, if it is still this process's.

        Raises:
            LostLeaseError, OSError: as `keep`.
        """
        if self.begun:
            os.close(self._open())
            engine.discard(self.root, [self.lease.path])

    def _open(self) -> int:
        """The file, proven to be this process's: one that is put in its place now is another file."""
        folder = self.root.open_folder(LEASES)
        try:
            file = os.open(self.lease.session, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            raise LostLeaseError("its lease was cleared away, as that of a session that has died") from None
        finally:
            os.close(folder)
        try:
            stands = _decode(os.pread(file, LENGTH, 0))
            if stands is None or stands.holder == self.lease.holder:
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        raise LostLeaseError(f"{told(stands)} has taken it over")


class Observer:
    """How long things have stood still, by the observer's own clock: seconds that only rise."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[Hashable, float]] = {}

    def see(self, what: Hashable, state: Hashable, now: float) -> float:
        """Look at something: for how many seconds it has been as it is, 0 the first time."""
        before = self._seen.get(what)
        if before is None or before[0] != state:
            self._seen[what] = (state, now)
            return 0.0
        return now - before[1]


def stale(seen: Seen, stood: float) -> bool:
    """Whether nobody holds a lease that an observer saw stand still for so many seconds."""
    return (seen.lease is not None and seen.lease.gone) or stood >= 2 * seen.every


def told(lease: Lease) -> str:
    """The process that a lease names."""
    return f"process {lease.pid} on {lease.host}"


def machine() -> str:
    """What makes process ids mean the same: this boot of this machine, this namespace of ids; empty if not known."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot:
            return f"{boot.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When a process of this machine began, in clock ticks since the boot; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # proc(5): the 22nd field; the 3rd, the state, comes first here. A zombie holds nothing any more.
    return None if fields[0] in (b"Z", b"X") else int(fields[19])
