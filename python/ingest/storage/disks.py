"""What the kernel tells of the disk behind a device number: does it spin, can it be pulled out, is there one at all.

Read from sysfs. Where there is none (macOS, Windows), or the device is none of its disks (tmpfs, a share, the
anonymous numbers of overlay), the answer is None, which is not the same as "it does not spin".
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

# Names that only the drivers of paravirtual disks give: virtio-blk and Xen's front end.
_VIRTUAL_NAMES: Final = re.compile(r"(vd|xvd)[a-z]+$")
# How emulated SCSI and ATA disks introduce themselves (INQUIRY and IDENTIFY): Hyper-V "Msft Virtual Disk", "VMware
# Virtual disk", "QEMU HARDDISK", "VBOX HARDDISK".
_VIRTUAL_MODELS: Final = re.compile(r"virtual disk|qemu harddisk|vbox harddisk", re.IGNORECASE)
# Disks on disks on disks: deeper is a loop in the tree, or none of our business.
_MOST_LAYERS: Final = 8


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk.

    Attributes:
        rotational: it spins; None for a virtual disk. Older kernels say 0 of every one and newer ones 1, for the
            same disk: a guest cannot know what its host keeps it on.
        removable: it can be pulled out of its reader.
        lies_on: the whole disks that it is made of in the end, by their folders in sysfs: itself, if it is a real one.
            What lies on the same one shares its arm.
    """

    rotational: bool | None
    removable: bool
    lies_on: frozenset[str] = frozenset()


def disk_of(device: int, sysfs: str = "/sys") -> Disk | None:
    """The disk that a device number belongs to, a partition's being its whole disk; None if it is none."""
    folder = os.path.realpath(f"{sysfs}/dev/block/{os.major(device)}:{os.minor(device)}")
    if os.path.exists(f"{folder}/partition"):
        folder = os.path.dirname(folder)
    spinning = _read(f"{folder}/queue/rotational")
    if spinning is None:
        return None
    rotational = None if _virtual(folder, sysfs) else spinning == "1"
    return Disk(rotational, _read(f"{folder}/removable") == "1", _bottom(folder, sysfs))


def _virtual(folder: str, sysfs: str, layer: int = 0) -> bool:
    """Whether a disk is a virtual one, or (device mapper, RAID, a file as a disk) lies on one."""
    if _VIRTUAL_NAMES.match(os.path.basename(folder)) or _VIRTUAL_MODELS.search(_read(f"{folder}/device/model") or ""):
        return True
    if layer == _MOST_LAYERS:
        return False
    return any(_virtual(below, sysfs, layer + 1) for below in _below(folder, sysfs))


def _bottom(folder: str, sysfs: str, layer: int = 0) -> frozenset[str]:
    """The disks at the bottom of a pile of them."""
    below = _below(folder, sysfs) if layer < _MOST_LAYERS else []
    return frozenset().union(*(_bottom(one, sysfs, layer + 1) for one in below)) if below else frozenset((folder,))


def _below(folder: str, sysfs: str) -> list[str]:
    """The whole disks that a stacked one is made of."""
    try:
        found = [os.path.realpath(f"{folder}/slaves/{name}") for name in os.listdir(f"{folder}/slaves")]
    except OSError:
        found = []
    file = _read(f"{folder}/loop/backing_file")
    if file:
        try:
            device = os.stat(file).st_dev
        except OSError:
            pass
        else:
            found.append(os.path.realpath(f"{sysfs}/dev/block/{os.major(device)}:{os.minor(device)}"))
    return [os.path.dirname(one) if os.path.exists(f"{one}/partition") else one for one in found]


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as value:
            return value.read().strip()
    except OSError:
        return None
