"""Plan: for each item one relative path that is free, or already right, on every destination.

A path that holds nothing is free. One that holds a file of the same size is looked into: the source is hashed
and compared with what that root is known to hold there, or with a cold read of it. Equal bytes make a duplicate;
anything else has taken the name, and ``_1``, ``_2`` … is tried. Nothing is written here.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.catalog.holdings import Location, managed_at
from ingest.engine import Failed
from ingest.layouts.naming import mirrored, suffixed
from ingest.model.options import Duplicates
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.db.engine import Database
    from ingest.engine import Identity, Root
    from ingest.model.item import Item
    from ingest.session.rows import Copy, ItemRow

# FAT keeps times to 2 s, in local time: a card read in another zone is off by whole quarter hours (facts, rule 3).
MTIME_GRAIN_NS = 2_000_000_000
QUARTER_HOUR_NS = 900_000_000_000
# The file systems that do so (`Root.magic`): FAT and exFAT. Elsewhere a file whose time is an hour off was changed.
_LOCAL_TIMES = frozenset({0x4D44, 0x2011BAB0})
# A name that is taken a thousand times is somebody's mistake, not a conflict.
MOST_NAMES = 1000


def same_mtime(one: int, other: int) -> bool:
    """Whether two mtimes (ns) may be the same moment, as file systems keep it."""
    apart = abs(one - other)
    return apart <= MTIME_GRAIN_NS or (
        apart <= 26 * 4 * QUARTER_HOUR_NS and min(apart % QUARTER_HOUR_NS, -apart % QUARTER_HOUR_NS) <= MTIME_GRAIN_NS
    )


def known_digest(known: Location | None, seen: Identity, magic: int) -> bytes | None:
    """The digest of what stands at a path, if that is still what is known to have been put there.

    Args:
        magic: of the file system that it stands on. Quarter hours are forgiven only where times are local ones.
    """
    _, size, mtime, *_ = seen
    if known is None or known.size != size or not same_mtime(known.mtime_ns, mtime):
        return None
    if abs(known.mtime_ns - mtime) > MTIME_GRAIN_NS and magic not in _LOCAL_TIMES:
        return None
    return known.blake3


@dataclass(slots=True)
class Transfer:
    """One item on its way, with its copies that have not ended yet, by root.

    Attributes:
        path: the relative path that was chosen, None until then. tried: how many names were taken.
        digest: of the source, once it was read.
        compare: roots where a file of this size stands at the path, with its digest where that is known.
        troubles: roots that could not be asked.
        deaths: workers that died over it. mapped: whether it may still be mapped. alone: it shares no batch.
        ends: of the copies that have ended: state, reason, errno.
        held: some copy waits for its root; the item cannot end in this run.
        asking: answers that are still awaited before the comparison can be made.
        agreed: digest of the copies that arrived or are proven; every further one must have it too.
        fault: what befell the source while it was hashed for it.
    """

    item: Item
    copies: dict[int, Copy]
    path: bytes | None = None
    tried: int = 0
    digest: bytes | None = None
    agreed: bytes | None = None
    compare: dict[int, bytes | None] = field(default_factory=dict)
    troubles: dict[int, OSError] = field(default_factory=dict)
    deaths: int = 0
    mapped: bool = True
    alone: bool = False
    ends: list[tuple[ItemState, str | None, int]] = field(default_factory=list)
    held: bool = False
    asking: int = 0
    fault: Failed | None = None

    def disagrees(self) -> bool:
        """Whether the source reads differently now than when other copies of it were made.

        Copies of one item must never differ: after an interruption or a retry the source may have been edited, and
        not every edit shows in size and time. Without a digest (no copy was left to write to, so the source was not
        read to its end) nothing is said about the source.
        """
        self.agreed = self.agreed or self.digest
        return self.digest is not None and self.digest != self.agreed

    def other_bytes(self) -> Failed:
        """The fault of a source that disagrees."""
        return Failed("changed", "read", 0, self.item.path, "it reads differently than when other copies were made")


class Planner:
    """Chooses paths for one session. Asks roots with lstat and the database for locations; keeps nothing."""

    def __init__(
        self,
        database: Database | None,
        roots: Sequence[Root | None],
        keys: Sequence[int | None],
        folders: Callable[[int], bytes],
        duplicates: Duplicates,
        source_has: Callable[[int, bytes], bool],
    ) -> None:
        self._database = database
        self._roots = roots
        self._keys = keys
        self._folders = folders
        self._duplicates = duplicates
        self._source_has = source_has

    def forget(self, root: int) -> None:
        """Ask a root nothing more: it is no longer there. Who stands in the middle of asking it may stand there for ever."""
        self._roots = [None if number == root else one for number, one in enumerate(self._roots)]

    def place(self, transfers: Sequence[Transfer]) -> None:
        """Give each transfer its path, what is to be compared there, and the troubles met on the way."""
        todo = list(transfers)
        while todo:
            for transfer in todo:
                transfer.path = self.next_name(transfer)
                transfer.compare.clear()
            taken: set[int] = set()
            for number, root in enumerate(self._roots):
                if root is None:
                    continue
                asked = [t for t in todo if number in t.copies and t.copies[number].state is ItemState.DISCOVERED]
                paths = [t.path or b"" for t in asked]
                found = root.lstat(paths) if asked else []
                known = self._known(number, [p for p, f in zip(paths, found, strict=True) if isinstance(f, tuple)])
                for transfer, seen in zip(asked, found, strict=True):
                    if not self._fits(transfer, number, seen, known.get(transfer.path or b""), root.magic):
                        taken.add(transfer.item.number)
            again = [t for t in todo if t.item.number in taken]
            for transfer in again:
                transfer.tried += 1
            todo = [t for t in again if t.tried < MOST_NAMES]
            for transfer in again:
                if transfer.tried >= MOST_NAMES:
                    transfer.troubles = {r: OSError(errno.EEXIST, os.strerror(errno.EEXIST)) for r in transfer.copies}

    def targets(self, plain: Sequence[ItemRow]) -> list[bytes]:
        """The first name to try for each item: its own path below its card's folder."""
        folders = {source: self._folders(source) for source in {row[1] for row in plain}}
        return [mirrored(folders[row[1]], row[2]) for row in plain]

    def free(self, paths: Sequence[bytes], roots: Sequence[int]) -> list[bool]:
        """Whether nothing stands at each path, on any of these roots."""
        free = [True] * len(paths)
        for number in roots:
            root = self._roots[number]
            if root is not None and paths:
                found = root.lstat(paths)
                if found.count(None) < len(found):
                    free = [empty and seen is None for empty, seen in zip(free, found, strict=True)]
        return free

    def next_name(self, transfer: Transfer) -> bytes:
        """The next name to try; never one that the source itself needs for another file."""
        item = transfer.item
        while True:
            path = suffixed(item.path, transfer.tried)
            if transfer.tried in (0, MOST_NAMES) or not self._source_has(item.source, path):
                return mirrored(self._folders(item.source), path)
            transfer.tried += 1

    def _known(self, root: int, paths: list[bytes]) -> dict[bytes, Location]:
        key = self._keys[root]
        if self._database is None or key is None or not paths:
            return {}
        with self._database.read() as connection:
            return managed_at(connection, key, paths)

    def _fits(
        self, transfer: Transfer, root: int, seen: Identity | OSError | None, known: Location | None, magic: int
    ) -> bool:
        """Whether the path can be the item's on this root: free, or perhaps there already."""
        if seen is None:
            return True
        if isinstance(seen, OSError):
            transfer.troubles[root] = seen
            return True
        mode, size, *_ = seen
        if not stat.S_ISREG(mode) or size != transfer.item.size or self._duplicates is Duplicates.COPY:
            return False
        digest = known_digest(known, seen, magic)
        if digest is not None and transfer.digest is not None and digest != transfer.digest:
            return False
        transfer.compare[root] = digest
        return True
