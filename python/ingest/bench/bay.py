"""The bay: a dot-folder to measure in, with room for it, that is gone afterwards whatever happens."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ingest.errors import CancelledError, IngestError, MissingError, UsageError, from_os_error
from ingest.storage.space import room_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX: Final = ".ingest-bench-"
# A process that was killed may be in the middle of its last write.
TRIES: Final = 10
PAUSE_SECONDS: Final = 0.2
_HEEDED: Final = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def bay(disk: Path, files: int, size: int) -> Iterator[Path]:
    """A fresh folder on a disk with room for so many files and bytes; removed at the end, also after Ctrl-C.

    Inside, Ctrl-C, SIGTERM and SIGHUP end it at once; further ones do not disturb the removal.

    Raises:
        CancelledError: a signal came.
        MissingError, DeniedError: the disk's folder is not there, or not to be written to.
        IngestError: it has no room.
    """
    _require_room(disk, files, size)
    with _stopped_once():
        # The name is known before the folder is there: whenever a signal comes, it is removed.
        folder = disk / f"{PREFIX}{secrets.token_hex(4)}"
        try:
            _make(folder)
            yield folder
        finally:
            remove(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise from_os_error(error, "bench", os.fsencode(folder.parent), "Name a folder of yours with --disk") from error


def has_room(disk: Path, files: int, size: int) -> bool:
    """Whether so many files and bytes more would fit on a disk, with a margin."""
    try:
        descriptor = os.open(disk, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return room_for(descriptor, files, size).enough
    finally:
        os.close(descriptor)


def _require_room(disk: Path, files: int, size: int) -> None:
    path = os.fsencode(disk)
    try:
        descriptor = os.open(disk, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError as error:
        raise MissingError(
            "there is no such folder", path=path, operation="bench", advice="Name one that is there with --disk"
        ) from error
    except NotADirectoryError as error:
        raise UsageError("it is no folder", path=path, operation="bench", advice="Name one with --disk") from error
    except OSError as error:
        raise from_os_error(error, "bench", path) from error
    try:
        room = room_for(descriptor, files, size)
    finally:
        os.close(descriptor)
    if not room.enough:
        raise IngestError(
            f"no room for the bench: {room.shortage}", path=path, operation="bench", errno=errno.ENOSPC,
            advice="Name a folder on another disk with --disk, or take --size small",
        )  # fmt: skip


@contextmanager
def _stopped_once() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    signals = [getattr(signal, name) for name in _HEEDED if hasattr(signal, name)]

    def heard(_signal: int, _frame: object) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise CancelledError("stopped", operation="bench", advice="Everything that the bench made is removed")

    before = {number: signal.signal(number, heard) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def remove(folder: Path) -> None:
    """Remove a tree of ours.

    Raises:
        IngestError: it cannot be removed.
    """
    for attempt in range(TRIES):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            # Something in it may have gone by itself meanwhile, of a process that is just ending: that is not all of it.
            if not os.path.lexists(folder):
                return
            if attempt == TRIES - 1:
                raise from_os_error(
                    error, "remove", os.fsencode(folder), "The bench made it: remove it by hand"
                ) from error
            time.sleep(PAUSE_SECONDS)
        else:
            return


def flush(folder: Path) -> None:
    """Have what was written or removed on the folder's file system reach the device, before the next clock starts."""
    with suppress(OSError):
        if subprocess.run(["sync", "-f", folder], check=False, capture_output=True).returncode == 0:
            return
    os.sync()
