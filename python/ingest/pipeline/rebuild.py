"""Rebuild: what the journal knew of archives, told anew by their manifests.

A damaged journal is set aside first (:mod:`ingest.db.aside`); a sound one keeps what it knows, and learns what it does
not. What comes back are archives and what was proven to be on them, so that a card that was brought home before is
known again. What no manifest tells does not: sessions that waited to be resumed, and the register of those that are over
(its sum files, its other destinations and its times are not there). Of an archive that the damaged journal can still tell
comes back when it was last verified, and what was found damaged there. Where that cannot be told, no copy there is believed
unread by the gate until all of its archive was found whole.

Promises: nothing is changed before every archive that was named has been opened; a manifest that is damaged is named,
and the others count. What a journal told that was set aside is told again, and restored, by the next rebuild if this one
does not come to its end. Rows stream from part to part into the journal, whatever their number. No file is read back: the
next copy looks at size and time, as always, and `ingest verify` at all of it.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from ingest.catalog.holdings import (
    add_locations,
    key_of_root,
    lose_notes,
    note_damaged,
    remember_root,
    restore_root,
)
from ingest.catalog.salvage import Abandoned, salvage
from ingest.db.aside import damage, last_aside, set_aside, settle, unsettled
from ingest.db.engine import open_database
from ingest.db.faults import NAME, SESSIONS, TRAILS
from ingest.errors import IngestError, MissingError, UsageError
from ingest.manifest.chain import Damage, walk_chain
from ingest.manifest.expected import proven
from ingest.manifest.parts import list_parts
from ingest.manifest.reader import no_manifest, of_parts
from ingest.manifest.sandbox import sandbox
from ingest.pipeline.recognition import require_recognised
from ingest.pipeline.rollcall import require_answers
from ingest.pipeline.storages import look_at_roots
from ingest.storage.marker import carried_over, read_marker
from ingest.storage.roots import pin
from ingest.storage.volumes import volume_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from ingest.catalog.salvage import Noted
    from ingest.db.engine import Database
    from ingest.engine import Root
    from ingest.manifest.expected import Proven

MEMORY: Final = "512MB"
# Rows of one transaction: other sessions may be at work on a sound journal, and wait for it.
_BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class RebuiltRoot:
    """What an archive's manifests told.

    Attributes:
        files: paths that a session proved, on this file system: none of an archive that was copied here. added: those that the journal did not know, or knew as they were before. parts: manifest parts that were read.
        damage: the parts that could not be, and why: files that only these tell of are not known.
    """

    path: bytes
    uuid: str
    files: int
    added: int
    parts: int
    damage: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class Unread:
    """An archive that is known, and that nothing could be learned from now."""

    path: bytes
    uuid: str
    problem: str
    advice: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did.

    Attributes:
        damage: what was wrong with the journal that was there, None if nothing. aside: where it is kept, None if it is gone.
        abandoned: sessions that it still told of, and that cannot be resumed any more.
        doubtful: it could not tell all that was found damaged on archives.
    """

    journal: bytes
    damage: str | None
    aside: bytes | None
    roots: tuple[RebuiltRoot, ...]
    unread: tuple[Unread, ...]
    abandoned: tuple[Abandoned, ...]
    doubtful: bool

    @property
    def whole(self) -> bool:
        """Every archive was read, and every part of its manifests."""
        return not self.unread and not any(root.damage for root in self.roots)


def rebuild(home: Path, given: Sequence[bytes], progress: Callable[[int, int], None] | None = None) -> Rebuilt:
    """Build the journal's knowledge of archives anew.

    Args:
        given: archives; without any all that the journal knows, or can still tell, and that are mounted.
        progress: called after each batch with the files learned so far, and their bytes.

    Raises:
        UsageError: none is named, and none is known; or two are clones. MissingError: one is not there, is no archive,
            or has no manifest. PausedError: another process works with the damaged journal.
        JournalError: the journal cannot be used, and is not known to be damaged. IngestError: a folder cannot be opened.
    """
    require_answers(given)
    named = _named(given)
    wrong = damage(home)
    there, unfinished = (home / NAME).exists(), unsettled(home)
    before = last_aside(home) if unfinished or (wrong is not None and not there) else None
    told = salvage([*([before] if before is not None else []), *([home / NAME] if wrong is not None and there else [])])
    if not named and not told.roots and (wrong is not None or not there):
        name = "Name the folders of your archives: ingest catalog rebuild ARCHIVE"
        if wrong is None:
            raise UsageError("no archive is named, and there is no journal yet that knows any",
                             operation="rebuild", advice=name)  # fmt: skip
        raise UsageError("no archive is named, and the journal can tell none", path=os.fsencode(home / NAME),
                         operation="rebuild", advice=f"{name}. If there are none yet, move away what is left of it: "
                         f"{NAME}*, {SESSIONS} and {TRAILS}")  # fmt: skip
    aside = (set_aside(home) if wrong is not None else None) or before
    if unfinished and wrong is None:
        wrong = "it was set aside, and the next one not completed"
    # Of one that was set aside by a rebuild that was killed it is not known whether there was more than what is kept.
    doubtful = wrong is not None and (unfinished or not told.complete or not there)
    with closing(open_database(home, anew=wrong is not None)) as database:
        with database.write() as connection:
            if doubtful:
                lose_notes(connection)
            for known in told.roots:
                restore_root(connection, known)
            _restore_notes(connection, told.damaged)
        found: dict[str, Root] = dict(named)
        unread: list[Unread] = []
        if wrong is not None or not named:
            found, unread = _mounted(database, named)
        learned = list(_learn(database, found, unread, progress or _untold))
    settle(home)
    path = None if aside is None else os.fsencode(aside)
    return Rebuilt(os.fsencode(home / NAME), wrong, path, tuple(learned), tuple(unread), told.abandoned, doubtful)


