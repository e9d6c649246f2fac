"""Unseen: where a source may hold more than was looked at, so that nobody can say that nothing would be lost.

Beneath a mount lies what the source itself has there, which formatting it would take. What came to a folder after it
was listed was never asked about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ingest.media.kinds import is_litter
from ingest.pipeline.proof import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.model.item import Item
    from ingest.pipeline.scan import Filter
    from ingest.pipeline.witness import Origin

_BITS: Final = (1 << 64) - 1


def beneath_mounts(source: int, origin: Origin, chosen: Filter) -> Iterator[Kept]:
    """Each path of a source where something else is mounted, unless it is among what is not asked about."""
    for path in origin.mounted:
        if not _left_out(path, chosen):
            yield Kept(source, 0, path, 0, "something else is mounted here: what lies beneath cannot be seen",
                       "Unmount it, then check again")  # fmt: skip


def _left_out(path: bytes, chosen: Filter) -> bool:
    """Whether a path, or a folder above it, is not walked into."""
    parts = path.split(b"/")
    above = [b"/".join(parts[: count + 1]) for count in range(len(parts))]
    return any(is_litter(each.rpartition(b"/")[2]) or chosen.excludes(each) for each in above)


class Listing:
    """What the folders of sources held when they were listed: a number for each folder, however many files it has."""

    def __init__(self) -> None:
        """Nothing was listed."""
        self._folders: dict[tuple[int, bytes], int] = {}

    def note(self, items: Sequence[Item]) -> None:
        """Add files, by name, size and time, in any order."""
        for item in items:
            folder = item.source, item.path.rpartition(b"/")[0]
            own = hash((item.path, item.size, item.mtime_ns)) & _BITS
            self._folders[folder] = (self._folders.get(folder, 0) + own) & _BITS

    def changed(self, now: Listing) -> Iterator[Kept]:
        """Each folder that holds other files now than it did in this listing."""
        for source, folder in sorted(self._folders.keys() | now._folders.keys()):
            if self._folders.get((source, folder)) != now._folders.get((source, folder)):
                yield Kept(source, 0, folder, 0, "its files changed, came or went while they were looked at",
                           "Check again when nobody writes to it")  # fmt: skip
