"""What stands where a root stood: the root, another archive, a clone of it, another disk, or the folder underneath.

Pure: what is known on the one side, what was seen on the other, and a sentence for each difference.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Footing:
    """A folder, as it is known or as it was seen.

    Attributes:
        device, inode: of the folder (`st_dev`, `st_ino`).
        marker: the UUID of the root's marker, None if it carries none.
        fs_uuid: of its file system, None where that is not known.
        mounted: it is itself where something is mounted.
    """

    device: int
    inode: int
    marker: str | None = None
    fs_uuid: str | None = None
    mounted: bool = False


def elsewhere(known: Footing, seen: Footing) -> bool:
    """Whether it is another file system: by its UUID, and by the device number only where that is not known.

    Device numbers are given out anew at every start of the machine, and by btrfs to each subvolume.
    """
    if known.fs_uuid is not None and seen.fs_uuid is not None:
        return known.fs_uuid != seen.fs_uuid
    return known.device != seen.device


def cloned(known: str | None, seen: str | None) -> bool:
    """Whether a marker stands on another file system than it belongs to; never where one of the two hides its UUID."""
    return known is not None and seen is not None and known != seen


def stranger(known: Footing, seen: Footing) -> str | None:
    """Why what stands there is not the root that is known; None if it carries its marker, on its file system."""
    if seen.marker is None:
        if not elsewhere(known, seen):
            return "its marker is gone: another folder stands there"
        if seen.mounted:
            return "another disk is mounted there, which is not this archive"
        return "its disk is not mounted: what stands there is a folder of the disk underneath"
    if seen.marker != known.marker:
        return f"another archive stands there ({seen.marker})"
    if cloned(known.fs_uuid, seen.fs_uuid):
        return (
            "a clone of it stands there: it carries the same marker, but it is the file system "
            f"{seen.fs_uuid} instead of {known.fs_uuid}"
        )
    return None


def replaced(known: Footing, seen: Footing) -> str | None:
    """Why what stands there is not the folder that was opened, though it may be the same root; None if it is."""
    if known.marker is not None and (why := stranger(known, seen)) is not None:
        return why
    if seen.device != known.device and known.marker is not None:
        return "its disk was mounted anew"
    return None if (seen.device, seen.inode) == (known.device, known.inode) else "another folder has taken its place"
