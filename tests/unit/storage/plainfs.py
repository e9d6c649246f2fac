"""An empty file system behind FUSE, under any name: ``python plainfs.py MOUNT ORIGIN SUBTYPE [hang]``, in the foreground.

With ``hang`` it answers nothing but the mount itself, like a share whose server froze.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading

import mfusepy


class PlainFS(mfusepy.Operations):
    use_ns = True

    def __init__(self, hang: bool) -> None:
        self._hang = hang

    def getattr(self, path: str, _fh: int | None = None) -> dict[str, int]:
        if self._hang:
            threading.Event().wait()
        if path != "/":
            raise mfusepy.FuseOSError(errno.ENOENT)
        return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2, "st_uid": os.getuid(), "st_gid": os.getgid()}

    def readdir(self, _path: str, _fh: int) -> list[str]:
        return [".", ".."]

    def statfs(self, _path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1000, "f_bfree": 500, "f_bavail": 500, "f_namemax": 143}


def main() -> None:
    mount, origin, subtype, *rest = sys.argv[1:]
    mfusepy.FUSE(PlainFS(hang=rest == ["hang"]), mount, foreground=True, fsname=origin, subtype=subtype)


if __name__ == "__main__":
    main()
