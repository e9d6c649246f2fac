"""Archives as witnesses: those that are here now, with the parts of their manifests that can be believed.

Promises: an archive takes part only if its path leads to it, by its marker and, where the journal knows it, its file
system. A part is believed if it was read from the archive, bears its seal, reads the same from the device, and if its
session's chain is whole from the first part to this archive's last; one session whose record is damaged is left aside, and said, and
the others go on. Not promised: that missing last parts are noticed; their files are not told of, and so do not count.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from ingest import engine
from ingest.errors import IngestError, MissingError, from_os_error
from ingest.manifest.chain import Damage, walk_chain
from ingest.manifest.parts import Part, list_parts
from ingest.manifest.reader import Manifests, no_manifest, of_parts
from ingest.pipeline.moved import sightings
from ingest.pipeline.rollcall import silent
from ingest.storage.grounds import folders_above, grounds_of
from ingest.storage.identity import Footing, stranger
from ingest.storage.marker import carried_over, read_marker
from ingest.storage.roots import pin
from ingest.storage.volumes import place_of, volume_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.catalog.holdings import KnownRoot
    from ingest.storage.grounds import Ground
    from ingest.storage.marker import Marker
    from ingest.storage.volumes import Volume


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that is here.

    Attributes:
        root: pinned. uuid: its marker's. key: its row in the journal, None if that does not know it.
        volume: what its file system is known by. place: where it really is, whatever mount it was reached by.
        carried: it was copied here from another place, so nothing was proven of the files that are here.
        grounds: its own place and, on an overlay, what it is in the layers of that.
        above: its folder and all above it, by device and inode.
    """

    root: engine.Root
    uuid: str
    key: int | None
    volume: bytes
    place: tuple[int, bytes]
    carried: bool
    grounds: tuple[Ground, ...]
    above: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Absence:
    """Something of an archive's that does not count, and why: the archive itself, or the record of one session."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Archives:
    """Those that are here, what their manifests say, and what is missing of either."""

    here: tuple[Archive, ...]
    manifests: Manifests
    absent: tuple[Absence, ...]


def open_archives(paths: Sequence[bytes], known: Sequence[KnownRoot]) -> Archives:
    """Open these archives; none takes every one that the journal knows.

    Raises:
        MissingError: one that was named is not there, or is no archive; or none is known at all.
        NewerFormatError: a manifest is newer than this program. IngestError: one that was named cannot be read.
    """
    absent: list[Absence] = []
    if paths:
        found = [_named(os.path.abspath(path), known) for path in paths]
    elif known:
        found = _known(known, absent)
    else:
        raise MissingError("no archive is known", operation="check", advice="Name those that hold copies with --root")
    here = tuple({(one.root.dev, one.root.ino): one for one in found}.values())
    parts: list[tuple[int, Part]] = []
    for index, archive in enumerate(here):
        parts += [(index, part) for part in believed(archive.root, absent)]
    return Archives(here, of_parts([one.root for one in here], parts), tuple(absent))


def _named(path: bytes, known: Sequence[KnownRoot]) -> Archive:
    """An archive that was named: it has to be one."""
    for why in silent([path]).values():
        raise MissingError(f"the share does not answer ({why})", path=path, operation="open",
                           advice="Check the server and the way to it, then try again")  # fmt: skip
    root, volume, marker = _look(path)
    if marker is None or not list_parts(root):
        raise no_manifest(root)
    own = next((other for other in known if other.uuid == marker.uuid), None)
    archive = _archive(root, volume, marker, own.key if own is not None else None)
    return replace(archive, carried=True) if own is not None and _stands_also(own, root) else archive


def _stands_also(known: KnownRoot, root: engine.Root) -> bool:
    """Whether the archive that the journal knows is at its own place, too: then what was named is a clone of it."""
    if known.path == root.path or silent([known.path]):
        return False
    try:
        there, _, marker = _look(known.path)
    except IngestError:
        return False
    return marker is not None and marker.uuid == known.uuid and (there.dev, there.ino) != (root.dev, root.ino)


def _known(known: Sequence[KnownRoot], absent: list[Absence]) -> list[Archive]:
    dead = silent([root.path for root in known])
    found = []
    for number, root in enumerate(known):
        try:
            if number in dead:
                raise MissingError(f"the share does not answer ({dead[number]})")
            found.append(_recognised(root))
        except IngestError as error:
            absent.append(Absence(root.path, error.cause))
    return found


def _recognised(known: KnownRoot) -> Archive:
    """The archive that the journal knows, wherever it is mounted now.

    Raises:
        IngestError: it is not there, or something else is.
    """
    try:
        root, volume, marker = _look(known.path)
    except MissingError as error:
        why: str | None = error.cause
    else:
        mounted = os.path.ismount(os.path.realpath(known.path))
        seen = Footing(root.dev, root.ino, marker.uuid if marker else None, volume.fs_uuid, mounted)
        why = stranger(Footing(root.dev, root.ino, known.uuid, known.fs_uuid), seen)
        if why is None and marker is not None:
            return _archive(root, volume, marker, known.key)
    own, _ = sightings(known.path, known.uuid, known.fs_uuid)
    if len(own) == 1:
        root, volume, marker = _look(own[0].path)
        if marker is not None and marker.uuid == known.uuid:
            return _archive(root, volume, marker, known.key)
    raise MissingError(why or "it is no archive", path=known.path, operation="open")


def _look(path: bytes) -> tuple[engine.Root, Volume, Marker | None]:
    """A folder, what it is stored on, and the marker that it carries."""
    try:
        volume = volume_of(path)
    except OSError as error:
        raise from_os_error(error, "open", path, "Is the disk mounted?") from error
    root = pin(path, volume=volume)
    return root, volume, read_marker(root)


def _archive(root: engine.Root, volume: Volume, marker: Marker, key: int | None) -> Archive:
    device = volume.mount.device if volume.mount is not None else root.dev
    try:
        return Archive(
            root, marker.uuid, key, volume.identity(device), place_of(root.path), carried_over(marker, volume),
            grounds_of(root.path), folders_above(root.path),
        )  # fmt: skip
    except OSError as error:
        raise from_os_error(error, "open", root.path) from error


def believed(root: engine.Root, absent: list[Absence]) -> list[Part]:
    """The parts of a root's manifests that can be believed; what cannot goes to `absent`.

    Raises:
        NewerFormatError: one is newer than this program. IngestError: the folder cannot be read.
    """
    parts: list[Part] = []
    for session, listed in groupby(list_parts(root), attrgetter("session")):
        found = list(walk_chain(root, list(listed)))
        damage = [each for each in found if isinstance(each, Damage)]
        sound = [each for each in found if isinstance(each, Part)]
        wrong = damage[0].reason if damage else _other_on_device(root, sound)
        if wrong is None:
            parts += sound
        else:
            absent.append(Absence(root.path, f"its record of session {session[:8]} cannot be believed ({wrong})"))
    return parts


def _other_on_device(root: engine.Root, parts: Sequence[Part]) -> str | None:
    """What was read may have come from memory: whether the device holds something else."""
    proofs = engine.prove(root, [part.path for part in parts], cold=True)
    for part, (digest, _, _, _, fault) in zip(parts, proofs, strict=True):
        if fault is not None:
            return f"part {part.number}: {engine.failed(fault).detail}"
        if digest != part.blake3:
            return f"part {part.number}: the device holds other bytes than were read before"
    return None
