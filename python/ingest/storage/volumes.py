"""What a path is stored on: its mount, its file system, whether it is local, removable or a network away.

Read from the mount table and sysfs, never guessed from a name alone. Where the system does not tell (macOS,
Windows) the answer is a plain local volume, which chooses the careful defaults.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ingest.errors import shown
from ingest.storage.disks import disk_of
from ingest.storage.filesystems import by_device, uuid_at


class Storage(StrEnum):
    """How far away the bytes are."""

    LOCAL = "local"
    REMOVABLE = "removable"
    NETWORK = "network"


# Mount types as the kernel names them; what a FUSE daemon forwards stands after the dot.
NETWORK_TYPES: Final = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "afpfs", "9p", "ceph", "glusterfs", "davfs", "afs", "lustre",
        "fuse.sshfs", "fuse.rclone", "fuse.smbnetfs", "fuse.s3fs", "fuse.glusterfs", "fuse.davfs2", "fuse.curlftpfs",
        "fuse.ceph", "fuse.gcsfuse", "fuse.ceph-fuse", "fuse.gvfsd-fuse", "fuse.juicefs", "fuse.goofys",
        "fuse.mount-s3", "fuse.afpfs",
    }
)  # fmt: skip
# exFAT and NTFS through FUSE are disks in somebody's hand, not networks.
REMOVABLE_TYPES: Final = frozenset(
    {"vfat", "exfat", "ntfs", "ntfs3", "msdos", "fuseblk", "udf", "iso9660", "fuse.exfat", "fuse.ntfs-3g"}
)
MEMORY_TYPES: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
URL_PREFIXES: Final = ("smb://", "nfs://", "afp://", "cifs://", "//")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table.

    Attributes:
        inner: what of its file system is mounted: not ``/`` for a bind mount.
        layers: the folders that an overlay is made of, as they were given to it.
    """

    device: int
    inner: bytes
    point: bytes
    type: str
    origin: bytes
    read_only: bool
    layers: tuple[bytes, ...] = ()

    @property
    def may_hang(self) -> bool:
        """Whoever looks there may stand in the kernel for as long as somebody else likes.

        A server, a daemon (`fuse`, `fuseblk` and all `fuse.*`), or, with autofs, whoever is asked for a mount by the look.
        """
        if self.type == "autofs":
            return not self.point.startswith(b"/proc/")  # the kernel's own (binfmt_misc), which nothing is awaited for
        return self.type in NETWORK_TYPES or self.type.partition(".")[0] in ("fuse", "fuseblk")


@dataclass(frozen=True, slots=True)
class Volume:
    """What is known of the storage under a path.

    Attributes:
        type: the file system, as the kernel names it; empty if unknown.
        rotational: True for a spinning disk, None if unknown (`storage.disks` says when).
        fs_uuid: the file system's own UUID, None if it has none or the system hides it.
        block: it lies on a disk of this machine that the kernel knows, whatever that is made of. disks: which, by name;
            several where one is made of several (RAID, LVM).
        together: one flush of its file system may stand for one of each file. evictable: what was written there can be
            dropped from memory (`engine.reliance`).
        read_only: nothing can be written there, whoever asks.
        name_limit: the longest name as the file system claims it, in bytes; None if it does not say. What it really
            takes is found by trying (`storage.features`): FAT claims 1,530.
        buffer, workers: what the configuration says of it (`storage.rules`), None where it says nothing.
    """

    mount: Mount | None
    storage: Storage
    type: str
    rotational: bool | None
    fs_uuid: str | None
    block: bool = False
    read_only: bool = False
    name_limit: int | None = None
    buffer: int | None = None
    workers: int | None = None
    disks: frozenset[str] = frozenset()
    together: bool = False
    evictable: bool = False

    @property
    def remote(self) -> bool:
        """Its type is one that forwards to a server, whatever the configuration says of it."""
        return self.type in NETWORK_TYPES

    @property
    def memory(self) -> bool:
        """Its bytes live in memory only."""
        return self.type in MEMORY_TYPES

    @property
    def virtual(self) -> bool:
        """It is a disk that some host makes up: what it is kept on, and how fast that is, is not known here."""
        return self.block and self.rotational is None

    @property
    def daemon(self) -> bool:
        """A FUSE daemon hands out its bytes."""
        return self.type.partition(".")[0] in ("fuse", "fuseblk")

    @property
    def served(self) -> bool:
        """A FUSE daemon forwards it to a server, whose memory is out of our reach anyway."""
        return _served(self.type)

    def same_as(self, other: Volume) -> bool | None:
        """Whether both are one file system; None where the system does not tell.

        Not by the number that stat gives: btrfs has one for each subvolume.
        """
        if self.mount is None or other.mount is None:
            return None
        return self.mount.device == other.mount.device

    def identity(self, device: int) -> bytes:
        """What it is known by when it comes back.

        That is its file system's UUID, or what a share is mounted from, else the device number (st_dev) it has now.
        """
        if self.fs_uuid is not None:
            return b"uuid " + self.fs_uuid.encode()
        if (self.remote or self.daemon) and self.mount is not None:
            # These get another device number each time they are mounted.
            return b"%b %b" % (self.type.encode(), self.mount.origin)
        return b"device %d" % device


