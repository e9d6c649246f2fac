"""The one hierarchy of errors: what happened to what, why, and what the user can do about it.

Every error names the path, the operation, the cause and the next step, and knows the exit code that it stands
for. Only :mod:`ingest.cli.app` turns one into an exit.
"""

from __future__ import annotations

import errno as _errno
import os
from enum import IntEnum
from typing import ClassVar, Final


class ExitCode(IntEnum):
    """What the process says with its exit status (the specification's table)."""

    OK = 0
    ERROR = 1
    USAGE = 2
    VERIFICATION = 3
    NOT_FOUND = 4
    PERMISSION = 5
    CANCELLED = 6
    WITH_ERRORS = 7
    PAUSED = 8
    REGRESSION = 9


# Where several hold, the first of these wins; then the others by size.
_PRECEDENCE: Final = (ExitCode.CANCELLED, ExitCode.PAUSED, ExitCode.VERIFICATION, ExitCode.WITH_ERRORS)


def worst_exit(codes: list[ExitCode]) -> ExitCode:
    """The exit code of several outcomes together; OK for none."""
    for code in _PRECEDENCE:
        if code in codes:
            return code
    return max(codes, default=ExitCode.OK)


def shown(path: bytes) -> str:
    """A path as people may read it: undecodable bytes and control characters escaped, never a lone surrogate."""
    return plain(path.decode("utf-8", "backslashreplace"))


