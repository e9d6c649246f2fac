"""Is this the source that the session began with? A card comes back on another device, or another card does."""

from __future__ import annotations

import stat
from itertools import islice
from typing import TYPE_CHECKING, Final

from ingest.errors import PausedError
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from ingest.engine import Root
    from ingest.model.session import SourceFacts
    from ingest.session.journal import Journal

# Looked for among the items that are still to come: if none of so many is there, this is not their card.
SAMPLE: Final = 64


def require_same_source(journal: Journal, source: SourceFacts, root: Root, fs_uuid: str | None) -> None:
    """Require that a pinned folder is the session's source: by identity, by file system, else by what it holds.

    An empty mount point must never be taken for a card whose files were all deleted.

    Raises:
        PausedError: it is another folder, or may be.
    """
    if (root.dev, root.ino) == (source.device, source.inode) or (fs_uuid is not None and fs_uuid == source.fs_uuid):
        return
    waiting = (
        item for page in journal.items(source=source.number) for item in page if item.state is ItemState.DISCOVERED
    )
    sample = list(islice(waiting, SAMPLE))
    found = root.lstat([item.path for item in sample])
    for item, seen in zip(sample, found, strict=True):
        if isinstance(seen, tuple) and stat.S_ISREG(seen[0]) and seen[1] == item.size:
            return
    if sample or not journal.has_scan():
        raise PausedError(
            "this is not the source that the session began with", path=source.path, operation="open",
            advice="Put that card back in, then: ingest resume",
        )  # fmt: skip
