"""Moved: roots and sources that are mounted elsewhere now are found by their UUIDs, and gone on with there.

The mount table says where to look (`storage.whereabouts`); who looks is a process that can be left behind, since shares
are among the places. A root is known by its marker and its file system's UUID together: either alone has clones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.errors import PausedError, from_os_error, shown
from ingest.session.recognise import holds_some
from ingest.storage.identity import cloned
from ingest.storage.looking import Depth, Look, Spot
from ingest.storage.roots import pin
from ingest.storage.whereabouts import likely, remote
from ingest.workers.prober import visit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.model.session import RootFacts, SourceFacts
    from ingest.session.journal import Journal


def sightings(path: bytes, uuid: str, fs_uuid: str | None) -> tuple[list[Look], list[Look]]:
    """Folders other than `path` that carry a root's marker: on its own file system, and on others (clones of it).

    One folder that is mounted several times is told once.

    Raises:
        IngestError: nobody can be sent to look.
    """
    seen = [look for look in _visited([*likely(path), *remote(path)]) if look.uuid == uuid]
    own = [look for look in seen if not cloned(fs_uuid, _fs_uuid(look))]
    return own, [look for look in seen if look not in own]


def find_root(place: RootFacts, missing: str) -> bytes | None:
    """Where a session's root is now that it is not at its path; None if it is nowhere.

    Args:
        missing: what is wrong at its path, for the question that is asked.

    Raises:
        PausedError: it may be several folders, or what carries its marker is a clone of it: the user has to say.
    """
    own, clones = sightings(place.path, place.uuid, place.fs_uuid)
    if len(own) > 1:
        raise PausedError(
            f"{missing}. Several folders carry its marker: {_listed(own)}", path=place.path, operation="open",
            advice="Unmount those that are not the archive, or say which one is with ingest storage relocate; "
            "then: ingest resume",
        )  # fmt: skip
    if own:
        return own[0].path
    if clones:
        raise PausedError(
            f"{missing}. What carries its marker is a clone, on another file system: {_listed(clones)}", path=place.path,
            operation="open", advice="Mount the archive's own disk, then: ingest resume. If the clone is to take its "
            f"place: ingest storage relocate {place.uuid[:8]} {shown(clones[0].path)}",
        )  # fmt: skip
    return None


def find_source(journal: Journal, source: SourceFacts) -> bytes | None:
    """Where a session's source is now that it is not at its path; None if it is nowhere, or its disk has no UUID.

    Raises:
        PausedError: it may be several folders: the user has to say.
    """
    if source.fs_uuid is None:
        return None
    places = [*likely(source.path, archive=False), *remote(source.path)]
    there = [look for look in _visited(places) if _fs_uuid(look) == source.fs_uuid]
    # Where a file system makes up inode numbers (FAT), what a folder holds is the better witness.
    found = [look for look in there if holds_some(journal, source, pin(look.path, source=True))]
    found = found or [look for look in there if look.inode == source.inode]
    if len(found) > 1:
        raise PausedError(
            f"it may be any of these: {_listed(found)}", path=source.path, operation="open",
            advice="Unmount those that are not the card that this session began with, then: ingest resume",
        )  # fmt: skip
    return found[0].path if found else None


def _visited(places: Sequence[bytes]) -> list[Look]:
    """Folders that can be looked at, each once, however many paths it has."""
    try:
        looks = visit([Spot(place, archive=True, depth=Depth.CLOSELY) for place in places])
    except OSError as error:
        raise from_os_error(error, "look") from error
    distinct: dict[tuple[int | None, int | None], Look] = {}
    for look in looks:
        if look.device is not None:
            distinct.setdefault((look.device, look.inode), look)
    return list(distinct.values())


def _fs_uuid(look: Look) -> str | None:
    return look.volume.fs_uuid if look.volume is not None else None


def _listed(looks: Sequence[Look]) -> str:
    return ", ".join(shown(look.path) for look in looks)
