"""Whether a copy can witness for a file at all, as far as that shows without reading it.

Promises: whoever lies in what is asked about, on its disk, or is a name of the very bytes that would be erased, does not
count; each refusal is half a sentence. Not promised: that two file systems are two disks, nor that two mounts of one
folder are known to be one where neither the mount table (see `storage.grounds`) nor an archive's marker shows it.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from ingest.errors import IngestError
from ingest.storage.erase import lasting
from ingest.storage.grounds import grounds_of, mounts_in
from ingest.storage.marker import read_marker
from ingest.storage.roots import pin
from ingest.storage.volumes import place_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest import engine
    from ingest.manifest.evidence import Holding, Wanted
    from ingest.pipeline.archives import Archive
    from ingest.storage.grounds import Ground
    from ingest.storage.volumes import Volume

# Something else has the marker's place, or nobody may look: what this program cannot open is no archive of its own.
_NO_ARCHIVE: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP})


@dataclass(frozen=True, slots=True)
class Origin:
    """A source that is asked about.

    Attributes:
        root: pinned. volume: what its file system is known by. place: where it really is, whatever mount it was reached by.
        single: the name of the one file in it that is meant, None for all of it.
        within: the UUIDs of the archives that it lies in, by whatever mount these were reached.
        grounds: all that it shows: its own place, what is mounted below it, and the layers of overlays.
        mounted: paths below it where something is mounted: what lies beneath is on it, and cannot be seen.
    """

    root: engine.Root
    volume: bytes
    place: tuple[int, bytes]
    single: bytes | None = None
    within: frozenset[str] = frozenset()
    grounds: tuple[Ground, ...] = ()
    mounted: tuple[bytes, ...] = ()


def origin_of(root: engine.Root, volume: Volume, single: bytes | None) -> Origin:
    """What has to be known of a source, or of the single file in it.

    Raises:
        OSError, IngestError: it cannot be looked at.
    """
    device = volume.mount.device if volume.mount is not None else root.dev
    given = root.path if single is None else root.path.rstrip(b"/") + b"/" + single
    mounted = mounts_in(root.path, single)
    return Origin(
        root, volume.identity(device), place_of(root.path), single, archives_around(root.path, volume),
        (*grounds_of(given), *chain.from_iterable(mounted.values())), tuple(mounted),
    )  # fmt: skip


def archives_around(path: bytes, volume: Volume) -> frozenset[str]:
    """The UUIDs of the archives that a folder lies in, by their markers, up to where its file system is mounted.

    The mount table does not tell that an overlay, or a share, shows an archive's own files; its marker does.

    Raises:
        IngestError: a marker cannot be read. Folders that may not be opened are passed over, and what is no folder.
    """
    found = set()
    folder = os.path.realpath(path)
    device = os.stat(folder).st_dev
    while volume.mount is not None or os.stat(folder).st_dev == device:
        try:
            marker = read_marker(pin(folder, volume=volume))
        except IngestError as error:
            if error.errno not in _NO_ARCHIVE:
                raise
            marker = None
        if marker is not None:
            found.add(marker.uuid)
        if folder in (b"/", volume.mount.point if volume.mount is not None else b"/"):
            break
        folder = os.path.dirname(folder)
    return frozenset(found)


def one_volume(one: Archive | Origin, other: Archive | Origin) -> bool:
    """Whether both lie on one file system, as far as anything tells."""
    return (
        one.volume == other.volume
        or one.root.dev == other.root.dev
        # 0 stands for a system that has no mount table.
        or (one.place[0] != 0 and one.place[0] == other.place[0])
        or any(ground.beside(its) for ground in one.grounds for its in other.grounds)
    )


def refusal(
    wanted: Wanted,
    origins: Sequence[Origin],
    archive: Archive,
    holding: Holding,
    stands: engine.Identity,
    *,
    same_volume: bool,
) -> str | None:
    """Why a copy counts for nothing, however it reads; None if it may count.

    Args:
        origins: everything that is asked about: all of it may be erased.
        stands: what is at the copy's path now. same_volume: it may be on a source's own disk.
    """
    mode, size, _, device, inode, links = stands
    own = origins[wanted.source]
    near = any(one_volume(archive, origin) for origin in origins)
    if not stat.S_ISREG(mode):
        return "is no regular file any more"
    if _place(archive, holding.path) == _place(own, wanted.path) or (
        lasting(own.root) and wanted.inode and (device, inode) == (wanted.device, wanted.inode)
    ):
        return "is the very file that is asked about"
    if any(_lies_in(origin, archive, holding.path) for origin in origins):
        return "is itself among what is asked about, and would be erased with it"
    if any(archive.uuid in origin.within for origin in origins):
        return "is in the archive that the source itself lies in"
    if size != wanted.size:
        return f"is {size:,} bytes long, not {wanted.size:,}"
    if holding.strategy == "hardlink":
        return "is a hard link, not a copy"
    if holding.strategy == "reflink" and near:
        return "is a clone on the source's own disk, and shares its blocks"
    if near and not same_volume:
        return "is on the card's own disk"
    if near and links > 1:
        return "has another name on the source's own disk, which may be one that is asked about"
    return None


def _place(where: Archive | Origin, path: bytes) -> tuple[int, bytes]:
    """Where a path below a root really is."""
    device, inner = where.place
    return device, inner.rstrip(b"/") + b"/" + path


def _lies_in(origin: Origin, archive: Archive, path: bytes) -> bool:
    """Whether a path of an archive is within a source, by what is mounted where and by the folders above it."""
    if origin.single is None and (origin.root.dev, origin.root.ino) in archive.above:
        return True
    return any(own.holds(its.below(path)) for its in archive.grounds for own in origin.grounds)
