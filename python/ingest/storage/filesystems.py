"""The name that a file system carries itself: its UUID, by which a disk is known again in any reader, under any path."""

from __future__ import annotations

import os
import sys
import uuid
from typing import Final

if sys.platform != "win32":
    from fcntl import ioctl

# `struct fsuuid2`: a length, then up to 16 bytes. Linux 6.9 and later; ext4, xfs, overlay and more.
_GET_UUID: Final = 0x80111500
_GET_UUID_SIZE: Final = 17
# Btrfs answers its own question only: `struct btrfs_ioctl_fs_info_args`, two 64-bit numbers before the UUID.
_BTRFS_INFO: Final = 0x8400941F
_BTRFS_INFO_SIZE: Final = 1024


def uuid_of(descriptor: int) -> str | None:
    """The UUID of the file system that an open folder lies on, spelt as in ``/dev/disk/by-uuid``; None if it tells none.

    Asked of the file system itself: the links below ``/dev/disk`` know one of two clones, and are missing in containers.
    """
    if sys.platform == "win32":
        return None
    for question, size, start in ((_GET_UUID, _GET_UUID_SIZE, 1), (_BTRFS_INFO, _BTRFS_INFO_SIZE, 16)):
        try:
            answer = ioctl(descriptor, question, bytes(size))
        except OSError:
            continue  # this kernel or file system does not know the question
        raw = answer[start : start + 16]
        # Shorter ones are serial numbers (FAT), which are spelt otherwise; zeros are what was never set.
        if any(raw) and (question != _GET_UUID or answer[0] == len(raw)):
            return str(uuid.UUID(bytes=raw))
    return by_device(os.fstat(descriptor).st_dev)


def uuid_at(path: bytes) -> str | None:
    """The same for a folder that may be opened; None also if it may not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return uuid_of(descriptor)
    finally:
        os.close(descriptor)


def by_device(device: int, folder: str = "/dev/disk/by-uuid") -> str | None:
    """The UUID, or serial number, that the system has noted for a disk; None if it has none."""
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    for name in names:
        try:
            if os.stat(os.path.join(folder, name)).st_rdev == device:
                return name
        except OSError:
            continue
    return None
