"""The prober: a process that asks places whether they are still there, because asking may hang.

A place whose server is frozen gives no errno: whoever looks at it stands in the kernel, perhaps for ever. So one
process does nothing but look, with a thread for each look. Its pipe answers as soon as the kernel does; what does not
come within its time is for `pipeline.watch` to judge. The process may be left behind, like any other.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import ABSENT, IngestError, shown
from ingest.storage.filesystems import uuid_of
from ingest.storage.marker import read_marker
from ingest.storage.space import free_on
from ingest.storage.whereabouts import likely, marker_at
from ingest.workers import process

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

# Looks at one place that the kernel has not answered: more of them would learn nothing more.
MOST_HANGING: Final = 3


@dataclass(frozen=True, slots=True)
class Spot:
    """A place to be looked at.

    Attributes:
        archive: it is a root and carries a marker; otherwise it is a source.
        origin: the device file of the disk that it lies on, if it has one.
        marker: the UUID of the root that belongs there; where it does not stand it is looked for elsewhere.
    """

    path: bytes
    archive: bool
    served: bool = False
    origin: bytes | None = None
    marker: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look found.

    Attributes:
        spot, look: which place, and which of the looks that were asked for.
        errno: why it failed, 0 if it did not. detail: the same in words; and where the root is now, if it is not there.
        device, inode: of the folder that is there now. marker: the UUID that a root carries, None if it has none.
        fs_uuid: of the file system there, None if it hides it. mounted: something is mounted at this very path.
        read_only: nothing can be written there.
        free_bytes, free_inodes: what the user may still write there (inodes None where they are made as needed).
    """

    spot: int
    look: int
    errno: int = 0
    detail: str = ""
    device: int = 0
    inode: int = 0
    marker: str | None = None
    free_bytes: int = 0
    free_inodes: int | None = None
    read_only: bool = False
    fs_uuid: str | None = None
    mounted: bool = False


def look(spot: Spot, number: int, count: int) -> Finding:
    """Look at a place anew: nothing that was opened earlier is asked, since it may answer from memory, or never again."""
    try:
        if spot.origin is not None and not os.path.exists(spot.origin):
            # What the kernel remembers of a disk that was pulled out would still answer for it.
            return Finding(number, count, errno.ENODEV, "its disk was taken out")
        root = engine.Root(spot.path, cross=not spot.archive, served=spot.served)
        marker = read_marker(root) if spot.archive else None
        descriptor = root.open_folder(b"")
        try:
            # Listing asks a server where attributes may come from the kernel's memory.
            with os.scandir(descriptor) as entries:
                next(entries, None)
            room = free_on(descriptor)
            read_only = bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)
            fs_uuid = uuid_of(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        code = error.errno or errno.EIO
        return Finding(number, count, code, str(error.strerror or error) + _elsewhere(spot, code in ABSENT))
    except IngestError as error:
        return Finding(number, count, error.errno or errno.EIO, error.cause)
    carries = marker.uuid if marker else None
    return Finding(
        number, count, 0, _elsewhere(spot, carries != spot.marker), root.dev, root.ino, carries, room.bytes, room.inodes,
        read_only, fs_uuid, os.path.ismount(spot.path),
    )  # fmt: skip


def _elsewhere(spot: Spot, missing: bool) -> str:
    """Where the root is that is `missing` from its path, in words; nothing if it is not known."""
    if spot.marker is None or not missing:
        return ""
    found = [path for path in likely(spot.path) if marker_at(path) == spot.marker]
    return f"; the archive is at {shown(found[0])} now" if found else ""


class Prober:
    """The supervisor's side. The process starts with the first question."""

    def __init__(self, spots: Sequence[Spot]) -> None:
        self._spots = tuple(spots)
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None

    def ask(self, spot: int, number: int) -> None:
        """Have a place looked at; the answer carries the number.

        Raises:
            OSError: there is no room for one more process.
        """
        if self._pipe is None:
            self._start()
        assert self._pipe is not None  # noqa: S101 - it was just started
        try:
            self._pipe.send((spot, number))
        except OSError:
            self.stop()  # it died (somebody's kill): the next question starts another one

    def heard(self) -> list[Finding]:
        """What was answered since; never waits."""
        found: list[Finding] = []
        try:
            while self._pipe is not None and self._pipe.poll():
                found.append(self._pipe.recv())
        except (EOFError, OSError):
            self.stop()
        return found

    def stop(self) -> None:
        """End the process; one that the kernel keeps is left behind."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join(0.2)
            process.abandon(self._process)
        self._process = self._pipe = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        prober = context.Process(
            target=_live, args=(theirs, self._spots, os.getpid()), name="ingest-prober", daemon=True
        )
        try:
            with process.quiet_start():
                prober.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._process, self._pipe = prober, ours


def _live(pipe: Connection, spots: tuple[Spot, ...], parent: int) -> None:
    """The process: a thread for each look, until nobody listens any more."""
    process.settle_in(parent)
    books = threading.Lock()
    hanging = [0] * len(spots)

    def answer(spot: int, number: int) -> None:
        finding = look(spots[spot], spot, number)
        with books, suppress(OSError):
            hanging[spot] -= 1
            pipe.send(finding)

    with suppress(EOFError, OSError):
        while True:
            spot, number = pipe.recv()
            with books:
                wanted = hanging[spot] < MOST_HANGING
                hanging[spot] += wanted
            if wanted:
                threading.Thread(target=answer, args=(spot, number), daemon=True).start()
    os._exit(0)
