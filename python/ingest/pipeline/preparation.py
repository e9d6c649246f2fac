"""What comes before the first byte moves: the scan, the card's own lists, the folders, and whether there is room.

Promises: every item is in the journal before anything is done with the first, and nothing is written to a root but the
claim on the card's folder; what earlier runs left unproven is cleared. Each step can be interrupted, and is gone on with by the next run.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ingest import engine
from ingest.errors import TRANSIENT, IngestError, from_os_error, shown
from ingest.model.digests import computed
from ingest.model.event import EventKind
from ingest.model.options import Duplicates, Lists
from ingest.model.states import ItemState, SessionState
from ingest.pipeline.context import PauseError
from ingest.pipeline.lists import lists_among, read_lists
from ingest.pipeline.retry import reopen
from ingest.pipeline.scan import Filter, scan_source
from ingest.pipeline.survey import Absent, Card, Look, Outlook, survey
from ingest.session.chronicle import paused_roots
from ingest.session.report import counts
from ingest.storage.claims import Claim, card_place, claim, release
from ingest.storage.roots import clear_staging
from ingest.storage.space import room_for, taken_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.engine import Root
    from ingest.model.item import Item
    from ingest.model.session import SourceFacts
    from ingest.pipeline.context import Context


def clear_leftovers(context: Context) -> None:
    """What an earlier run left unproven is made again; its staging files go, but for parts that a trail speaks of.

    Raises:
        IngestError: they cannot be removed.
    """
    for number, destination in context.standing:
        kept = context.journal.staged(number) | context.trails.parts(destination.marker.uuid).keys()
        clear_staging(destination.root, context.facts.short, kept)
        context.journal.root_state(number, SessionState.PENDING)


def try_again(context: Context) -> None:
    """Give items that failed in an earlier run another chance."""
    reopen(context.journal, context.work.sources, context.work.options, partial(_found, context))


def scan(context: Context) -> None:
    """Write down every item of every source before anything is done with the first; nothing, if an earlier run did.

    Raises:
        PauseError: a source is no longer there, or the user wants to stop. IngestError: it cannot be read.
    """
    if context.journal.has_scan():
        counted, sizes = counts(context.journal), context.journal.count_items().values()
        ended = counted["discovered"] - counted["waiting"]
        context.meter.known(counted["discovered"], ended, sum(size for _, size in sizes))
        return
    context.enter(SessionState.SCANNING)
    context.journal.forget_scan()
    began, number = time.monotonic(), 1
    chosen = Filter.of(context.work.options.exclude, context.work.options.only)
    for facts, root in zip(context.facts.sources, context.work.sources, strict=True):
        try:
            for found in scan_source(root, facts, number, chosen):
                if any(item.errno in TRANSIENT or item.errno == errno.ENOENT for item in found.items):
                    context.require(facts.number)
                context.journal.add(found.items, found.folders)
                _found(context, found.items)
                _note_unread(context, facts, found.items)
                number += len(found.items)
                context.meter.found(found.items)
                context.heed_stop()
        except OSError as error:
            raise context.trouble(root, from_os_error(error, "scan", facts.path)) from error
    context.journal.scanned(time.monotonic() - began, number - 1)


def _found(context: Context, items: list[Item]) -> None:
    """Note the sum files among what was found; a file that was named alone brings none along."""
    if context.work.options.sums is Lists.CHECK:
        sources = context.facts.sources
        context.sums.found(lists_among(item for item in items if sources[item.source].single is None))


def _note_unread(context: Context, facts: SourceFacts, items: list[Item]) -> None:
    """What the scan could not look at, for the chronicle."""
    for item in items:
        if item.state in (ItemState.FAILED, ItemState.REMOVED):
            context.work.chronicle.note(
                EventKind.FAILURE, f"{item.state}" + (f" ({item.reason})" if item.reason else ""), item=item.number,
                path=facts.path.rstrip(b"/") + b"/" + item.path, operation="scan", errno=item.errno,
            )  # fmt: skip


def read_sum_files(context: Context) -> None:
    """Read the card's sum files, so that it is known which digests the one read of each file has to compute.

    Raises:
        PauseError: a source is no longer there, or the user wants to stop. IngestError: it cannot be read.
    """
    context.sums.begin()
    for facts, root in zip(context.facts.sources, context.work.sources, strict=True):
        try:
            read_lists(context.sums, context.journal, facts.number, root, context.heed_stop)
        except OSError as error:
            raise context.trouble(root, from_os_error(error, "read", facts.path)) from error
    context.hashes = computed((*context.work.options.hashes, *context.sums.algorithms()))


def _pages(context: Context, source: int) -> Iterator[list[Item]]:
    """A source's items; stopping is heeded in between."""
    for page in context.journal.items(source=source):
        context.heed_stop()
        yield page


