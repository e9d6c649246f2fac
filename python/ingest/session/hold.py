"""Who works on a session: the process that holds its lock file, which the kernel takes back when the process ends.

A lock and not a process id: ids mean nothing in another container, and are given again. The journal lies on a local
disk, so every process that could take a session up asks the same kernel. The workers do not inherit the lock.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ingest.db.faults import SESSIONS
from ingest.errors import PausedError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Whoever lists sessions tries each lock for a moment: a holder tries a few times before it believes it is taken.
TRIES: Final = 10
PAUSE: Final = 0.05
# Whatever else may stand where a lock file should is not waited for (a pipe), nor followed.
_SAFE: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def _lock_file(home: Path, session: str) -> Path:
    return home / SESSIONS / f"{session}.lock"


@contextmanager
def hold(home: Path, session: str) -> Iterator[None]:
    """Hold a session while inside.

    Raises:
        PausedError: another process holds it. IngestError: the lock file cannot be made.
    """
    path = _lock_file(home, session)
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _SAFE, 0o644)
    except OSError as error:
        raise from_os_error(error, "open", os.fsencode(path), "Set INGEST_HOME to a folder you can write") from error
    try:
        for left in reversed(range(TRIES)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not left:
                    raise PausedError(
                        f"session {session} is being worked on by another process", operation="resume",
                        advice="Wait for it, or stop it first",
                    ) from error  # fmt: skip
                time.sleep(PAUSE)
        yield
    finally:
        os.close(descriptor)


def held(home: Path, session: str) -> bool:
    """Whether some process holds a session now."""
    try:
        descriptor = os.open(_lock_file(home, session), os.O_RDONLY | _SAFE)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # it cannot be told, and is better left alone
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def operator() -> str:
    """The name of the user whom this process works for."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, in a container
        return "unknown"
