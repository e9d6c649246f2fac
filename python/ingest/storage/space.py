"""Is there room? Asked before the first byte, with a margin; believed only when the last byte is flushed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest.storage.quota import quotas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.engine import Root

# What a file costs beyond its bytes: rounding up to blocks, its folder entry, the manifest row.
PER_FILE: Final = 4096
# Left free for the manifests, the marker and the file system itself.
MARGIN: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Free:
    """What may still be written to a volume. `quota`: whose quota leaves less than the disk; empty if none does.

    Attributes:
        bytes: in blocks that this user may have. inodes: files and folders; None where they are made as needed.
    """

    bytes: int
    inodes: int | None
    quota: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """What a volume has and what is asked of it. Inodes are None where the file system makes them as it goes."""

    needed_bytes: int
    free_bytes: int
    needed_inodes: int
    free_inodes: int | None
    quota: str = ""

    @property
    def enough(self) -> bool:
        """Both blocks and inodes suffice."""
        return self.free_bytes >= self.needed_bytes and (
            self.free_inodes is None or self.free_inodes >= self.needed_inodes
        )

    @property
    def shortage(self) -> str:
        """What is missing, in words."""
        left = f"left by {self.quota}" if self.quota else "free"
        if self.free_bytes < self.needed_bytes:
            return f"{self.needed_bytes:,} bytes are needed and {self.free_bytes:,} are {left}"
        return f"{self.needed_inodes:,} inodes (files and folders) are needed and {self.free_inodes:,} are {left}"


def free_on(descriptor: int) -> Free:
    """What this process may still write to the volume of an open folder: by its blocks, its inodes, and its quotas.

    Raises:
        OSError: the volume cannot be asked.
    """
    volume = os.fstatvfs(descriptor)
    free = Free(volume.f_bavail * volume.f_frsize, volume.f_favail if volume.f_files else None)
    for quota in quotas(descriptor):
        size, inodes = _least(free.bytes, quota.bytes) or 0, _least(free.inodes, quota.inodes)
        if (size, inodes) != (free.bytes, free.inodes):
            free = Free(size, inodes, quota.whose)
    return free


def _least(one: int | None, other: int | None) -> int | None:
    """The smaller of two limits, each None where there is none."""
    return min((limit for limit in (one, other) if limit is not None), default=None)


def room_for(descriptor: int, files: int, size: int, folders: int = 0) -> Room:
    """The room on the volume of an open folder for so many files, bytes and folders.

    Raises:
        OSError: the volume cannot be asked.
    """
    volume = os.fstatvfs(descriptor)
    free = free_on(descriptor)
    # A margin of 16 MiB would refuse small volumes that have room: never more than 1 % of what is there.
    margin = min(MARGIN, volume.f_blocks * volume.f_frsize // 100)
    needed = size + (files + folders) * PER_FILE + margin if files else 0
    return Room(needed, free.bytes, files + folders + 8 if files else 0, free.inodes, free.quota)


def taken_by(root: Root, files: Mapping[bytes, int]) -> tuple[int, int]:
    """How many of these files (path, final size) are there, and the room that they have of what they will need.

    Blocks that were reserved and not written yet count: a part of a big file has all its blocks from the start.
    """
    number = room = 0
    for path, size in files.items():
        folder, _, name = path.rpartition(b"/")
        try:
            descriptor = root.open_folder(folder)
            try:
                facts = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            finally:
                os.close(descriptor)
        except OSError:
            continue  # it is not there, or takes no part
        number += 1
        room += min(size, max(facts.st_size, facts.st_blocks * 512))
    return number, room
