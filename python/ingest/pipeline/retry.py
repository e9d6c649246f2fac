"""Retry: a session that completed with errors is taken up again, and its failed items looked at afresh."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from ingest.model.states import ItemState
from ingest.model.times import BEYOND, beyond
from ingest.pipeline.scan import Filter, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.engine import Root
    from ingest.model.item import Item
    from ingest.model.options import CopyOptions
    from ingest.session.journal import Journal

LOST: Final = frozenset({ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED})


def reopen(
    journal: Journal,
    sources: Sequence[Root],
    options: CopyOptions,
    found: Callable[[list[Item]], None] = lambda _: None,
) -> None:
    """Give items that failed another chance, as they are on the source now.

    A folder that could not be read then is walked now; what is found in it takes its place, and `found` is told of it.
    """
    unread: list[Item] = []
    for page in journal.items():
        for source, root in enumerate(sources):
            lost = [item for item in page if item.state in LOST and item.source == source]
            again: list[tuple[int, int, int]] = []
            edited: list[tuple[int, int, int]] = []
            untimely: list[int] = []
            for item, seen in zip(lost, root.lstat([item.path for item in lost]), strict=True):
                if not isinstance(seen, tuple):
                    again.append((item.number, item.size, item.mtime_ns))
                elif stat.S_ISDIR(seen[0]):
                    unread.append(item)
                else:
                    known = (seen[1], seen[2]) == (item.size, item.mtime_ns)
                    if beyond(seen[2]):
                        untimely.append(item.number)
                        continue
                    (again if known else edited).append((item.number, seen[1], seen[2]))
            # What arrived somewhere is not mixed with what it is now: a new session brings the new one home.
            arrived = journal.arrived_among([*(number for number, _, _ in edited), *untimely])
            for number in arrived:
                journal.end_item(number, ItemState.CHANGED, "changed since it was copied")
            for number in untimely:
                if number not in arrived:
                    journal.end_item(number, ItemState.FAILED, BEYOND)
            journal.reopen([*again, *(each for each in edited if each[0] not in arrived)])
    chosen = Filter.of(options.exclude, options.only)
    for folder in unread:
        _walk_again(journal, sources[folder.source], folder, chosen, found)


def _walk_again(
    journal: Journal, source: Root, folder: Item, chosen: Filter, found: Callable[[list[Item]], None]
) -> None:
    """Put what is in a folder in its place; if it cannot be read this time either, it stays the item that failed."""
    number = journal.last_item() + 1
    again: Item | None = None
    for inside in scan(source, folder.source, number, chosen, start=folder.path):
        # It may have broken off half-way before: what is known of it already stays as it is.
        known = journal.known_paths(folder.source, [item.path for item in inside.items])
        again = next((item for item in inside.items if item.path == folder.path), again)
        fresh = [item for item in inside.items if item.path not in known]
        journal.add(fresh, inside.folders)
        if fresh:
            found(fresh)
    # Last, so that an interruption leaves the folder to be walked once more.
    if again is None:
        journal.forget_item(folder.number)
    else:
        journal.end_item(folder.number, again.state, again.reason, again.errno)