def _past(context: Context, items: list[Item]) -> dict[tuple[int, int], ItemState]:
    """How the copies of items stand after earlier runs, by item and place among the roots that take part."""
    places = {number: place for place, (number, _) in enumerate(context.standing)}
    found = context.journal.copies_of(items[0].number, items[-1].number)
    return {(row.item, places[row.root]): row.state for rows in found.values() for row in rows if row.root in places}


def choose_folders(context: Context) -> Outlook:
    """Choose the card folders; what is not there yet, per root, and what is to be compared, summed over the sources.

    Raises:
        PauseError: a source or root is no longer there, or the user wants to stop.
    """
    context.heed_stop()
    context.enter(SessionState.PLANNING)
    standing = context.standing
    outlook = Outlook({number: Absent() for number, _ in standing})
    look = Look(
        [destination.root for _, destination in standing], [context.keys[number] for number, _ in standing],
        context.work.database, context.heed_stop, context.journal.note_digests,
        show=lambda path: context.meter.show(0, (path,)), anew=context.work.options.duplicates is Duplicates.COPY,
        past=partial(_past, context) if context.facts.run > 1 else None,
    )  # fmt: skip
    context.meter.look(partial(_hashed, look.page))
    places = sorted((destination.marker.uuid, destination.root) for _, destination in standing)
    for facts, root in zip(context.facts.sources, context.work.sources, strict=True):
        card = Card(partial(_pages, context, facts.number), partial(context.journal.weigh, facts.number))
        explicit = context.facts.label is not None
        look = replace(look, claim=partial(_claim, [one for _, one in places], _claim_of(context, facts, root)))
        try:
            found = survey(card, root, look, facts.label, chosen=context.folders.get(facts.number), explicit=explicit)
        except IngestError as error:
            raise PauseError(SessionState.PAUSED_NETWORK, str(error)) from error
        if facts.number not in context.folders:
            context.folders[facts.number] = found.folder
            context.journal.choose_folder(facts.number, found.folder)
            if found.folder != facts.label:
                other = f"another card called {shown(facts.label)} is there already"
                context.work.warn(f"{other}: this one goes to {shown(found.folder)}")
        outlook.asked += found.asked
        for (number, _), one in zip(standing, found.absent, strict=True):
            outlook.absent[number].add(one, shared=(facts.number, number) in context.work.sharing.pairs)
    context.meter.show(0, ())
    return outlook


def _hashed(page: engine.Page) -> int:
    """Bytes that were read to compare, on sources and on roots."""
    words = page.words()
    return words[engine.HASHED] + words[engine.VERIFIED]


def _claim_of(context: Context, source: SourceFacts, root: Root) -> Claim:
    """What a session says of a folder that it fills from a source."""
    return Claim(context.facts.id, card_place(root, source.fs_uuid), context.journal.likeness(source.number))


def _claim(roots: Sequence[Root], ours: Claim, folder: bytes) -> bool:
    """Claim a folder on every root, or on none. All do it in one order, so that of two sessions one gets it."""
    for number, root in enumerate(roots):
        try:
            other = claim(root, folder, ours)
        except OSError:
            continue  # a root that is full, or away: for the preflight and the watch to say
        if other is not None and not other.same_card(ours):
            for claimed in roots[:number]:
                with suppress(OSError, IngestError):
                    release(claimed, ours.session, folder)
            return False
    return True


def preflight(context: Context, absent: dict[int, Absent]) -> None:
    """Leave out the destinations that what is missing there does not fit on, also of `absent`.

    Raises:
        PauseError: none is left. IngestError: a root cannot be asked for its room.
    """
    for number, destination in context.standing:
        proven = context.journal.staged(number)
        parts = context.trails.parts(destination.marker.uuid)
        files, size = taken_by(destination.root, {name: of for name, of in parts.items() if name not in proven})
        one = absent[number]
        try:
            descriptor = destination.root.open_folder(b"")
            try:
                room = room_for(descriptor, max(0, one.files - files), max(0, one.size - one.shared - size))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise context.trouble(destination.root, from_os_error(error, "statfs", destination.path)) from error
        if not room.enough:
            advice = "Make room, then: ingest resume"
            context.out[number] = (SessionState.PAUSED_SPACE, f"not enough room: {room.shortage}. {advice}")
            del absent[number]
    if not context.standing:
        sentences = []
        for number, (state, why) in context.out.items():
            context.journal.root_state(number, state)
            where = context.facts.roots[number].path
            sentences.append(f"{shown(where)}: {why}")
            context.work.chronicle.note(EventKind.ROOT_PAUSED, sentences[-1], root=number, path=where)
        states = [state for state, _ in context.out.values()]
        worst = SessionState.PAUSED_SPACE if SessionState.PAUSED_SPACE in states else SessionState.PAUSED_NETWORK
        raise PauseError(worst, "; ".join(sentences))
    missed = paused_roots(context.work.database, context.facts.key)
    for number, _ in context.standing:
        if number in missed:
            where = context.facts.roots[number].path
            context.work.chronicle.note(
                EventKind.ROOT_BACK, f"{shown(where)} takes part again", root=number, path=where
            )
