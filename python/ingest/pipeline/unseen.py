"""Unseen: where a source may hold more than was looked at, so that nobody can say that nothing would be lost.

Beneath a mount lies what the source itself has there, which formatting it would take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.media.kinds import is_litter
from ingest.pipeline.proof import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.pipeline.scan import Filter
    from ingest.pipeline.witness import Origin


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
