"""Shards: items gathered into batches of a good size, in the order they come (which is the folders' order).

A batch has one source, one set of roots and one read mode; it is full at a number of files or of bytes. A file
that is larger than a batch goes alone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest.model.item import Item


@dataclass(frozen=True, slots=True)
class Key:
    """What the items of one shard have in common."""

    source: int
    roots: tuple[int, ...]
    mode: str


@dataclass(slots=True)
class Shard:
    """Items to be staged together."""

    key: Key
    items: list[Item] = field(default_factory=list)
    size: int = 0


class Sharder:
    """Gathers items and hands out shards of at most so many files, or just above so many bytes."""

    def __init__(self, files: int, size: int) -> None:
        self._files = files
        self._size = size
        self._open: dict[Key, Shard] = {}
        self._full: deque[Shard] = deque()

    def __len__(self) -> int:
        """Shards that wait in here."""
        return len(self._open) + len(self._full)

    def add(self, key: Key, item: Item, *, alone: bool = False) -> None:
        """Take an item; `alone` gives it a shard of its own."""
        if alone or item.size >= self._size:
            self._full.append(Shard(key, [item], item.size))
            return
        shard = self._open.setdefault(key, Shard(key))
        shard.items.append(item)
        shard.size += item.size
        if len(shard.items) >= self._files or shard.size >= self._size:
            self._full.append(self._open.pop(key))

    def next(self, *, unfilled: bool) -> Shard | None:
        """The oldest full shard; with `unfilled` any shard, for workers that would stand idle."""
        if self._full:
            return self._full.popleft()
        if unfilled and self._open:
            return self._open.pop(next(iter(self._open)))
        return None
