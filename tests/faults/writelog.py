"""Disks whose writes and flushes are written down in one order, so that every state a power cut could leave can be made.

Usage: ``python writelog.py FOLDER MOUNT LOG``, in the foreground. Each image in FOLDER shows as a file in MOUNT; a
loop device on that file is a disk with a volatile cache: what it is told to write and to flush comes here as writes
and fsyncs, one after the other. What is written to ``MOUNT/mark`` goes into the log as a moment with a name. The log
is whole when the daemon has ended.

What a disk promises is all that is assumed: of the writes before its last flush every one is there; of those after it
any, in whole or in sectors. An order among them, or between disks, is not promised.
"""

from __future__ import annotations

import argparse
import errno
import os
import struct
from ctypes.util import find_library
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

WRITE, FLUSH, MARK = b"W", b"F", b"M"
_HEAD: Final = struct.Struct("<cBQI")  # kind, disk, offset, bytes that follow


def missing() -> str | None:
    """What this machine lacks for such disks, None if nothing."""
    if find_spec("mfusepy") is None or find_library("fuse3") is None:
        return "needs mfusepy and libfuse3"
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "needs root and /dev/fuse"
    return None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a disk was told, or a moment with a name."""

    kind: bytes
    disk: int
    offset: int
    data: memoryview


class Timeline:
    """All that happened to some disks, in order. `disks`: their names, by number."""

    def __init__(self, log: Path, disks: list[str]) -> None:
        self.disks = disks
        whole = memoryview(log.read_bytes())
        self.events: list[Event] = []
        at = 0
        while at < len(whole):
            kind, disk, offset, length = _HEAD.unpack_from(whole, at)
            at += _HEAD.size + length
            self.events.append(Event(kind, disk, offset, whole[at - length : at]))
        assert at == len(whole), "the log was cut short"

    def mark(self, name: str) -> int:
        """When this was: the number of the event after it."""
        return 1 + next(n for n, e in enumerate(self.events) if e.kind == MARK and bytes(e.data).decode() == name)

    def flushes(self, disk: str) -> list[int]:
        """The moments right after each flush of a disk."""
        number = self.disks.index(disk)
        return [n + 1 for n, event in enumerate(self.events) if event.kind == FLUSH and event.disk == number]

    def unflushed(self) -> list[int]:
        """How many writes were not flushed before each event."""
        waiting = [0] * len(self.disks)
        counts = []
        for event in self.events:
            counts.append(sum(waiting))
            if event.kind != MARK:
                waiting[event.disk] = waiting[event.disk] + 1 if event.kind == WRITE else 0
        return counts


@dataclass(frozen=True)
class Cut:
    """A power cut: before event `at`. Of what a disk had not flushed, this share of writes is kept; of those that are
    kept this share is torn, which leaves any of their sectors.
    """

    at: int
    kept: dict[str, float]
    torn: float = 0.0
    sector: int = 4096

    def survivors(self, unflushed: list[Event], disk: str, draw: Random) -> Iterator[tuple[int, memoryview]]:
        """What of some writes reached the medium."""
        for event in unflushed:
            if draw.random() >= self.kept[disk]:
                continue
            if draw.random() >= self.torn or len(event.data) <= self.sector:
                yield event.offset, event.data
                continue
            for start in range(0, len(event.data), self.sector):
                if draw.random() < 0.5:
                    yield event.offset + start, event.data[start : start + self.sector]


class Replay:
    """Plays a timeline forward, from images as they were before it began; cuts come in the order of their moments."""

    def __init__(self, timeline: Timeline, images: dict[str, Path]) -> None:
        self._timeline = timeline
        self._files = {disk: os.open(images[disk], os.O_RDWR) for disk in timeline.disks}
        self._unflushed: dict[str, list[Event]] = {disk: [] for disk in timeline.disks}
        self._at = 0

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)

    def cut(self, cut: Cut, states: dict[str, Path], draw: Random) -> int:
        """Make the disks as this cut leaves them; how many writes were not flushed."""
        assert cut.at >= self._at, "time goes forward"
        for event in self._timeline.events[self._at : cut.at]:
            disk = self._timeline.disks[event.disk]
            if event.kind == WRITE:
                self._unflushed[disk].append(event)
            elif event.kind == FLUSH:
                for write in self._unflushed[disk]:
                    os.pwrite(self._files[disk], write.data, write.offset)
                self._unflushed[disk].clear()
        self._at = cut.at
        for disk, state in states.items():
            self._duplicate(self._files[disk], state)
            file = os.open(state, os.O_RDWR)
            try:
                for offset, data in cut.survivors(self._unflushed[disk], disk, draw):
                    os.pwrite(file, data, offset)
            finally:
                os.close(file)
        return sum(map(len, self._unflushed.values()))

    @staticmethod
    def _duplicate(image: int, state: Path) -> None:
        """A copy with the same holes."""
        size = os.fstat(image).st_size
        state.unlink(missing_ok=True)
        file = os.open(state, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.truncate(file, size)
            at = 0
            while at < size:
                try:
                    start = os.lseek(image, at, os.SEEK_DATA)
                except OSError as error:
                    assert error.errno == errno.ENXIO  # noqa: PT017 - nothing but a hole is left
                    break
                at = os.lseek(image, start, os.SEEK_HOLE)
                while start < at:
                    data = os.pread(image, min(at - start, 1 << 20), start)
                    start += os.pwrite(file, data, start)
        finally:
            os.close(file)


def serve(folder: str, mount: str, log: str) -> None:
    """Be the disks, until they are unmounted."""
    import mfusepy

    names = sorted(os.listdir(folder))
    images = [os.open(os.path.join(folder, name), os.O_RDWR) for name in names]
    written = open(log, "xb", buffering=1 << 20)  # noqa: SIM115 - closed at the end of this function

    def note(kind: bytes, disk: int, offset: int = 0, data: bytes = b"") -> None:
        written.write(_HEAD.pack(kind, disk, offset, len(data)))
        written.write(data)

    class WriteLog(mfusepy.Operations):
        use_ns = True

        def getattr(self, path: str, _fh: int | None = None) -> dict[str, int]:
            if path == "/":
                return {"st_mode": 0o40755, "st_nlink": 2}
            if path == "/mark":
                return {"st_mode": 0o100600, "st_nlink": 1, "st_size": 0}
            if path[1:] in names:
                size = os.fstat(images[names.index(path[1:])]).st_size
                return {"st_mode": 0o100600, "st_nlink": 1, "st_size": size}
            raise mfusepy.FuseOSError(errno.ENOENT)

        def readdir(self, _path: str, _fh: int) -> list[str]:
            return [".", "..", "mark", *names]

        def open(self, path: str, _flags: int) -> int:
            # The number of the disk, or the one after the last for the marks.
            return names.index(path[1:]) if path[1:] in names else len(names)

        def read(self, _path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(images[fh], size, offset) if fh < len(images) else b""

        def write(self, _path: str, data: bytes, offset: int, fh: int) -> int:
            if fh == len(images):
                note(MARK, 0, 0, data)
                return len(data)
            note(WRITE, fh, offset, data)
            return os.pwrite(images[fh], data, offset)

        def fsync(self, _path: str, _datasync: int, fh: int) -> int:
            note(FLUSH, fh)
            return 0

        def truncate(self, path: str, _length: int, _fh: int | None = None) -> int:
            if path != "/mark":  # a disk keeps its size
                raise mfusepy.FuseOSError(errno.EPERM)
            return 0

    # One thread: the log's order is the order in which the disks were asked.
    options: dict[str, Any] = {"foreground": True, "nothreads": True, "fsname": "writelog"}
    with written:
        mfusepy.FUSE(WriteLog(), mount, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description="Disks whose writes and flushes are written down.")
    for name in ("folder", "mount", "log"):
        parser.add_argument(name)
    given = parser.parse_args()
    serve(*(os.path.abspath(place) for place in (given.folder, given.mount, given.log)))


if __name__ == "__main__":
    main()
