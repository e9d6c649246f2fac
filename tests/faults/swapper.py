"""Changes what a name leads to, in a tight loop, until its input is closed; then says how often. No part of the product.

    python swapper.py exchange A B [A B ...]    two names change places at once (renameat2), pair after pair
    python swapper.py mount FOLDER POINT        a folder is mounted on another one, and taken away again

Every pair, or the mount, is left as it was found.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, EXCHANGE, BIND, DETACH = -100, 2, 4096, 2


def exchange(one: bytes, other: bytes) -> bool:
    return LIBC.renameat2(AT_FDCWD, one, AT_FDCWD, other, EXCHANGE) == 0


def mount(folder: bytes, point: bytes) -> bool:
    return LIBC.mount(folder, point, None, BIND, None) == 0


def unmount(point: bytes) -> bool:
    return LIBC.umount2(point, DETACH) == 0


def over() -> bool:
    return bool(select.select([0], [], [], 0)[0])


def main() -> None:
    what, *names = (os.fsencode(argument) for argument in sys.argv[1:])
    done = 0
    if what == b"exchange":
        pairs = list(zip(names[::2], names[1::2], strict=True))
        if not all(exchange(*pair) for pair in pairs):
            sys.exit(f"these names cannot change places: {os.strerror(ctypes.get_errno())}")
        print("ready", flush=True)
        swapped = [True] * len(pairs)
        while not over():
            for at, pair in enumerate(pairs):
                if exchange(*pair):
                    swapped[at] = not swapped[at]
                    done += 1
        for at, pair in enumerate(pairs):
            if swapped[at] and not exchange(*pair):
                sys.exit(f"{pair} could not be given back")
    else:
        folder, point = names
        if not mount(folder, point):
            sys.exit(f"it cannot be mounted: {os.strerror(ctypes.get_errno())}")
        print("ready", flush=True)
        while not over():
            unmount(point)
            done += mount(folder, point)
        # Until the kernel says that nothing is mounted there: `ismount` knows no bind mounts.
        while unmount(point):
            pass
    print(done, flush=True)


if __name__ == "__main__":
    main()
