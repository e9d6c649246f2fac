"""What is known of archives and of the places that they are on: looked at, forgotten, moved in the journal."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ingest.catalog.holdings import (
    KnownRoot,
    forget_locations,
    forget_root,
    holds,
    known_roots,
    last_device,
    lift_damage,
    move_root,
    note_damaged,
    note_verified,
    number_in,
    remember_root,
    sessions_at,
)
from ingest.errors import (
    ABSENT,
    IngestError,
    ManifestError,
    MissingError,
    PausedError,
    UsageError,
    from_os_error,
    shown,
)
from ingest.model.event import EventKind
from ingest.model.options import CopyOptions
from ingest.model.states import CLOSED, SessionState
from ingest.session.anew import forget_parts, put_back
from ingest.session.chronicle import Chronicle
from ingest.session.register import register
from ingest.storage.identity import Footing, cloned, elsewhere
from ingest.storage.looking import Depth, Look, Spot
from ingest.storage.marker import MARKER, read_marker
from ingest.storage.roots import pin
from ingest.storage.rules import ruled
from ingest.storage.tuning import tune
from ingest.storage.volumes import volume_of
from ingest.workers.prober import visit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from ingest.db.engine import Database
    from ingest.engine import Root
    from ingest.pipeline.findings import VerifyReport
    from ingest.session.register import Entry
    from ingest.storage.rules import Rule

# What can be taken up again, by itself or by its name.
_OVER: Final = CLOSED - {SessionState.COMPLETED_WITH_ERRORS}
# Rows of one transaction: other sessions may be at work on the journal, and wait for it.
_BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Relocated:
    """An archive that is somewhere else now.

    Attributes:
        known: what was known of it. path: where it is now. sessions: how many will look for it there.
        other: it is another file system: what was proven on the old one is not proven there.
        waiting: the ids of those sessions that `ingest resume` takes up. named: of those that completed with errors, and
            are taken up by their names.
        to_prove: copies of these that were put back, to be proven there or made again.
    """

    known: KnownRoot
    path: bytes
    sessions: int
    other: bool
    waiting: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    to_prove: int = 0


@dataclass(frozen=True, slots=True)
class StoredRoot:
    """An archive, or a place that is none: what the journal knows of it, and what was seen there now.

    Attributes:
        known: None if the journal does not know it.
        look: `look.path` is where it was looked for.
        problem: why the archive cannot be reached there, None if it can.
        files: managed copies that the journal knows there. last_copied: when the last of them was proven.
        sessions: that had it as a destination. resumable: the ids of those that can be gone on with.
        how: a copy from here to here would be made, one sentence per choice; empty where nothing could be seen.
    """

    known: KnownRoot | None
    look: Look
    problem: str | None
    files: int = 0
    last_copied: int | None = None
    sessions: int = 0
    resumable: tuple[str, ...] = ()
    how: tuple[str, ...] = ()


def look_at_roots(
    database: Database | None, rules: Sequence[Rule], name: bytes | None = None, *, thorough: bool = False
) -> list[StoredRoot]:
    """Every root of the journal, or one place: an archive by its path or the beginning of its UUID, or any folder.

    Args:
        thorough: try what archives can do, with files of our own in their staging folders.

    Raises:
        MissingError: nothing is known by this name, and nothing is there.
    """
    known = _known(database)
    chosen = known if name is None else _named(known, name)
    if name is not None and not chosen:
        (look,) = _ruled(_looked_at([os.path.abspath(name)], thorough=thorough), rules)
        if look.volume is None:
            raise MissingError(f"no archive is known by this name, and as a path: {look.problem}", path=name,
                               operation="find", advice="List them with: ingest storage list")  # fmt: skip
        # Its marker may say who it is; then it is not where it was last seen.
        owner = next((root for root in known if root.uuid == look.uuid), None)
        return [_told(database, owner, look)]
    looks = _ruled(_looked_at([root.path for root in chosen], thorough=thorough), rules)
    return [_told(database, root, look) for root, look in zip(chosen, looks, strict=True)]


def _known(database: Database | None) -> list[KnownRoot]:
    if database is None:
        return []
    with database.read() as connection:
        return known_roots(connection)


def _named(known: Sequence[KnownRoot], name: bytes) -> list[KnownRoot]:
    """Those at a path; if there are none, those whose UUID begins so."""
    at = [root for root in known if root.path == os.path.abspath(name)]
    if at or not re.fullmatch(rb"[0-9a-fA-F-]{4,36}", name):
        return at
    return [root for root in known if root.uuid.startswith(name.decode("ascii").lower())]


def _looked_at(paths: Sequence[bytes], *, thorough: bool = False) -> list[Look]:
    depth = Depth.THOROUGHLY if thorough else Depth.CLOSELY
    try:
        return visit([Spot(path, archive=True, depth=depth) for path in paths])
    except OSError as error:
        raise from_os_error(error, "look") from error


def _ruled(looks: Sequence[Look], rules: Sequence[Rule]) -> list[Look]:
    return [replace(look, volume=look.volume and ruled(look.volume, look.path, rules)) for look in looks]


def _told(database: Database | None, known: KnownRoot | None, look: Look) -> StoredRoot:
    how = tune(CopyOptions(), [look.volume], [look.volume]).reasons if look.volume is not None else ()
    if database is None or known is None:
        problem = look.problem or (None if look.uuid else "it is no archive")
        return StoredRoot(known, look, problem, how=how)
    with database.read() as connection:
        files, last_copied = holds(connection, known.key)
    sessions = _sessions(database, known)
    resumable = tuple(entry.id for entry in sessions if entry.resumable)
    return StoredRoot(known, look, _problem(known, look), files, last_copied, len(sessions), resumable, how)


def _problem(known: KnownRoot, look: Look) -> str | None:
    if look.problem is not None:
        return look.problem
    if look.uuid is None:
        return "the folder there is no archive: is its disk mounted?"
    return None if look.uuid == known.uuid else f"another archive is there now ({look.uuid})"


def _sessions(database: Database, known: KnownRoot) -> list[Entry]:
    with database.read() as connection:
        keys = set(sessions_at(connection, known.key))
    return [entry for entry in register(database) if entry.key in keys]


def _one(database: Database, name: bytes) -> KnownRoot:
    """The root of this name.

    Raises:
        MissingError: none is known. UsageError: several are.
    """
    found = _named(_known(database), name)
    if not found:
        raise MissingError("no archive is known by this name", path=name, operation="find",
                           advice="List them with: ingest storage list")  # fmt: skip
    if len(found) > 1:
        uuids = ", ".join(root.uuid for root in found)
        raise UsageError(f"{len(found)} archives are known by this name ({uuids})", path=name, operation="find",
                         advice="Give more of the UUID")  # fmt: skip
    return found[0]


def _require_idle(sessions: Sequence[Entry], known: KnownRoot) -> None:
    if busy := [entry.id[:8] for entry in sessions if entry.held]:
        raise PausedError(f"session {busy[0]} is at work there", path=known.path, operation="storage",
                          advice="Wait until it is done, or stop it with Ctrl-C")  # fmt: skip


def forget(database: Database, name: bytes, *, force: bool = False) -> tuple[KnownRoot, tuple[str, ...]]:
    """Remove a root from the journal, and touch nothing on its disk; the sessions that still wait for it.

    Raises:
        MissingError, UsageError: no such root, several, or sessions wait for it and `force` is not given.
        PausedError: a process works with it.
    """
    known = _one(database, name)
    sessions = _sessions(database, known)
    _require_idle(sessions, known)
    waiting = tuple(entry.id for entry in sessions if entry.resumable)
    if waiting and not force:
        raise UsageError(
            f"sessions wait for it: {', '.join(each[:8] for each in waiting)}", path=known.path,
            operation="forget", advice="Complete them with: ingest resume. Or forget it all the same: --force",
        )  # fmt: skip
    with database.write() as connection:
        forget_root(connection, known.key)
    return known, waiting


def relocate(database: Database, name: bytes, path: bytes) -> Relocated:
    """Write down that a root is at another path now, or on another disk, after its marker was seen there.

    On another disk nothing is known of its files any more: what was proven was proven on the old one. Sessions that can
    still be taken up prove there what they have copied, or copy it again.

    A root that this journal does not know, named by its whole UUID, is known from now on: so a move can be told where
    no session was.

    Raises:
        MissingError: no such root, or nothing is at the new path. UsageError: another one is, or it is at both.
        PausedError: a process works with it. IngestError: the new path cannot be looked at.
    """
    from ingest.manifest.parts import list_parts  # with Arrow

    path = os.path.abspath(path)
    known = _one_or_new(database, name, path)
    sessions = _sessions(database, known)
    _require_idle(sessions, known)
    before, now = _looked_at([known.path, path])
    if now.problem is not None or now.volume is None:
        raise _unseen(path, now)
    if now.uuid != known.uuid:
        found = "no archive (it has no marker)" if now.uuid is None else f"the archive {now.uuid}"
        raise UsageError(f"what is there is {found}; {shown(known.path)} was {known.uuid}", path=path,
                         operation="relocate", advice=f"Look for {shown(MARKER)} on the disk that you mean")  # fmt: skip
    if before.uuid == known.uuid and (before.device, before.inode) != (now.device, now.inode):
        raise UsageError(
            f"it is at {shown(known.path)}, too: one of the two is a clone of the other",
            path=path, operation="relocate",
            advice="Unmount the one that you do not mean, or make that one an archive of its own by removing its "
            f"{shown(MARKER)}",
        )  # fmt: skip
    assert now.device is not None  # noqa: S101 - it was seen
    assert now.inode is not None  # noqa: S101
    fs_uuid = "in memory" if now.volume.memory else now.volume.fs_uuid
    open_ = [entry for entry in sessions if entry.state not in _OVER]
    # Looked for before the journal is held: a disk may take its time.
    there = pin(path)
    parts = {entry.id: max((each.number for each in list_parts(there, entry.id)), default=0) for entry in open_}
    with database.write() as connection:
        device = last_device(connection, known.key)
        then = Footing(now.device if device is None else device, 0, known.uuid, known.fs_uuid)
        other = elsewhere(then, Footing(now.device, now.inode, known.uuid, fs_uuid))
        moved = move_root(connection, known.key, path, fs_uuid=now.volume.fs_uuid, device=now.device, inode=now.inode)
        if other:
            # What was proven on the old disk was not proven of what somebody copied to this one.
            forget_locations(connection, known.key)
        to_prove = (
            sum(_unproven(connection, known.key, entry, path, parts[entry.id]) for entry in open_) if other else 0
        )
    waiting = tuple(entry.id for entry in open_ if not entry.over)
    named = tuple(entry.id for entry in open_ if entry.over)
    return Relocated(known, path, moved, other, waiting, named, to_prove)


def _unproven(connection: Connection, root: int, entry: Entry, path: bytes, last: int) -> int:
    """Have a session prove anew what it has at a root that is on another disk now; how many copies that are.

    Args:
        root: its key. path: where it is now. last: the highest number of the session's manifest parts that are there.
    """
    number = number_in(connection, entry.key, root)
    forget_parts(connection, entry.key, number, last)
    put = put_back(connection, entry.key, number)
    chronicle = Chronicle(entry.key, entry.run)
    told = f"the archive is on another disk now: {put:,} copies are to be proven there, or made again"
    chronicle.note(EventKind.WARNING, told, root=number, path=path)
    chronicle.write(connection)
    return put


def _one_or_new(database: Database, name: bytes, path: bytes) -> KnownRoot:
    """The root of this name; one that is met for the first time at a path, if its marker has this very UUID.

    Raises:
        MissingError: there is none. UsageError: there are several.
    """
    try:
        return _one(database, name)
    except MissingError:
        (look,) = _looked_at([path])
        if look.uuid is None or look.uuid.encode("ascii") != name.lower() or look.volume is None:
            raise
    with database.write() as connection:
        remember_root(connection, look.uuid, path, look.volume.fs_uuid)
    return _one(database, name)


def _unseen(path: bytes, look: Look) -> IngestError:
    if look.errno in ABSENT:
        return MissingError("nothing is there: is the disk mounted?", path=path, operation="relocate",
                            advice="Mount it, then try again")  # fmt: skip
    return IngestError(f"it cannot be looked at: {look.problem}", path=path, operation="relocate",
                       advice="Check that it is mounted and can be read")  # fmt: skip


def remember_verified(
    database: Database, roots: Sequence[Root], report: VerifyReport, began: int, *, whole: bool
) -> None:
    """Write down which of these roots a verification found whole, and what it found missing or changed.

    Args:
        began: the verification, nanoseconds since the epoch. whole: it was of all files, not of one session's.

    Raises:
        IngestError: a root is gone, or the journal cannot be written.
    """
    known = _known(database)
    places = {root.path: (root.dev, root.ino) for root in roots}  # one may have been named twice
    damaged: dict[tuple[int, int], list[bytes]] = {place: [] for place in places.values()}
    for finding in (*report.missing, *report.changed):
        damaged[places[finding.root]].append(finding.path)
    for root in roots:
        one, paths = _owner(root, known), damaged[root.dev, root.ino]
        if one is None:
            continue
        for start in range(0, len(paths), _BATCH):
            with database.write() as connection:
                note_damaged(connection, one.key, paths[start : start + _BATCH], began)
        if not paths and whole:
            with database.write() as connection:
                note_verified(connection, one.uuid, began)
                # A clone that is whole says nothing of the archive.
                if root.path == one.path and not cloned(one.fs_uuid, volume_of(root.path).fs_uuid):
                    lift_damage(connection, one.key, began)


def _owner(root: Root, known: Sequence[KnownRoot]) -> KnownRoot | None:
    """Whose files these are: by the marker or, where that is what was found damaged, by the place."""
    try:
        marker = read_marker(root)
    except ManifestError:
        marker = None
    if marker is not None:
        return next((one for one in known if one.uuid == marker.uuid), None)
    return next((one for one in known if one.path == root.path), None)
