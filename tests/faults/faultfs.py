"""A file system that fails on request: passes everything on to a folder, but for what its rules say.

Usage: ``python faultfs.py BACKING MOUNT RULES LOG [SUBTYPE]``, in the foreground. RULES is a JSON list, read again whenever
the file changes (replace it in one rename). A call takes the first rule that fits it and is still good:

=========  ==================================================================================================
op         the name of a method of `FaultFS`, or several in a list; ``flush`` is what close(2) waits for
path       glob on the path inside the mount, either one of a rename or link (default ``*``), or several in a list
at         offset of a byte: only reads that ask for it, and writes that bring it
nth        the first fitting call that fires (default 1)
count      how many fire from then on (default 1; 0: all)
err        errno by name; `after`: only when the real call was made
act        ``flip`` (one bit of what is read or written), ``drop`` (claims success, does nothing), ``torn`` (claims
           success, writes the first half), ``short`` (at most `size` bytes), ``zero`` (bytes of zero), ``note``
           (only write it down), ``hang`` (until the rules change), ``slow`` (`seconds` later), ``die`` (the daemon
           ends: ENOTCONN)
=========  ==================================================================================================

Each hit is one line of JSON in LOG, with the bytes it concerned.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import fnmatch
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import mfusepy

if TYPE_CHECKING:
    from collections.abc import Callable


class Rules:
    """What goes wrong next, and what has gone wrong so far."""

    def __init__(self, file: str, log: str) -> None:
        self._file = os.path.abspath(file)  # the library changes to the root folder
        self._log = open(log, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 - open as long as the process
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._rules: list[dict[str, Any]] = []

    @property
    def stamp(self) -> tuple[int, int]:
        facts = os.stat(self._file)
        return facts.st_ino, facts.st_mtime_ns

    def match(self, call: str, paths: tuple[str, ...], size: int, offset: int) -> dict[str, Any] | None:
        with self._lock:
            if (stamp := self.stamp) != self._seen:
                with open(self._file, encoding="utf-8") as stream:
                    self._rules = [
                        {"nth": 1, "count": 1, "path": "*", **rule, "calls": 0} for rule in json.load(stream)
                    ]
                self._seen = stamp
            for rule in self._rules:
                if call not in ([rule["op"]] if isinstance(rule["op"], str) else rule["op"]):
                    continue
                globs = [rule["path"]] if isinstance(rule["path"], str) else rule["path"]
                if not any(fnmatch.fnmatch(path, glob) for path in paths for glob in globs):
                    continue
                if "at" in rule and not offset <= rule["at"] < offset + size:
                    continue
                rule["calls"] += 1
                if rule["calls"] < rule["nth"] or (rule["count"] and rule["calls"] >= rule["nth"] + rule["count"]):
                    continue
                if rule.get("act") != "note":
                    self.note(rule, call, paths, size)
                return rule
        return None

    def note(self, rule: dict[str, Any], call: str, paths: tuple[str, ...], size: int) -> None:
        line = {
            "op": call,
            "path": paths[0],
            "paths": paths,
            "bytes": size,
            "act": rule.get("act"),
            "err": rule.get("err"),
        }
        self._log.write(json.dumps(line) + "\n")

    def wait_for_change(self) -> None:
        before = self.stamp
        while self.stamp == before:
            time.sleep(0.02)


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :] if data else data


class FaultFS(mfusepy.Operations):
    """Every call goes through `_do`, which asks the rules."""

    use_ns = True

    def __init__(self, backing: str, rules: Rules) -> None:
        self._backing = backing
        self._rules = rules

    def _at(self, path: str) -> str:
        return self._backing + path

    def _do(
        self, call: str, paths: tuple[str, ...], real: Callable[..., Any], data: bytes | int = b"", offset: int = 0
    ) -> Any:
        """Make the real call as far as the rules allow. `data` is what is written, or how much is to be read."""
        length = data if isinstance(data, int) else len(data)
        rule = self._rules.match(call, paths, length, offset)
        if rule is None:
            return real(data)
        act = rule.get("act")
        if act == "die":
            os._exit(9)
        if act == "hang":
            self._rules.wait_for_change()
        if act == "slow":
            time.sleep(rule["seconds"])
        if act == "drop":
            return length if call == "write" else 0
        if rule.get("err"):
            if rule.get("after"):
                real(data)
            raise mfusepy.FuseOSError(getattr(errno, rule["err"]))
        if call == "write" and isinstance(data, bytes):
            if act == "note":
                self._rules.note(rule, call, paths, length)
            if act == "torn":
                real(data[: length // 2])
                return length
            return {
                "flip": lambda: real(flipped(data)), "zero": lambda: real(bytes(length)),
                "short": lambda: real(data[: rule.get("size", 1)]),
            }.get(act or "", lambda: real(data))()  # fmt: skip
        answer = real(data)
        if call == "read":
            answer = {
                "flip": lambda: flipped(answer), "zero": lambda: bytes(len(answer)),
                "short": lambda: answer[: rule.get("size", 1)],
            }.get(act or "", lambda: answer)()  # fmt: skip
        if act == "note":
            self._rules.note(rule, call, paths, len(answer) if call == "read" else length)
        return answer

    # What things are

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        def real(_: object) -> dict[str, int]:
            facts = os.fstat(fh) if fh else os.lstat(self._at(path))
            names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino", "st_blocks")
            times = {name: getattr(facts, name + "_ns") for name in ("st_atime", "st_mtime", "st_ctime")}
            return {**{name: getattr(facts, name) for name in names}, **times}

        return self._do("getattr", (path,), real)

    def readdir(self, path: str, _fh: int) -> list[tuple[str, dict[str, int], int]]:
        def entry(name: str, facts: os.stat_result) -> tuple[str, dict[str, int], int]:
            return name, {"st_ino": facts.st_ino, "st_mode": facts.st_mode}, 0

        def real(_: object) -> list[tuple[str, dict[str, int], int]]:
            own = os.lstat(self._at(path))
            with os.scandir(self._at(path)) as entries:
                inside = [entry(e.name, e.stat(follow_symlinks=False)) for e in entries]
            return [entry(".", own), entry("..", own), *inside]

        return self._do("readdir", (path,), real)

    def readlink(self, path: str) -> str:
        return os.readlink(self._at(path))

    def statfs(self, path: str) -> dict[str, int]:
        def real(_: object) -> dict[str, int]:
            facts = os.statvfs(self._at(path))
            return {name: getattr(facts, name) for name in dir(facts) if name.startswith("f_")}

        return self._do("statfs", (path,), real)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        return self._do("utimens", (path,), lambda _: os.utime(self._at(path), ns=times, follow_symlinks=False)) or 0

    def chmod(self, path: str, mode: int) -> int:
        return os.chmod(self._at(path), mode) or 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return os.chown(self._at(path), uid, gid, follow_symlinks=False) or 0

    # Names

    def mkdir(self, path: str, mode: int) -> int:
        return self._do("mkdir", (path,), lambda _: os.mkdir(self._at(path), mode)) or 0

    def rmdir(self, path: str) -> int:
        return self._do("rmdir", (path,), lambda _: os.rmdir(self._at(path))) or 0

    def unlink(self, path: str) -> int:
        return self._do("unlink", (path,), lambda _: os.unlink(self._at(path))) or 0

    def link(self, target: str, source: str) -> int:
        return self._do("link", (source, target), lambda _: os.link(self._at(source), self._at(target))) or 0

    def rename(self, old: str, new: str, flags: int = 0) -> int:
        def real(_: object) -> None:
            # Python's own rename knows no flags, and RENAME_NOREPLACE is what this is about.
            if _LIBC.renameat2(-100, os.fsencode(self._at(old)), -100, os.fsencode(self._at(new)), flags):
                raise mfusepy.FuseOSError(ctypes.get_errno())

        return self._do("rename", (old, new), real) or 0

    # Bytes

    def open(self, path: str, flags: int) -> int:
        plain = flags & ~(os.O_APPEND | os.O_DIRECT)
        return self._do("open", (path,), lambda _: os.open(self._at(path), plain))

    def create(self, path: str, mode: int, fi: int | None = None) -> int:
        flags = ((fi or os.O_RDWR) | os.O_CREAT) & ~(os.O_APPEND | os.O_DIRECT)
        return self._do("create", (path,), lambda _: os.open(self._at(path), flags, mode))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return self._do("read", (path,), lambda wanted: os.pread(fh, wanted, offset), size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return self._do("write", (path,), lambda given: os.pwrite(fh, given, offset), data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        return self._do("truncate", (path,), lambda _: os.truncate(fh or self._at(path), length)) or 0

    def fallocate(self, path: str, mode: int, offset: int, length: int, fh: int) -> int:
        def real(_: object) -> None:
            if _LIBC.fallocate(fh, mode, ctypes.c_long(offset), ctypes.c_long(length)):
                raise mfusepy.FuseOSError(ctypes.get_errno())

        return self._do("fallocate", (path,), real) or 0

    def flush(self, path: str, fh: int) -> int:
        return self._do("flush", (path,), lambda _: os.close(os.dup(fh))) or 0

    def fsync(self, path: str, _datasync: int, fh: int) -> int:
        return self._do("fsync", (path,), lambda _: os.fsync(fh)) or 0

    def fsyncdir(self, path: str, _datasync: int, _fh: int) -> int:
        def real(_: object) -> None:
            folder = os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

        return self._do("fsyncdir", (path,), real) or 0

    def release(self, _path: str, fh: int) -> int:
        return os.close(fh) or 0


_LIBC = ctypes.CDLL(None, use_errno=True)


class Fuse(mfusepy.FUSE):
    """With the flags of rename(2), which the library drops."""

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
        return self.operations.rename(os.fsdecode(old), os.fsdecode(new), flags)


def main() -> None:
    parser = argparse.ArgumentParser(description="A file system that fails on request.")
    for name in ("backing", "mount", "rules", "log"):
        parser.add_argument(name)
    parser.add_argument("subtype", nargs="?", default="faultfs", help="what the mount table calls it, after `fuse.`")
    given = parser.parse_args()
    Fuse(
        FaultFS(os.path.realpath(given.backing), Rules(given.rules, given.log)), given.mount, foreground=True,
        fsname="faultfs", subtype=given.subtype, use_ino=True, attr_timeout=0, entry_timeout=0,
    )  # fmt: skip


if __name__ == "__main__":
    main()