def _restore_notes(connection: Connection, damaged: Sequence[Noted]) -> None:
    """Know again what was found damaged, before manifests can teach it anew."""
    for uuid, noted in groupby(sorted(damaged, key=attrgetter("uuid", "moment")), attrgetter("uuid")):
        key = key_of_root(connection, uuid)
        for moment, notes in groupby(noted, attrgetter("moment")):
            if key is not None:
                note_damaged(connection, key, [note.path for note in notes], moment)


def _untold(_files: int, _bytes: int) -> None:
    """Nobody wants to know."""


def _named(given: Sequence[bytes]) -> dict[str, Root]:
    """The archives that were named, by their markers' UUIDs."""
    roots: dict[str, Root] = {}
    for path in given:
        root = pin(os.path.abspath(path))
        marker = read_marker(root)
        if marker is None:
            raise MissingError("this folder is no archive", path=root.path, operation="rebuild",
                               advice="Name the folder that footage was copied to")  # fmt: skip
        if not list_parts(root):
            raise no_manifest(root)
        twin = roots.setdefault(marker.uuid, root)
        if (twin.dev, twin.ino) != (root.dev, root.ino):
            raise UsageError("two of these carry the same marker: one is a clone of the other", path=root.path,
                             operation="rebuild", advice="Name the archive itself alone")  # fmt: skip
    return roots


def _mounted(database: Database, named: dict[str, Root]) -> tuple[dict[str, Root], list[Unread]]:
    """The named archives and all others of the journal that can be reached, and those that cannot."""
    found, unread = dict(named), []
    for stored in look_at_roots(database, ()):
        known = stored.known
        if known is None or known.uuid in named:
            continue
        if stored.problem is None:
            found[known.uuid] = pin(known.path)
        else:
            unread.append(Unread(known.path, known.uuid, stored.problem, "Mount it, then: ingest catalog rebuild"))
    return found, unread


def _learn(
    database: Database, found: dict[str, Root], unread: list[Unread], progress: Callable[[int, int], None]
) -> Iterator[RebuiltRoot]:
    """Read one archive after the other; those that cannot be are added to `unread`."""
    files = size = 0

    def count(more: Sequence[Proven]) -> None:
        nonlocal files, size
        files, size = files + len(more), size + sum(each.size for each in more)
        progress(files, size)

    for uuid, root in found.items():
        try:
            require_recognised(database, [root.path], new_root=True)
            yield _learn_one(database, root, uuid, count)
        except IngestError as error:
            unread.append(Unread(root.path, uuid, error.cause, error.advice))


def _learn_one(database: Database, root: Root, uuid: str, count: Callable[[Sequence[Proven]], None]) -> RebuiltRoot:
    marker = read_marker(root)
    if marker is None or marker.uuid != uuid:
        raise MissingError("its marker is gone or another one by now", path=root.path, operation="rebuild")
    walked = list(walk_chain(root, list_parts(root)))
    damaged = tuple(each for each in walked if isinstance(each, Damage))
    parts = [each for each in walked if not isinstance(each, Damage)]
    volume = volume_of(root.path)
    with database.write() as writing:
        key = remember_root(writing, marker.uuid, root.path, volume.fs_uuid or marker.fs_uuid)
    files = added = 0
    # What was proven on another disk is not proven of what was copied from it.
    believed = [] if carried_over(marker, volume) else parts
    with sandbox(MEMORY) as connection:
        rows = proven(connection, of_parts((root,), [(0, part) for part in believed]), uuid)
        while batch := list(islice(rows, _BATCH)):
            with database.write() as writing:
                added += add_locations(
                    writing, key, ((e.path, e.blake3, e.size, e.mtime_ns, e.method, e.moment) for e in batch)
                )
            files += len(batch)
            count(batch)
    return RebuiltRoot(root.path, uuid, files, added, len(parts), damaged)
