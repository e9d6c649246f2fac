"""One look at a place: what it is stored on, whether it is the archive it is taken for, how much room there is.

Every call here may hang in the kernel where a server does not answer: whoever must not hang asks through
:mod:`ingest.workers.visits`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.errors import IngestError
from ingest.storage.features import Features, probe
from ingest.storage.marker import INTERNAL, read_marker
from ingest.storage.roots import pin
from ingest.storage.volumes import Volume, volume_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.engine import Root


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at a path.

    Attributes:
        problem: why it could not be looked at; what is not known then is None. errno: the system's word for it, or 0.
        uuid: of the marker there, None if it carries none.
        device, inode: of the folder now.
        total, free: bytes, free for this user. files_free: inodes, None where they are made as needed.
        internal: bytes that `.ingest` takes of the disk; None while it was not counted.
        cold: how copies there can be read back (`evicted`, `direct`, `reread`).
    """

    path: bytes
    problem: str | None = None
    errno: int = 0
    volume: Volume | None = None
    uuid: str | None = None
    device: int | None = None
    inode: int | None = None
    total: int | None = None
    free: int | None = None
    files_free: int | None = None
    cold: str | None = None
    internal: int | None = None
    features: Features | None = None


def looked(path: bytes, *, thorough: bool) -> Iterator[Look]:
    """What is seen at a path (absolute): at a glance first, then with what takes longer to find out.

    Args:
        thorough: try its features too, with files of our own, if it is an archive.
    """
    seen = Look(path)
    try:
        volume = volume_of(path)
        root = pin(path, volume=volume)
        room = os.statvfs(path)
        marker = read_marker(root)
        seen = Look(
            path, None, 0, volume, marker.uuid if marker else None, root.dev, root.ino, room.f_blocks * room.f_frsize,
            room.f_bavail * room.f_frsize, room.f_favail if room.f_files else None, root.cold,
        )  # fmt: skip
        yield seen
        if marker is not None:
            seen = replace(seen, internal=_internal(root), features=probe(root) if thorough else None)
    except IngestError as error:
        seen = replace(seen, problem=error.cause, errno=error.errno)
    except OSError as error:
        told = os.strerror(error.errno) if error.errno else str(error)
        seen = replace(seen, problem=told, errno=error.errno or 0)
    yield seen


def _internal(root: Root) -> int | None:
    """What our own folder takes: blocks where the file system counts them, lengths where it does not; None if unknown."""
    folder = root.open_folder(b"")
    try:
        return sum(
            facts.st_blocks * 512 or facts.st_size
            for _, _, names, descriptor in os.fwalk(INTERNAL, onerror=_raise, dir_fd=folder)
            for name in names
            if (facts := _lstat(name, descriptor)) is not None
        )
    except PermissionError:
        return None  # part of it is somebody else's
    finally:
        os.close(folder)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a session at work there was quicker
        raise error


def _lstat(name: bytes, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None  # a session at work there was quicker
