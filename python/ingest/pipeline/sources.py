"""The sources as they are now: what the scan wrote down, beside what stands on the card at this moment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ingest.pipeline.plan import same_mtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.engine import Root
    from ingest.model.item import Item
    from ingest.session.rows import ItemRow


class Sources:
    """The pinned sources of a run; `later`: a run before this one has looked at them, too."""

    def __init__(self, roots: Sequence[Root], *, later: bool) -> None:
        self._roots: Sequence[Root | None] = roots
        self._later = later

    def forget(self, source: int) -> None:
        """Ask a source nothing more: it is no longer there, and its items wait as they are."""
        self._roots = [None if number == source else one for number, one in enumerate(self._roots)]

    def renewed(self, page: list[Item]) -> list[Item]:
        """Items as they are on the source now, where that can have become something else since they were looked at.

        A card that is mounted in another time zone shows all its times shifted: that is no change. What was hashed
        before counts only while the file is as it was then.
        """
        renewed = {item.number: item for item in page}
        for source, root in enumerate(self._roots):
            if root is None:
                continue
            own = [
                item for item in page
                if item.source == source and not item.state.ended and (self._later or item.blake3 is not None)
            ]  # fmt: skip
            for item, seen in zip(own, root.lstat([item.path for item in own]), strict=True):
                if not isinstance(seen, tuple) or (seen[1], seen[2]) == (item.size, item.mtime_ns):
                    continue
                shifted = seen[1] == item.size and same_mtime(seen[2], item.mtime_ns)
                mtime = seen[2] if shifted else item.mtime_ns
                renewed[item.number] = replace(item, mtime_ns=mtime, blake3=None)
        return list(renewed.values())

    def as_seen(self, rows: list[ItemRow]) -> list[bool]:
        """Whether each item is on its source as the scan saw it."""
        same = [False] * len(rows)
        for source, root in enumerate(self._roots):
            own = [at for at, row in enumerate(rows) if row[1] == source]
            if root is None:
                continue
            for at, seen in zip(own, root.lstat([rows[at][2] for at in own]), strict=True):
                same[at] = isinstance(seen, tuple) and (seen[1], seen[2]) == (rows[at][3], rows[at][4])
        return same

    def has(self, source: int, path: bytes) -> bool:
        """Whether a file is there; where it cannot be told, it cannot be read either, and will be named for that."""
        root = self._roots[source]
        return root is not None and isinstance(root.lstat([path])[0], tuple)
