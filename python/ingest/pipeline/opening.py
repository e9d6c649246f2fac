"""Opening: what the user named becomes pinned folders, or an error before anything is written.

Sources are opened read-only and carry nothing; destinations get their marker only when it is certain that none of
them is a source, or lies in one, under whatever name.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ingest.errors import IngestError, MissingError, PausedError, UsageError, from_os_error, shown
from ingest.layouts.naming import label_of
from ingest.model.digests import HASHES
from ingest.model.options import BUFFER_MAX, BUFFER_MIN, MOST_BATCH, MOST_WORKERS, CopyOptions
from ingest.model.session import RootFacts, SourceFacts
from ingest.pipeline.moved import find_root, find_source
from ingest.session.recognise import require_same_source
from ingest.storage import roots
from ingest.storage.grounds import grounds_of, mounts_in
from ingest.storage.identity import Footing
from ingest.storage.roots import Destination, pin
from ingest.storage.rules import ruled
from ingest.storage.volumes import Volume, place_of, volume_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.engine import Root
    from ingest.session.journal import Journal
    from ingest.storage.rules import Rule

Opened: TypeAlias = "tuple[SourceFacts, Root, Volume]"
"""A source: its facts, the pinned folder, what it is stored on."""
_Found = TypeVar("_Found", Destination, "Destination | None")

# As many as share one file in the engine.
MOST_THREADS = 32


def check_options(options: CopyOptions) -> CopyOptions:
    """The options, if they make sense.

    Raises:
        UsageError: one does not.
    """
    if unknown := sorted(set(options.hashes).difference(HASHES)):
        raise UsageError(
            f"{unknown[0]!r} is no digest that can be computed", operation="--hash",
            advice=f"Choose from {', '.join(HASHES)}; BLAKE3 is always computed",
        )  # fmt: skip
    buffer = options.buffer
    if buffer is not None and (not BUFFER_MIN <= buffer <= BUFFER_MAX or buffer & (buffer - 1)):
        raise UsageError(
            f"a buffer of {buffer} bytes", operation="--buffer", advice="Take a power of two from 4KiB to 64MiB"
        )
    if options.workers is not None and not 1 <= options.workers <= MOST_WORKERS:
        raise UsageError(f"{options.workers} workers", operation="--workers", advice=f"Take 1 to {MOST_WORKERS}")
    if options.threads is not None and not 1 <= options.threads <= MOST_THREADS:
        raise UsageError(f"{options.threads} threads", operation="--threads", advice=f"Take 1 to {MOST_THREADS}")
    if options.batch is not None and not 1 <= options.batch <= MOST_BATCH:
        raise UsageError(
            f"batches of {options.batch} files", operation="--batch", advice=f"Take 1 to {MOST_BATCH:,} files"
        )
    if options.profile != "mirror":
        raise UsageError(f"no profile {options.profile!r}", operation="--profile", advice="There is: mirror")
    return options


def open_sources(paths: Sequence[bytes], label: str | None) -> list[Opened]:
    """Pin the sources and name their folders.

    Raises:
        MissingError, DeniedError: one cannot be opened. UsageError: one is no file or folder, or two would go
            under one label.
    """
    opened = []
    labels: dict[bytes, bytes] = {}
    for number, given in enumerate(paths):
        path, single = os.path.abspath(given), None
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            raise from_os_error(error, "open", path, "Is the card in the reader, and mounted?") from error
        if stat.S_ISREG(mode):
            path, single = os.path.split(path)
        elif not stat.S_ISDIR(mode):
            raise UsageError("it is neither a file nor a folder", path=path, operation="open")
        own = label_of(path, label)
        if own in labels:
            raise UsageError(
                f"two sources would go to the folder {shown(own)}: {shown(labels[own])} is the other", path=path,
                operation="label", advice="Copy them one after the other, use --label",
            )  # fmt: skip
        labels[own] = path
        volume = volume_of(path)
        root = pin(path, volume=volume, source=True)
        opened.append((SourceFacts(number, path, own, single, root.dev, root.ino, volume.fs_uuid), root, volume))
    if not opened:
        raise UsageError("no source was given", operation="copy", advice="Name the card's folder")
    return opened


def check_destinations(paths: Sequence[bytes], sources: Sequence[bytes], *, create: bool = False) -> list[bytes]:
    """The destinations as absolute paths.

    Raises:
        UsageError: one is not a folder, two are one, or one lies in a source, or a source in one.
        MissingError: one is not there, and is not to be made.
    """
    absolute = [os.path.abspath(path) for path in paths]
    for path in absolute:
        if not create or os.path.lexists(path):
            roots.require_folder(path)
    places = [place_of(path) for path in absolute]
    for number, (device, inner) in enumerate(places):
        if (device, inner) in places[:number]:
            raise UsageError("this destination is given twice", path=absolute[number], operation="copy",
                             advice="Name each destination once")  # fmt: skip
        for source in sources:
            inside = _lies_in(absolute[number], source)
            source_device, source_inner = place_of(source)
            if inside or (source_device == device and _within(source_inner, inner)):
                raise UsageError(
                    f"it lies inside the source {shown(source)}" if inside else f"the source {shown(source)} lies inside it",
                    path=absolute[number], operation="copy", advice="Choose a destination apart from the source",
                )  # fmt: skip
    return absolute


def _lies_in(path: bytes, source: bytes) -> bool:
    """Whether a path is in a source, also through a mount, or in what is mounted below the source."""
    if _within(os.path.realpath(path), os.path.realpath(source)):
        return True
    shown_there = (*grounds_of(source), *chain.from_iterable(mounts_in(source).values()))
    return any(ground.holds(its) for its in grounds_of(path) for ground in shown_there)


def look_at(destinations: Sequence[bytes]) -> list[tuple[Root, Volume]]:
    """Pin destinations that nothing will be written to, and see what they are stored on.

    Raises:
        MissingError, DeniedError: one cannot be opened.
    """
    looked = []
    for path in destinations:
        try:
            volume = volume_of(path)
        except OSError as error:
            raise from_os_error(error, "open", path, "Is the disk mounted?") from error
        looked.append((pin(path, volume=volume), volume))
    return looked


def given(source: SourceFacts) -> bytes:
    """What the user named: the folder, or the one file in it."""
    return source.path if source.single is None else source.path.rstrip(b"/") + b"/" + source.single


def _within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def refuse_clones(destinations: Sequence[Destination]) -> None:
    """Require that every destination carries a marker of its own.

    Raises:
        UsageError: two carry the same one.
    """
    markers: dict[str, bytes] = {}
    for destination in destinations:
        twin = markers.setdefault(destination.marker.uuid, destination.path)
        if twin is not destination.path:
            raise UsageError(
                f"it carries the same marker as {shown(twin)}: one is a clone of the other", path=destination.path,
                operation="copy", advice="Remove .ingest/root.json from the clone to make it a root of its own",
            )  # fmt: skip


def reopen_sources(journal: Journal, sources: Sequence[SourceFacts]) -> list[Opened]:
    """Pin the sources of a session again, if they are the same ones; one that is mounted elsewhere now, there.

    Raises:
        IngestError: one cannot be opened; PausedError if it is away, or PausedError if another folder stands in its place.
    """
    opened = []
    for source in sources:
        try:
            root, volume = _reopen_source(journal, source, source.path)
        except (MissingError, PausedError) as error:
            moved = find_source(journal, source)
            if moved is None:
                raise _away(error, "Put the card back in, then: ingest resume") from error
            root, volume = _reopen_source(journal, source, moved)
        opened.append((source, root, volume))
    return opened


def _reopen_source(journal: Journal, source: SourceFacts, path: bytes) -> tuple[Root, Volume]:
    try:
        volume = volume_of(path)
    except OSError as error:
        raise from_os_error(error, "open", path) from error
    root = pin(path, volume=volume, source=True)
    require_same_source(journal, source, root, volume.fs_uuid)
    return root, volume


def ruled_sources(opened: Sequence[Opened], rules: Sequence[Rule]) -> list[Opened]:
    """Sources with what the configuration says of them."""
    return [(facts, root, ruled(volume, facts.path, rules)) for facts, root, volume in opened]


def ruled_roots(opened: Sequence[_Found], rules: Sequence[Rule]) -> list[_Found]:
    """Destinations (None for those that are away) with what the configuration says of them."""
    return [one if one is None else replace(one, volume=ruled(one.volume, one.path, rules)) for one in opened]


def _away(error: IngestError, advice: str) -> IngestError:
    return PausedError(error.cause, path=error.path, operation=error.operation, errno=error.errno, advice=advice)


def reopen_destination(place: RootFacts) -> Destination:
    """Open a session's root again: the very one, by its marker and its file system, wherever it is mounted now.

    Raises:
        PausedError: it is away, or something else stands in its place, or it may be several.
    """
    known = Footing(place.device, place.inode, place.uuid, place.fs_uuid)
    try:
        return roots.reopen_destination(place.path, known)
    except MissingError as error:
        moved = find_root(place, error.cause)
        if moved is None:
            advice = error.advice if error.errno == 0 else ""
            raise _away(error, advice or "Mount the disk that this session began with, then: ingest resume") from error
        return roots.reopen_destination(moved, known)