def _served(kind: str) -> bool:
    return kind.startswith("fuse.") and kind in NETWORK_TYPES


def _unescape(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), field)


def mounts(table: str = "/proc/self/mountinfo") -> list[Mount]:
    """The mount table, in the kernel's order (a later line covers an earlier one); empty where there is none."""
    try:
        with open(table, "rb") as lines:
            return [_mount(line) for line in lines if b" - " in line]
    except OSError:
        return []


def _mount(line: bytes) -> Mount:
    # Only a space ends a field: the kernel escapes those in names, and no other white space but tab and newline.
    before, _, after = line.rstrip(b"\n").partition(b" - ")
    fields = before.split(b" ")
    kind, origin, options = [*after.split(b" "), b"", b""][:3]
    major, _, minor = fields[2].partition(b":")
    read_only = b"ro" in fields[5].split(b",") or b"ro" in options.split(b",")
    return Mount(
        os.makedev(int(major), int(minor)),
        _unescape(fields[3]),
        _unescape(fields[4]),
        kind.decode("ascii", "replace"),
        _unescape(origin),
        read_only,
        _layers(options) if kind == b"overlay" else (),
    )


def _layers(options: bytes) -> tuple[bytes, ...]:
    """The folders of an overlay, the one that is written to and those below it."""
    found: list[bytes] = []
    for option in options.split(b","):
        name, _, value = option.partition(b"=")
        given = _unescape(value)
        if name == b"upperdir":
            found.append(given)
        if name.rstrip(b"+") in (b"lowerdir", b"datadir", b"upperdir"):
            # Within one layer's name, a backslash stands before a colon and before itself.
            found += [re.sub(rb"\\(.)", rb"\1", each) for each in re.split(rb"(?<!\\):", given) if each]
    return tuple(dict.fromkeys(found))


def mount_of(path: bytes, table: list[Mount]) -> Mount | None:
    """The mount that a path (absolute, no links) lies on."""
    best: Mount | None = None
    for mount in table:
        point = mount.point.rstrip(b"/")
        inside = path == point or path.startswith(point + b"/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def place_of(path: bytes, table: list[Mount] | None = None) -> tuple[int, bytes]:
    """Where a path (which need not exist) really is: its file system, and the path within that.

    Bind mounts give one folder several paths, but only one place. Where the system has no mount table the place
    is device 0 and the path without links.
    """
    real = os.path.realpath(path)
    mount = mount_of(real, mounts() if table is None else table)
    if mount is None:
        return 0, real
    below = real[len(mount.point.rstrip(b"/")) :].strip(b"/")
    return mount.device, (mount.inner.rstrip(b"/") + b"/" + below).rstrip(b"/") or b"/"


def volume_of(path: bytes, table: list[Mount] | None = None) -> Volume:
    """What is known of the storage under a path (absolute; links are followed).

    Raises:
        OSError: the path cannot be looked at.
    """
    if shown(path).startswith(URL_PREFIXES):
        return Volume(None, Storage.NETWORK, "", None, None)
    device = os.stat(path).st_dev
    claims = os.statvfs(path) if hasattr(os, "statvfs") else None
    mount = mount_of(os.path.realpath(path), mounts() if table is None else table)
    kind = mount.type if mount else ""
    # Btrfs and overlay give files a device number of their own; sysfs knows only the mount's origin.
    if mount and mount.origin.startswith(b"/dev/"):
        try:
            device = os.stat(mount.origin).st_rdev
        except OSError:
            device = mount.device
    disk = disk_of(device)
    removable = kind.startswith("fuseblk") or kind in REMOVABLE_TYPES or (disk is not None and disk.removable)
    storage = Storage.NETWORK if kind in NETWORK_TYPES else Storage.REMOVABLE if removable else Storage.LOCAL
    block = disk is not None and storage is not Storage.NETWORK
    # What lives in memory makes up another one each time it is mounted.
    own = None if kind in MEMORY_TYPES else uuid_at(path) or by_device(device)
    # The configuration's words for storage are asked for by `--help`, which needs no engine.
    from ingest import engine

    together, evictable = engine.reliance(path, served=_served(kind))
    return Volume(
        mount, storage, kind, disk.rotational if disk and block else None, own, block,
        read_only=bool((mount and mount.read_only) or (claims and claims.f_flag & os.ST_RDONLY)),
        name_limit=claims.f_namemax if claims and claims.f_namemax > 0 else None,
        disks=disk.lies_on if disk and block else frozenset(), together=together, evictable=evictable,
    )  # fmt: skip
