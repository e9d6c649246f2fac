"""Quotas: what the system lets this user, or one of his groups, still write to a file system that has room.

Asked of the kernel with `quotactl_fd` (Linux 5.14 and later), which knows the quotas of users and groups on ext4, xfs,
tmpfs and others. Not asked: quotas of projects and folders (ext4 and xfs already count them in what `statvfs` calls
free), groups of btrfs subvolumes, and what a server limits; there the first write that fails tells.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# The same number on every architecture: it is younger than their common table (424).
_QUOTACTL_FD: Final = 443
_GET_QUOTA: Final = 0x800007
_USER, _GROUP = 0, 1
# `struct if_dqblk`: hard and soft limit and use, of blocks and then of inodes; the ends of both graces; what is valid.
_BLOCK: Final = struct.Struct("=8QI4x")
# Limits of blocks are told in units of 1 KiB (QIF_DQBLKSIZE), their use in bytes.
_UNIT: Final = 1024
# The capability that no quota binds (CAP_SYS_RESOURCE), as a bit of CapEff.
_UNBOUND: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Quota:
    """What one quota leaves: bytes and inodes, None where it sets no limit. `whose`: in words."""

    whose: str
    bytes: int | None
    inodes: int | None


def quotas(descriptor: int) -> list[Quota]:
    """The quotas that bind this process on the file system of an open folder; none where none can be asked for."""
    if sys.platform != "linux" or _unbound():
        return []
    folder = os.fstat(descriptor)
    # New files belong to the group of the process, unless the folder hands its own on.
    user, group = os.geteuid(), folder.st_gid if folder.st_mode & stat.S_ISGID else os.getegid()
    asked = [(_USER, user, f"the quota of user {user}"), (_GROUP, group, f"the quota of group {group}")]
    told = ((whose, _ask(descriptor, kind, identity)) for kind, identity, whose in asked)
    return [left(whose, answer, time.time()) for whose, answer in told if answer is not None]


def left(whose: str, answer: bytes, now: float) -> Quota:
    """What a kernel's answer (`struct if_dqblk`) leaves. `now`: seconds since the epoch, for the end of a grace."""
    hard, soft, used, inodes_hard, inodes_soft, inodes, end, inodes_end, _ = _BLOCK.unpack(answer[: _BLOCK.size])
    return Quota(
        whose,
        _left(hard * _UNIT, soft * _UNIT, used, end, now),
        _left(inodes_hard, inodes_soft, inodes, inodes_end, now),
    )


def _left(hard: int, soft: int, used: int, end: int, now: float) -> int | None:
    """Up to the hard limit, or to nothing once the grace above the soft one has ended; 0 stands for no limit."""
    if soft and used > soft and 0 < end <= now:
        return 0
    return max(0, hard - used) if hard else None


def _ask(descriptor: int, kind: int, identity: int) -> bytes | None:
    """The kernel's answer; None where quotas are not kept, not of this kind, or not told to us."""
    import ctypes  # where it is needed: nobody else pays for it

    answer = ctypes.create_string_buffer(_BLOCK.size)
    command = (_GET_QUOTA << 8 | kind) & 0xFFFFFFFF
    done = ctypes.CDLL(None).syscall(
        _QUOTACTL_FD, descriptor, ctypes.c_uint32(command), ctypes.c_uint32(identity), answer
    )
    return None if done else answer.raw


def _unbound() -> bool:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) & _UNBOUND)
