"""Erasing: the one place of the product that removes a file of a source.

Promises: nothing is removed but the name of a file whose device, inode, size and times are those that were asked for,
looked at through an open descriptor right before; no link is followed, nothing outside the pinned source is reached. What
was done is told, also where the system's answer leaves a doubt. Not promised: that nobody exchanges the file within the
microseconds between the look and the removal, because no system call removes "this file" instead of "this name"; it is
noticed afterwards, by the file's count of names, and told. Policy is elsewhere: who asks has passed `pipeline.gate`.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ingest.engine import Root

# File systems that make up inode numbers, and another one when a file was forgotten meanwhile: FAT, exFAT, FUSE, CIFS (both
# of its numbers; it does so where a server has none to give).
_FLEETING: Final = frozenset({0x4D44, 0x2011BAB0, 0x65735546, 0xFF534D42, 0xFE534D42})


@dataclass(frozen=True, slots=True)
class Sighting:
    """A regular file as it was seen: what has to be the same when it is erased.

    Attributes:
        device, inode, ctime_ns: 0 where they say nothing of the file (see `lasting`). size: bytes. mtime_ns, ctime_ns: ns
            since the epoch; whoever sets the first to what it was before changes the second.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Outcome(StrEnum):
    """What became of a file that was to be erased."""

    ERASED = "erased"
    SPARED = "spared"
    DOUBTFUL = "doubtful"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was done.

    Attributes:
        path: below the source. reason: why it was spared, or what is doubtful. errno: the system's word, or 0.
    """

    path: bytes
    outcome: Outcome
    reason: str | None = None
    errno: int = 0


def lasting(root: Root) -> bool:
    """Whether inode numbers below a root are the files' own, for as long as these live."""
    return root.magic not in _FLEETING


def sight(root: Root, path: bytes) -> Sighting:
    """Open a file and see what it is.

    Raises:
        OSError: it cannot be opened. ValueError: it is no regular file.
    """
    folder, file = _opened(root, path)
    try:
        return _sighting(root, os.fstat(file))
    finally:
        os.close(file)
        os.close(folder)


def erase(root: Root, path: bytes, seen: Sighting) -> Erasure:
    """Remove the name of a file, if it still is the one that was seen.

    Args:
        root: the source, pinned. path: below it.
    """
    try:
        folder, file = _opened(root, path)
    except OSError as error:
        return Erasure(path, Outcome.SPARED, f"it cannot be opened: {error.strerror}", error.errno or 0)
    except ValueError as error:
        return Erasure(path, Outcome.SPARED, str(error))
    try:
        return _erase(root, path, seen, folder, file)
    finally:
        os.close(file)
        os.close(folder)


def _erase(root: Root, path: bytes, seen: Sighting, folder: int, file: int) -> Erasure:
    name = path.rpartition(b"/")[2]
    before = os.fstat(file)
    if _sighting(root, before) != seen:
        return Erasure(path, Outcome.SPARED, "it is not the file that was copied, or was changed since")
    try:
        named = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if (named.st_dev, named.st_ino) != (before.st_dev, before.st_ino):
            return Erasure(path, Outcome.SPARED, "another file has taken its name")
        os.unlink(name, dir_fd=folder)
    except OSError as error:
        # It may have happened all the same: servers lose answers.
        if _gone(name, folder):
            return Erasure(path, Outcome.DOUBTFUL, f"its name is gone, but the system said: {error.strerror}",
                           error.errno or 0)  # fmt: skip
        return Erasure(path, Outcome.SPARED, f"it cannot be removed: {error.strerror}", error.errno or 0)
    if os.fstat(file).st_nlink >= before.st_nlink and lasting(root):
        return Erasure(path, Outcome.DOUBTFUL, "a name was removed, but another file may have had it by then")
    return Erasure(path, Outcome.ERASED)


def _opened(root: Root, path: bytes) -> tuple[int, int]:
    """The file's folder and the file itself, which is a regular one."""
    parent, _, name = path.rpartition(b"/")
    folder = root.open_folder(parent)
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except BaseException:
        os.close(folder)
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return folder, file
    os.close(file)
    os.close(folder)
    raise ValueError("it is no regular file")


def _sighting(root: Root, facts: os.stat_result) -> Sighting:
    device, inode, ctime = (facts.st_dev, facts.st_ino, facts.st_ctime_ns) if lasting(root) else (0, 0, 0)
    return Sighting(device, inode, facts.st_size, facts.st_mtime_ns, ctime)


def _gone(name: bytes, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