def plain(text: str) -> str:
    """Text without what could move a terminal's cursor, turn the writing around or hide something: that is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class IngestError(Exception):
    """Something the user has to know about.

    Attributes:
        path: what it concerns, or None.
        operation: what was being done.
        errno: the system's reason, 0 where there is none.
        cause: one sentence.
        advice: the next step.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.ERROR

    def __init__(
        self, cause: str, *, path: bytes | None = None, operation: str = "", errno: int = 0, advice: str = ""
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.path = path
        self.operation = operation
        self.errno = errno
        self.advice = advice

    def __str__(self) -> str:
        where = f"{shown(self.path)}: " if self.path is not None else ""
        doing = f"{self.operation}: " if self.operation else ""
        stop = "" if self.cause.endswith((".", "?", "!")) else "."
        return f"{where}{doing}{self.cause}" + (f"{stop} {self.advice}" if self.advice else "")


class UsageError(IngestError):
    """The command does not make sense as given."""

    exit_code = ExitCode.USAGE


class MissingError(IngestError):
    """Something that was named is not there."""

    exit_code = ExitCode.NOT_FOUND


class DeniedError(IngestError):
    """The system does not let this user do it."""

    exit_code = ExitCode.PERMISSION


class CancelledError(IngestError):
    """The user asked to stop."""

    exit_code = ExitCode.CANCELLED


class PausedError(IngestError):
    """It can go on later: nothing is lost, the cause has to go away first."""

    exit_code = ExitCode.PAUSED


class ManifestError(IngestError):
    """A manifest, or a root's marker, cannot be read or is not what was written."""


class JournalError(IngestError):
    """The journal (the SQLite database) cannot be used."""


class DamagedJournalError(JournalError):
    """The journal is damaged: SQLite says so, and no try will change it."""


DENIED: Final = frozenset({_errno.EACCES, _errno.EPERM, _errno.EROFS})
ABSENT: Final = frozenset({_errno.ENOENT, _errno.ENOTDIR})
NO_SPACE: Final = frozenset({_errno.ENOSPC, _errno.EDQUOT})

# The errnos of the specification's section 5 that may go away by themselves.
TRANSIENT: Final = frozenset(
    getattr(_errno, name)
    for name in (
        "EAGAIN", "ECONNRESET", "ETIMEDOUT", "EBUSY", "EIO", "ENETUNREACH", "EPIPE", "ENOTCONN", "EHOSTDOWN",
        "EHOSTUNREACH", "ENETDOWN", "ECONNABORTED", "ESTALE",
    )
    if hasattr(_errno, name)
)  # fmt: skip

_ADVICE: Final = {
    _errno.ENOSPC: "Make room on the disk (blocks and inodes), then: ingest resume",
    _errno.EDQUOT: "Raise the quota or make room, then: ingest resume",
    _errno.EROFS: "The disk is mounted read-only: remount it writable, then copy again",
    _errno.EACCES: "Give this user the right to do it, then copy again",
    _errno.EPERM: "Give this user the right to do it, then copy again",
    _errno.ENOENT: "Check that the disk is mounted and the name is right",
    _errno.EIO: "The device reports an error: try another cable, reader or port, then copy again",
    _errno.ENAMETOOLONG: "The name is too long for this file system: shorten it, or use another disk",
    _errno.ELOOP: "A symbolic link stands in its place, and is not followed: put back what belongs there, then copy again",
    _errno.ENOTDIR: "A link or a file stands in the place of a folder: put back what belongs there, then copy again",
    _errno.EISDIR: "A folder stands in its place: put back what belongs there, then copy again",
    _errno.EILSEQ: "This file system cannot hold the name: rename the file, or use another disk",
}


# What to do about an item that ended for one of these reasons.
REASON_ADVICE: Final = {
    "permission": "Give this user the right to read or write it, then copy again",
    "io": "The device reports errors: try another cable, reader or port, then copy again",
    "corrupt_destination": "The destination does not keep what is written to it: do not use this disk, cable or port",
    "source_reads_differently": "It gave other bytes when it was read again: keep the card, try another reader, cable or "
    "port, then: ingest resume SESSION",
    "changed since the scan": "It was edited after the session began: bring it home as it is now with ingest copy",
    "changed while it was read": "Something still writes to it: wait until it is done, then copy again",
    "changed since it was copied": "It was edited after a copy had arrived: bring the new one home with ingest copy",
    "gone from the source": "It was deleted or moved while the session ran: if it should be there, look for it and copy again",
    "no longer a file below the source": "A link or folder took its place while the session ran: see what is there, and copy again",
    "time": "Its time is beyond what a manifest can hold (1677-09-21 to 2262-04-11): set it with touch, then copy again",
    "name": "The destination's file system cannot hold this name: rename it, or use another disk",
    "outside_root": "A link or another mount stands in its way below the destination: remove it, then copy again",
    "folder_is_a_file": "A file has the name of a folder it needs: rename that file, or use another --label",
    "crashed": "A worker process died over it twice: check this machine's memory and the source's disk, then try again",
    "stalled": "No byte moved for minutes: check the disk and its cable, then copy again",
    "flush": "Its bytes are proven, but its name may not survive a power cut: check the disk, then copy again",
    "taken": "Something else has its name, a thousand times: use another --label",
}


def unforeseen(error: Exception, details: str = "Set INGEST_DEBUG=1 for details") -> IngestError:
    """What an error is told as that nobody thought of; `details`: how to see more of it."""
    return IngestError(f"{type(error).__name__}: {error}", operation="internal",
                       advice=f"This is a bug in ingest; nothing that was acknowledged is lost. {details}")  # fmt: skip


def advice_for(errno: int) -> str:
    """The next step for a system error; empty where none is known."""
    return _ADVICE.get(
        errno, "The connection may come back: try again later with: ingest resume" if errno in TRANSIENT else ""
    )


def from_os_error(error: OSError, operation: str, path: bytes | None = None, advice: str = "") -> IngestError:
    """The error of this hierarchy that a system error stands for."""
    code = error.errno or 0
    if path is None and error.filename is not None:
        path = os.fsencode(error.filename)
    kind = (
        DeniedError if code in DENIED
        else MissingError if code in ABSENT
        else PausedError if code in NO_SPACE
        else IngestError
    )  # fmt: skip
    cause = os.strerror(code) if code else str(error)
    return kind(cause, path=path, operation=operation, errno=code, advice=advice or advice_for(code))
