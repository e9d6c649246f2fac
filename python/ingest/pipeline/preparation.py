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

from ingest.errors import TRANSIENT, IngestError, from_os_error, shown
from ingest.model.digests import computed
from ingest.model.options import Lists
from ingest.model.states import SessionState
from ingest.pipeline.context import PauseError
from ingest.pipeline.lists import lists_among, read_lists
from ingest.pipeline.retry import reopen
from ingest.pipeline.scan import Filter, scan_source
from ingest.pipeline.survey import Absent, Card, Look, survey
from ingest.storage.claims import Claim, claim, release
from ingest.storage.leases import machine
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


def choose_folders(context: Context) -> dict[int, Absent]:
    """Choose the card folders; what is not there yet, per root, summed over the sources.

    Raises:
        PauseError: a source or root is no longer there, or the user wants to stop.
    """
    context.heed_stop()
    context.enter(SessionState.PLANNING)
    standing = context.standing
    total = {number: Absent() for number, _ in standing}
    look = Look(
        [destination.root for _, destination in standing], [context.keys[number] for number, _ in standing],
        context.work.database, context.heed_stop, context.journal.note_digests,
    )  # fmt: skip
    places = sorted((destination.marker.uuid, destination.root) for _, destination in standing)
    for facts, root in zip(context.facts.sources, context.work.sources, strict=True):
        card = Card(partial(_pages, context, facts.number), partial(context.journal.weigh, facts.number))
        explicit = context.facts.label is not None
        look = replace(look, claim=partial(_claim, [one for _, one in places], _claim_of(context, facts)))
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
        for (number, _), one in zip(standing, found.absent, strict=True):
            total[number].add(one, shared=(facts.number, number) in context.work.sharing.pairs)
    return total


def _claim_of(context: Context, source: SourceFacts) -> Claim:
    """What a session says of a folder that it fills from a source."""
    # The inode alone would be another folder's on another disk, the file system alone every folder's on this one.
    place = f"{machine()} {source.fs_uuid or source.device} {source.inode}"
    return Claim(context.facts.id, place, context.journal.likeness(source.number))


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
        files, size = context.journal.staged_size(number)
        proven = context.journal.staged(number)
        parts = context.trails.parts(destination.marker.uuid)
        begun = taken_by(destination.root, {name: of for name, of in parts.items() if name not in proven})
        files, size = files + begun[0], size + begun[1]
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
        for number, (state, _) in context.out.items():
            context.journal.root_state(number, state)
        sentences = [f"{shown(context.facts.roots[number].path)}: {why}" for number, (_, why) in context.out.items()]
        states = [state for state, _ in context.out.values()]
        worst = SessionState.PAUSED_SPACE if SessionState.PAUSED_SPACE in states else SessionState.PAUSED_NETWORK
        raise PauseError(worst, "; ".join(sentences))
