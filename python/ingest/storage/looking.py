"""One look at a place: whether it is there and what it is, how much room it has, and, if wanted, what it is stored on.

Every call here may hang in the kernel where a server does not answer: whoever must not hang asks through
:mod:`ingest.workers.prober`.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from ingest import engine
from ingest.errors import ABSENT, IngestError, shown
from ingest.storage.features import Features, probe
from ingest.storage.filesystems import uuid_of
from ingest.storage.identity import Footing
from ingest.storage.marker import INTERNAL, read_marker
from ingest.storage.space import free_on
from ingest.storage.volumes import Volume, volume_of
from ingest.storage.whereabouts import likely, marker_at

if TYPE_CHECKING:
    from collections.abc import Iterator


class Depth(IntEnum):
    """How much is wanted to be known: each with all that comes before it."""

    GLANCE = 0
    """Whether it is there, and what it is: quick, so that it can be asked every few seconds."""
    CLOSELY = 1
    """What it is stored on, and what an archive's `.ingest` takes."""
    THOROUGHLY = 2
    """What an archive can do, by trying it with files of our own."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place to be looked at.

    Attributes:
        archive: it is a root, or may be one: its marker is read. Otherwise it is a source.
        served: a FUSE daemon forwards it to a server. Who looks closely finds that out.
        origin: the device file of the disk that it lies on, if it has one.
        marker: the UUID of the root that belongs there; where it does not stand it is looked for elsewhere.
    """

    path: bytes
    archive: bool
    served: bool = False
    origin: bytes | None = None
    marker: str | None = None
    depth: Depth = Depth.GLANCE


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at a path.

    Attributes:
        problem: why it could not be looked at; what is not known then is None. errno: the system's word for it, or 0.
        elsewhere: where the root is now that belongs there.
        uuid: of the marker there, None if it carries none.
        device, inode: of the folder that is there now. mounted: something is mounted at this very path.
        fs_uuid: of the file system there, None if it hides it. read_only: nothing can be written there.
        total, free: bytes, free for this user. files_free: inodes, None where they are made as needed.
        volume: what it is stored on, if that was asked for.
        cold: how copies there can be read back (`evicted`, `direct`, `reread`).
        internal: bytes that `.ingest` takes of the disk; None while it was not counted.
        whole: no more of it is being found out.
    """

    path: bytes
    problem: str | None = None
    errno: int = 0
    elsewhere: bytes | None = None
    uuid: str | None = None
    device: int | None = None
    inode: int | None = None
    mounted: bool = False
    fs_uuid: str | None = None
    read_only: bool = False
    total: int | None = None
    free: int | None = None
    files_free: int | None = None
    volume: Volume | None = None
    cold: str | None = None
    internal: int | None = None
    features: Features | None = None
    whole: bool = True

    @property
    def footing(self) -> Footing:
        """What stands there, to be compared with what is known of the place."""
        return Footing(self.device or 0, self.inode or 0, self.uuid, self.fs_uuid, self.mounted)

    @property
    def said(self) -> str:
        """Why it could not be looked at, and where the root is that is missing there."""
        at = f"; the archive is at {shown(self.elsewhere)} now" if self.elsewhere is not None else ""
        return f"{self.problem or ''}{at}"


def looked(spot: Spot) -> Iterator[Look]:
    """Look at a place anew: nothing that was opened earlier is asked, since it may answer from memory, or never again.

    What takes longer to find out comes with a second answer; the last one is whole.
    """
    seen = Look(spot.path)
    try:
        if spot.origin is not None and not os.path.exists(spot.origin):
            # What the kernel remembers of a disk that was pulled out would still answer for it.
            yield replace(seen, problem="its disk was taken out", errno=errno.ENODEV)
            return
        volume = volume_of(spot.path) if spot.depth >= Depth.CLOSELY else None
        served = spot.served if volume is None else volume.served
        root = engine.Root(spot.path, cross=not spot.archive, served=served)
        seen = replace(_glance(spot, root), volume=volume, cold=root.cold)
        if volume is not None and seen.uuid is not None:
            yield replace(seen, whole=False)
            tried = probe(root) if spot.depth >= Depth.THOROUGHLY else None
            seen = replace(seen, internal=_internal(root), features=tried)
    except IngestError as error:
        seen = replace(seen, problem=error.cause, errno=error.errno or errno.EIO)
    except OSError as error:
        code = error.errno or errno.EIO
        told = os.strerror(error.errno) if error.errno else str(error)
        seen = replace(seen, problem=told, errno=code, elsewhere=_elsewhere(spot) if code in ABSENT else None)
    yield seen


def _glance(spot: Spot, root: engine.Root) -> Look:
    marker = read_marker(root) if spot.archive else None
    uuid = marker.uuid if marker is not None else None
    descriptor = root.open_folder(b"")
    try:
        # Listing asks a server where attributes may come from the kernel's memory.
        with os.scandir(descriptor) as entries:
            next(entries, None)
        free, claims, fs_uuid = free_on(descriptor), os.fstatvfs(descriptor), uuid_of(descriptor)
    finally:
        os.close(descriptor)
    return Look(
        spot.path, None, 0, _elsewhere(spot) if uuid != spot.marker else None, uuid, root.dev, root.ino,
        os.path.ismount(os.path.realpath(spot.path)), fs_uuid, bool(claims.f_flag & os.ST_RDONLY),
        claims.f_blocks * claims.f_frsize, free.bytes, free.inodes,
    )  # fmt: skip


def _elsewhere(spot: Spot) -> bytes | None:
    """Where the root is that is missing from its path; None if it is not known."""
    if spot.marker is None:
        return None
    return next((path for path in likely(spot.path) if marker_at(path) == spot.marker), None)


def _internal(root: engine.Root) -> int | None:
    """What our own folder takes: blocks where the file system counts them, else lengths; None if unknown."""
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
