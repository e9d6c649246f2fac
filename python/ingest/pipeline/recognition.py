"""Recognition: before a folder becomes a destination, is it what the journal knows by its path, and by its marker?

A disk that is not mounted leaves an empty folder of the same name; a disk that was copied whole carries the marker of
the other one. Neither may be written to unasked: the first fills the wrong disk, the second makes two archives of one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.catalog.holdings import known_roots, last_device
from ingest.errors import IngestError, MissingError, UsageError, shown
from ingest.pipeline.moved import sightings
from ingest.pipeline.rollcall import silent
from ingest.storage.identity import Footing, cloned, elsewhere
from ingest.storage.marker import MARKER, read_marker
from ingest.storage.roots import pin
from ingest.storage.volumes import volume_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.catalog.holdings import KnownRoot
    from ingest.db.engine import Database


@dataclass(frozen=True, slots=True)
class _Known:
    """A root of the journal, and the device number that it had last."""

    root: KnownRoot
    device: int | None


def require_recognised(database: Database, paths: Sequence[bytes], *, new_root: bool = False) -> None:
    """Require of destinations (absolute; they may be missing) that they are not taken for what they are not.

    Args:
        new_root: a folder that stands where a known root was mounted may become a root of its own.

    Raises:
        MissingError: a root is known there whose disk is not mounted. UsageError: one is a clone, or was moved from
            one disk to another, which only the user can tell. IngestError: it cannot be looked at.
    """
    with database.read() as connection:
        known = [_Known(root, last_device(connection, root.key)) for root in known_roots(connection)]
    for path in paths:
        seen, written_on = _look(path)
        if seen.marker is None:
            here = [one for one in known if one.root.path == path]
            if here and not new_root and not seen.mounted:
                _require_its_disk(max(here, key=lambda one: one.root.last_seen), seen)
            continue
        _require_no_clone(
            path, seen, written_on, next((one.root for one in known if one.root.uuid == seen.marker), None)
        )


def _look(path: bytes) -> tuple[Footing, str | None]:
    """What stands at a path, or what it would stand on if it is still to be made; and what its marker was written on."""
    if not os.path.lexists(path):
        standing = os.path.dirname(path)
        while not os.path.isdir(standing):
            standing = os.path.dirname(standing)
        facts = os.stat(standing)
        return Footing(facts.st_dev, facts.st_ino, None, volume_of(standing).fs_uuid), None
    volume = volume_of(path)
    root = pin(path, volume=volume)
    marker = read_marker(root)
    mounted = os.path.ismount(os.path.realpath(path))
    if marker is None:
        return Footing(root.dev, root.ino, None, volume.fs_uuid, mounted), None
    # What lives in memory cannot be the disk that a marker names, though it has no lasting UUID of its own.
    fs_uuid = "in memory" if volume.memory else volume.fs_uuid
    return Footing(root.dev, root.ino, marker.uuid, fs_uuid, mounted), marker.fs_uuid


def _require_its_disk(known: _Known, seen: Footing) -> None:
    device = known.device if known.device is not None else seen.device
    if not elsewhere(Footing(device, 0, known.root.uuid, known.root.fs_uuid), seen):
        return
    raise MissingError(
        f"the archive {known.root.uuid} was mounted here, and this is the disk underneath: is the disk mounted?",
        path=known.root.path, operation="open",
        advice="Mount the disk; if you do mean an archive of its own on this one, say --new-root",
    )  # fmt: skip


def _require_no_clone(path: bytes, seen: Footing, written_on: str | None, known: KnownRoot | None) -> None:
    # Where the user has said that the archive moved to another disk, the journal knows better than the marker.
    own = known.fs_uuid if known is not None and known.fs_uuid is not None else written_on
    marker = f"{shown(path.rstrip(b'/'))}/{shown(MARKER)}"
    ways = f"To make the clone an archive of its own, remove {marker}"
    if cloned(own, seen.fs_uuid):
        originals, _ = sightings(path, seen.marker or "", own)
        if originals:
            raise UsageError(
                f"it is a clone of the archive at {shown(originals[0].path)}: the same marker, on another file system",
                path=path, operation="open", advice=f"Name the archive itself. {ways}",
            )  # fmt: skip
        raise UsageError(
            f"is this the archive {seen.marker} moved to another disk, or a clone of it? Its marker belongs to the file "
            f"system {own}, and this one is {seen.fs_uuid}", path=path, operation="open",
            advice=f"If it was moved: ingest storage relocate {seen.marker} {shown(path)}. {ways}",
        )  # fmt: skip
    if known is None or known.path == path or silent([known.path]):
        return
    try:
        before, _ = _look(known.path)
    except (OSError, IngestError):
        return
    if before.marker == seen.marker and (before.device, before.inode) != (seen.device, seen.inode):
        raise UsageError(
            f"it carries the same marker as {shown(known.path)}: one is a clone of the other", path=path,
            operation="open", advice=f"Unmount the one that you do not mean. {ways}",
        )  # fmt: skip
