"""Survey: the two questions that need the whole scan, asked in one pass over it, before the first byte moves.

Which folder is this card's? With a defaulted label, a different media file at any planned path means that this
is another card of the same name: the whole card goes to ``<label>_2``. Names, sizes and mtimes decide; where
they leave a doubt, both files are hashed. And: how much of it is not there yet, for the space preflight.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest import engine
from ingest.catalog.holdings import managed_at
from ingest.errors import from_os_error
from ingest.layouts.naming import card_folder, mirrored
from ingest.model.states import ItemState
from ingest.pipeline.plan import same_mtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ingest.db.engine import Database
    from ingest.engine import Identity, Root
    from ingest.model.item import Item


@dataclass(slots=True)
class Absent:
    """What of a source is not on a root yet."""

    files: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Survey:
    """Where a source goes, and what is missing there, per root."""

    folder: bytes
    absent: list[Absent]


def survey(
    pages: Callable[[], Iterable[list[Item]]],
    source: Root,
    roots: Sequence[Root],
    label: bytes,
    *,
    chosen: bytes | None,
    explicit: bool,
    database: Database | None,
    keys: Sequence[int | None],
) -> Survey:
    """Choose a source's folder and count what is absent.

    Args:
        pages: its items, afresh at each call. chosen: the folder if it was decided earlier.
        explicit: the label was given by the user, who then gets exactly that folder.

    Raises:
        IngestError: a root or the source cannot be asked.
    """
    number = 1
    while True:
        folder = chosen if chosen is not None else card_folder(label, number)
        absent = _compare(pages(), source, roots, folder, database, keys, strict=not explicit and chosen is None)
        if absent is not None:
            return Survey(folder, absent)
        number += 1


def _compare(
    pages: Iterable[list[Item]],
    source: Root,
    roots: Sequence[Root],
    folder: bytes,
    database: Database | None,
    keys: Sequence[int | None],
    *,
    strict: bool,
) -> list[Absent] | None:
    """What is absent below a folder; None if another card lives there (only when strict)."""
    absent = [Absent() for _ in roots]
    present = [_lstat(root, [folder])[0] is not None for root in roots]
    for page in pages:
        items = [item for item in page if item.state is ItemState.DISCOVERED]
        for number, root in enumerate(roots):
            paths = [mirrored(folder, item.path) for item in items]
            found = _lstat(root, paths) if present[number] else [None] * len(paths)
            doubtful = []
            for item, path, seen in zip(items, paths, found, strict=True):
                if seen is None or not _alike(item, seen):
                    absent[number].files += 1
                    absent[number].size += item.size
                if seen is None or not strict or not item.kind.media:
                    continue
                if not _alike(item, seen):
                    return None
                if not same_mtime(item.mtime_ns, seen[2]):
                    doubtful.append((item, path))
            if doubtful and not _equal(doubtful, source, root, database, keys[number]):
                return None
    return absent


def _alike(item: Item, seen: Identity) -> bool:
    return stat.S_ISREG(seen[0]) and seen[1] == item.size


def _equal(
    doubtful: list[tuple[Item, bytes]], source: Root, root: Root, database: Database | None, key: int | None
) -> bool:
    """Whether files of one size but another time hold the same bytes.

    Unreadable ones do not speak against it: they will be reported when they are copied.

    """
    known: dict[bytes, bytes] = {}
    if database is not None and key is not None:
        with database.read() as connection:
            known = {p: l.blake3 for p, l in managed_at(connection, key, [path for _, path in doubtful]).items()}  # noqa: E741 - a location
    for item, path in doubtful:
        ((ours, _, _, _, fault),) = engine.prove(source, [item.path], cold=False)
        if fault is not None:
            continue
        theirs = known.get(path)
        if theirs is None:
            ((theirs, _, _, _, fault),) = engine.prove(root, [path], cold=True)
            if fault is not None:
                continue
        if ours != theirs:
            return False
    return True


def _lstat(root: Root, paths: list[bytes]) -> list[Identity | None]:
    """As the root answers; a name that it cannot hold stands nowhere, any other trouble is raised."""
    answers: list[Identity | None] = []
    for seen in root.lstat(paths):
        if isinstance(seen, OSError):
            try:
                root.check()
            except OSError as error:
                raise from_os_error(error, "check", root.path, "Is the disk mounted?") from error
            answers.append(None)
        else:
            answers.append(seen)
    return answers
