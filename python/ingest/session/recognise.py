"""Is this the source that the session began with? A card comes back on another device, or another card does."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from ingest.errors import PausedError

if TYPE_CHECKING:
    from ingest.engine import Root
    from ingest.model.session import SourceFacts
    from ingest.session.journal import Journal

# Looked for among the session's items: a card that has none of so many is not their card.
SAMPLE: Final = 64


def require_same_source(journal: Journal, source: SourceFacts, root: Root, fs_uuid: str | None) -> None:
    """Require that a pinned folder is the session's source: a whole card by its file system's UUID, else by what it holds.

    Device and inode numbers say nothing: the next card in the same reader has the same. And an empty mount point
    must never be taken for a card whose files were all deleted; nor may any folder of the right disk be.

    Raises:
        PausedError: it is another folder, or may be.
    """
    known = fs_uuid is not None and source.fs_uuid is not None
    if not known or fs_uuid == source.fs_uuid:
        whole = known and os.path.ismount(root.path) and source.single is None
        if whole or holds_some(journal, source, root):
            return
    raise PausedError(
        "this is not the source that the session began with", path=source.path, operation="open",
        advice="Put that card back in, then: ingest resume",
    )  # fmt: skip


def holds_some(journal: Journal, source: SourceFacts, root: Root) -> bool:
    """Whether one of the session's files is there, of the size it had.

    A session without files fits everywhere if its scan was whole, else only the very same folder.
    """
    sample = journal.sample(source.number, SAMPLE)
    if not sample:
        return journal.has_scan() or (root.dev, root.ino) == (source.device, source.inode)
    found = root.lstat([item.path for item in sample])
    return any(
        isinstance(seen, tuple) and (seen[1] == item.size if stat.S_ISREG(seen[0]) else item.state.ended)
        for item, seen in zip(sample, found, strict=True)
    )
