"""Lists: the sum files of a card are found by the scan and read before anything is copied.

So the copy knows which digests it has to compute in its one read of each file (:meth:`Sums.algorithms`), and
what was read is compared with what the lists say without reading anything again. The lists themselves, which are
small, are the only files that are read once more than a plain copy would: here, and when they are copied.

Entries go into the journal page by page: memory does not grow with their number.
"""

from __future__ import annotations

import os
import stat
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from ingest.errors import shown
from ingest.media.mhl import read_mhl
from ingest.media.sums import LIST_BYTES, Entry, Problem, kind_of_list, places, read_sums, start_of
from ingest.model.states import ItemState
from ingest.session.paths import Paths
from ingest.session.sums import Contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO

    from ingest.engine import Root
    from ingest.model.item import Item
    from ingest.session.journal import Journal
    from ingest.session.sums import Said, Sums, Unread

# Entries, and lists, that are looked up and committed together.
PAGE: Final = 2000
# A file with more lines than this that mean nothing is no list: it is not read on.
PROBLEMS: Final = 1000
# Linux's; the number of folders in a path, and with it what is asked for one entry, is bounded by it.
PATH_MAX: Final = 4096
_SLASH: Final = ord("/")


def lists_among(found: Iterable[Item]) -> list[tuple[int, str]]:
    """The sum files among what a scan found, ``(item, kind)``, by their names."""
    return [
        (item.number, kind)
        for item in found
        if item.state is ItemState.DISCOVERED and (kind := kind_of_list(item.path)) is not None
    ]


def read_lists(sums: Sums, journal: Journal, source: int, root: Root, heed: Callable[[], None]) -> None:
    """Write into the journal what the lists of a source say that were not read yet.

    Args:
        source: its index. root: the same, pinned. heed: called often; raises when the user wants to stop.

    Raises:
        OSError: the source is no longer there. A list that alone cannot be read is noted as such.
    """
    lists = sums.unread(source)
    first = next(lists, None)
    if first is None:
        return
    shelf = _Shelf(sums)
    with Paths(journal, source) as paths:
        for one in chain([first], lists):
            heed()
            if one.kind == "ascmhl":
                shelf.clear()  # what newer generations say has to be in the journal
            try:
                _Reading(sums, paths, source, one).run(shelf, root, heed)
            except OSError as error:
                root.check()
                shelf.drop(one)
                sums.unreadable(one.item, f"it cannot be read: {error.strerror}")
    shelf.clear()


class _Shelf:
    """What was read and is not in the journal yet; many small lists share a commit."""

    def __init__(self, sums: Sums) -> None:
        self._sums = sums
        self._rows: list[Said] = []
        self._read: list[tuple[int, Contents | None]] = []

    def put(self, rows: list[Said]) -> None:
        """Some rows of a list."""
        self._rows += rows
        if len(self._rows) >= PAGE:
            self.clear()

    def done(self, one: Unread, contents: Contents | None) -> None:
        """A list was read to its end, or turned out to be none."""
        self._read.append((one.item, contents))
        if len(self._read) >= PAGE:
            self.clear()

    def drop(self, one: Unread) -> None:
        """A list could not be read to its end: what waits of it is not kept."""
        self._rows = [row for row in self._rows if row[1] != one.item]

    def clear(self) -> None:
        """Commit."""
        if self._rows or self._read:
            self._sums.keep(self._rows, self._read)
            self._rows, self._read = [], []


class _Reading:
    """One list, while it is read."""

    def __init__(self, sums: Sums, paths: Paths, source: int, one: Unread) -> None:
        self._sums = sums
        self._paths = paths
        self._source = source
        self._one = one
        self._start = start_of(one.path, one.kind)
        self._contents = Contents()

    def run(self, shelf: _Shelf, root: Root, heed: Callable[[], None]) -> None:
        """Read it to its end.

        Raises:
            OSError: it cannot be read.
        """
        one, contents = self._one, self._contents
        if one.size > LIST_BYTES:
            contents.trouble(f"longer than {LIST_BYTES >> 20} MiB: it is not read")
        else:
            with _opened(root, one.path) as stream:
                self._pages(shelf, stream, heed)
        # Anything may be called checksums.something.
        shelf.done(one, contents if contents.entries or one.kind != "sums" else None)

    def _pages(self, shelf: _Shelf, stream: BinaryIO, heed: Callable[[], None]) -> None:
        one, contents = self._one, self._contents
        xml = one.kind in ("mhl", "ascmhl")
        said = read_mhl(stream) if xml else read_sums(stream, one.kind, one.path.rpartition(b"/")[2])
        first = True
        while page := list(islice(said, PAGE)):
            heed()
            for each in page:
                if isinstance(each, Problem):
                    contents.trouble(str(each))
            placed = self._placed([each for each in page if isinstance(each, Entry)])
            if not first:
                shelf.clear()  # what the list said before has to be in the journal
            shelf.put(self._rows(placed, first=first))
            first = False
            if contents.problems >= PROBLEMS:
                contents.trouble(f"more than {PROBLEMS:,} lines that mean nothing: the rest is not read")
                break

    def _placed(self, entries: Sequence[Entry]) -> list[tuple[int, Entry]]:
        """The items that entries speak of; the others are counted."""
        contents = self._contents
        may = {entry.path: places(self._start, entry.path) for entry in entries}
        known = self._paths.find(list({path for each in may.values() for path in each}))
        placed = []
        lost: dict[bytes, None] = {}
        for entry in entries:
            item = next((known[path] for path in may[entry.path] if path in known), None)
            if item == self._one.item:
                contents.trouble("it speaks of itself")
            elif item is not None:
                placed.append((item, entry))
            elif may[entry.path]:
                lost[may[entry.path][0]] = None
            else:
                contents.trouble(f"{shown(entry.path)}: it does not lie on the card")
        for path in lost:
            contents.entries += 1
            # What is below a folder that was left out, which is an item as a whole, is not known to be missing.
            if self._paths.find(_above(path)):
                contents.aside += 1
            else:
                contents.missing += 1
                contents.first_missing = contents.first_missing or path
        return placed

    def _rows(self, placed: Sequence[tuple[int, Entry]], *, first: bool) -> list[Said]:
        """What is new in a page, for the table `sums`."""
        one = self._one
        numbers = list({item for item, _ in placed})
        newer = self._sums.newer(numbers, one, self._source) if one.kind == "ascmhl" else set()
        said = {} if first else self._sums.said(numbers, one.item)
        rows: list[Said] = []
        for item, entry in placed:
            key = (item, entry.algorithm)
            if item in newer:
                continue
            if key not in said:
                said[key] = entry.digest
                self._contents.entries += 1
                rows.append((item, one.item, entry.algorithm, entry.digest, entry.size))
            elif said[key] != entry.digest:
                self._contents.trouble(f"{shown(entry.path)}: named twice, with different digests")
        return rows


def _above(path: bytes) -> list[bytes]:
    """The folders that a path lies in; none for one that no file system can hold."""
    return [path[:at] for at, byte in enumerate(path) if byte == _SLASH] if len(path) <= PATH_MAX else []


def _opened(root: Root, path: bytes) -> BinaryIO:
    """A file of the source, for reading.

    Raises:
        OSError: it cannot be opened, or is no file any more.
    """
    folder, _, name = path.rpartition(b"/")
    descriptor = root.open_folder(folder)
    try:
        # Whatever took its place since the scan is neither followed nor waited for.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(0, "it is no file any more")
    return os.fdopen(file, "rb")
