"""Runs a command under a filter that answers system calls with an error, as old container runtimes do. No part of the product.

python without_openat2.py ENOSYS|EPERM|OLD COMMAND [ARGUMENT ...]

Refused is openat2(2); of OLD, a kernel before 5.6, statx(2) as well, which tells mounts apart.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

OPENAT2 = 437  # the same number on every architecture
STATX = {"x86_64": 332, "aarch64": 291}
SET_NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF: load a word, jump if equal, return
ALLOW, ERRNO, NUMBER, ARCHITECTURE = 0x7FFF0000, 0x00050000, 0, 4


def install(code: int, *calls: int) -> None:
    refused = len(calls)
    steps = [
        (LOAD, 0, 0, ARCHITECTURE), (EQUAL, 0, refused + 1, ARCHITECTURES[platform.machine()]), (LOAD, 0, 0, NUMBER),
        *((EQUAL, refused - at, 0, call) for at, call in enumerate(calls)),
        (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERRNO | code),
    ]  # fmt: skip
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(SET_SECCOMP, FILTER, ctypes.addressof(header), 0, 0):
        sys.exit(f"no filter here: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    if sys.argv[1] == "OLD":
        install(errno.ENOSYS, OPENAT2, STATX[platform.machine()])
    else:
        install(getattr(errno, sys.argv[1]), OPENAT2)
    os.execv(sys.argv[2], sys.argv[2:])
