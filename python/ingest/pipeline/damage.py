"""Where a file is damaged: its blocks as the device holds them, beside the chaining values that were kept.

Promises: a range that is named holds every differing byte of its blocks; what is not named is proven equal. Not
promised: more than whole blocks (1 MiB, of files above 64 GiB more): a chaining value cannot tell which of its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest import engine
from ingest.model.digests import DIGEST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest.manifest.expected import Expected
    from ingest.manifest.lookup import BlockLookup


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong within a file.

    Attributes:
        size: bytes that it has. ranges: [start, end) that are not as they should be, in order, apart from each other;
            what is missing at the end counts, and what follows the end. read: bytes that were read for it.
    """

    size: int
    ranges: tuple[tuple[int, int], ...]
    read: int


def examine(
    root: engine.Root, kept: BlockLookup, file: Expected, blake3: bytes, size: int, page: engine.Page | None = None
) -> Damage | engine.Failed:
    """Find the damaged ranges of a file that is known to differ from its manifest; the fault if it cannot be read.

    A file of one block or less is one range. Of a long one whose values are not kept (by an older version) nothing can
    be said: it has none.

    Args:
        kept: the root's blocks. file: as it should be. blake3: its. size: bytes that it has.

    Raises:
        IngestError: the root's folder of manifests cannot be read.
    """
    expected, block = file.size, engine.block_of(file.size)
    values = kept.find(blake3, expected, file.session) if expected > block else None
    if values is None:
        return Damage(size, ((0, max(size, expected)),) if expected <= block else (), 0)
    ((found, size, _, fault),) = engine.inspect(root, [file.path], [expected], page=page)
    if fault is not None or found is None:
        return (
            engine.failed(fault)
            if fault is not None
            else engine.Failed("io", "read", 0, file.path, "it cannot be read")
        )
    wrong = [
        (at * block, min(expected, (at + 1) * block))
        for at in range(len(values) // DIGEST)
        if found[DIGEST * at : DIGEST * (at + 1)] != values[DIGEST * at : DIGEST * (at + 1)]
    ]
    if size > expected:
        wrong.append((expected, size))
    return Damage(size, tuple(merged(wrong)), min(size, expected))


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and joined[-1][1] >= start:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
