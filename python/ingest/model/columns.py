"""Copies that went the straight way, as columns: what happens to thousands alike is not told of each anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.model.digests import DIGEST
from ingest.model.item import CopyRecord, Kind
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class CopyColumns:
    """Copies of one source at one root that were finalized together, in the order of their items.

    Attributes:
        source: the source's absolute path, without a slash at its end.
        items, paths, sizes, mtimes, kinds: what the scan found: number, path below the source, bytes, ns, kind.
        targets: paths below the root. digests: 32 bytes each, one after the other.
        verify, publish: methods, by their words. read_mode, worker: of all. finalized_ns: of all.
        started, copied, validated: ns since the epoch. strategy: how each came to be.
    """

    source: bytes
    items: Sequence[int]
    paths: Sequence[bytes]
    sizes: Sequence[int]
    mtimes: Sequence[int]
    kinds: Sequence[str]
    targets: Sequence[bytes]
    digests: bytes
    verify: Sequence[str]
    publish: Sequence[str]
    started: Sequence[int]
    copied: Sequence[int]
    validated: Sequence[int]
    finalized_ns: int
    read_mode: str
    worker: int
    strategy: Sequence[str | None]

    def __len__(self) -> int:
        """How many copies."""
        return len(self.items)

    def records(self) -> Iterator[CopyRecord]:
        """One by one, for those who want each told."""
        for at, item in enumerate(self.items):
            yield CopyRecord(
                item=item, source_path=self.source + b"/" + self.paths[at], path=self.targets[at], size=self.sizes[at],
                mtime_ns=self.mtimes[at], kind=Kind(self.kinds[at]), state=ItemState.FINALIZED,
                blake3=self.digests[DIGEST * at : DIGEST * (at + 1)], attempts=1, verify_method=self.verify[at],
                publish_method=self.publish[at], read_mode=self.read_mode, worker=self.worker,
                started_ns=self.started[at], copied_ns=self.copied[at], validated_ns=self.validated[at],
                finalized_ns=self.finalized_ns, strategy=self.strategy[at],
            )  # fmt: skip


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Ascending numbers as runs without gaps: ``(index of the first, first, last)``."""
    if not numbers:
        return
    if numbers[-1] - numbers[0] == len(numbers) - 1:  # nearly always: a page of items is one run
        yield 0, numbers[0], numbers[-1]
        return
    start = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield start, numbers[start], numbers[at - 1]
            start = at
