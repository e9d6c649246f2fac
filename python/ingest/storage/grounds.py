"""Grounds: the folders of file systems that a tree is really made of, where mounts and overlays show it at other paths.

Read from the mount table: no mount below a tree is looked at, since that of a dead server would never answer. Not
known: what a FUSE daemon or a server shows of other folders, and overlays that were mounted by relative paths.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass

from ingest.storage.volumes import NETWORK_TYPES, REMOVABLE_TYPES, Mount, mount_of, mounts


@dataclass(frozen=True, slots=True)
class Ground:
    """A folder (or the one file that is mounted somewhere) of a file system.

    Attributes:
        device: its file system, 0 where there is no mount table. inner: its path within that.
        volume: what a share or a FUSE mount is known by (see `Volume.identity`), empty for others.
        loose: names there may be written in several ways, as DCIM and dcim.
    """

    device: int
    inner: bytes
    volume: bytes
    loose: bool

    def below(self, path: bytes) -> Ground:
        """What lies at a path below it."""
        inner = (self.inner.rstrip(b"/") + b"/" + path).rstrip(b"/") or b"/"
        return Ground(self.device, inner, self.volume, self.loose)

    def holds(self, other: Ground) -> bool:
        """Whether another one is this, or lies in it."""
        if self.device != other.device:
            return False
        loose = self.loose or other.loose
        own, its = (_spelled(each.inner.rstrip(b"/") + b"/", loose=loose) for each in (self, other))
        return its.startswith(own)

    def beside(self, other: Ground) -> bool:
        """Whether both are on one file system, as far as the table tells."""
        return self.device == other.device != 0 or self.volume == other.volume != b""


def grounds_of(path: bytes, table: list[Mount] | None = None) -> tuple[Ground, ...]:
    """What a path (which need not exist) is: its own place first, then the same path in the layers of an overlay."""
    table = mounts() if table is None else table
    real = os.path.realpath(path)
    mount = mount_of(real, table)
    if mount is None:
        return (Ground(0, real, b"", loose=True),)
    own = _ground(mount).below(real[len(mount.point.rstrip(b"/")) :].strip(b"/"))
    return own, *_layers(mount, own.inner, table, seen={mount.device})


def mounts_in(
    folder: bytes, single: bytes | None = None, table: list[Mount] | None = None
) -> dict[bytes, tuple[Ground, ...]]:
    """Every path below a folder (or only that of a single file in it) where something is mounted, and what that shows.

    Told is also what something else was mounted over since.
    """
    table = mounts() if table is None else table
    start = os.path.realpath(folder).rstrip(b"/") + b"/"
    found: dict[bytes, tuple[Ground, ...]] = {}
    for mount in table:
        below = mount.point[len(start) :]
        if not mount.point.startswith(start) or not below or (single is not None and below != single):
            continue
        own = _ground(mount)
        found[below] = (*found.get(below, ()), own, *_layers(mount, own.inner, table, seen={mount.device}))
    return found


def folders_above(path: bytes) -> frozenset[tuple[int, int]]:
    """The folder at a path and all above it, by device and inode: whoever knows one of them has it, under any spelling.

    Raises:
        OSError: one cannot be looked at.
    """
    folder = os.path.realpath(path)
    found = set()
    while True:
        facts = os.stat(folder)
        found.add((facts.st_dev, facts.st_ino))
        if folder == os.path.dirname(folder):
            return frozenset(found)
        folder = os.path.dirname(folder)


def _ground(mount: Mount) -> Ground:
    """What a mount shows."""
    served = mount.type in NETWORK_TYPES or mount.type.partition(".")[0] in ("fuse", "fuseblk")
    volume = b"%b %b" % (mount.type.encode(), mount.origin) if served else b""
    return Ground(mount.device, mount.inner, volume, loose=served or mount.type in REMOVABLE_TYPES)


def _layers(mount: Mount, inner: bytes, table: list[Mount], seen: set[int]) -> list[Ground]:
    """A path of an overlay in each of its layers, and in theirs if these are overlays."""
    found = []
    for layer in mount.layers:
        lies_on = mount_of(layer, table)
        if not layer.startswith(b"/") or lies_on is None:
            continue
        # Links are followed but where the look might never end.
        real = layer if lies_on.may_hang else os.path.realpath(layer)
        lies_on = mount_of(real, table) or lies_on
        ground = _ground(lies_on).below(real[len(lies_on.point.rstrip(b"/")) :].strip(b"/")).below(inner.strip(b"/"))
        found.append(ground)
        if lies_on.device not in seen:
            found += _layers(lies_on, ground.inner, table, seen | {lies_on.device})
    return found


def _spelled(path: bytes, *, loose: bool) -> bytes:
    """A path by which two are compared: as it is, or without what FAT, exFAT and servers make no difference between."""
    if not loose:
        return path
    text = path.decode("utf-8", "surrogateescape")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold()).encode(
        "utf-8", "surrogateescape"
    )
