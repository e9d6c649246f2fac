"""Spares: where else the right bytes may be. Another archive, a card, or any folder or file that was copied from one.

Promises: nothing there is written. Names only say where to look: every byte that is taken is proven by the digest or
the chaining values of this archive's own manifests. So a wrong guess costs a read, and never more.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest.errors import CancelledError, IngestError, UsageError, from_os_error
from ingest.manifest.chain import walk_chain
from ingest.manifest.lookup import BlockLookup
from ingest.manifest.parts import Part, list_parts
from ingest.manifest.reader import of_parts
from ingest.manifest.recorded import holders
from ingest.storage.roots import pin
from ingest.storage.volumes import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from ingest import engine
    from ingest.manifest.reader import Manifests
    from ingest.manifest.recorded import Recorded

# Files that are offered for one damaged one: what is not among the likeliest is not there.
_OFFERED: Final = 8


@dataclass(frozen=True, slots=True)
class Spares:
    """The other place.

    Attributes:
        root: pinned. manifests: what of its own is sound, if it is an archive. single: the one file that was named.
    """

    root: engine.Root
    manifests: Manifests | None = None
    single: bytes | None = None


def open_spares(path: bytes, root: engine.Root) -> Spares:
    """Open the other place, read-only.

    Args:
        path: absolute. root: what is to be repaired.

    Raises:
        UsageError: both are one place. MissingError, DeniedError: it cannot be opened.
        NewerFormatError: it is an archive, and its manifests are newer than this program.
    """
    try:
        mode = os.stat(path).st_mode
        if place_of(path) == place_of(root.path):
            raise UsageError(
                "this is the archive that is to be repaired", path=path, operation="--from",
                advice="Name another archive, or the card that it came from",
            )  # fmt: skip
    except OSError as error:
        raise from_os_error(error, "open", path, "Is the disk mounted?") from error
    if stat.S_ISREG(mode):
        folder, name = os.path.split(path)
        return Spares(pin(folder, source=True), single=name)
    other = pin(path, source=True)
    parts = [(0, part) for part in walk_chain(other, list_parts(other)) if isinstance(part, Part)]
    return Spares(other, of_parts([other], parts) if parts else None)


def offers(
    connection: duckdb.DuckDBPyConnection, spares: Spares, wanted: Iterable[Recorded], sources: Sequence[bytes]
) -> dict[bytes, list[bytes]]:
    """For each path that is wanted, files of the other place that may have its content, the likeliest first.

    On another archive those come first that its manifests say have it. Everywhere: the file at the path below the
    source that it was copied from, at the same path as here, and at every shorter end of the path that it came from,
    so that it does not matter where a card is mounted today, or which of its folders was named.

    Args:
        connection: from :func:`ingest.manifest.sandbox.sandbox`; it serves nothing else until the end.
        sources: paths of the sources that this archive's sessions read, absolute.

    Raises:
        IngestError: the other place's manifests cannot be read.
    """
    rows = list(wanted)
    held: dict[bytes, list[bytes]] = {}
    if spares.manifests is not None:
        held = holders(connection, spares.manifests, [row.blake3 for row in rows if row.blake3 is not None])
    return {row.path: _offer(spares, row, held.get(row.blake3 or b"", []), sources) for row in rows}


class Values:
    """The chaining values of files' blocks, from either place. They prove themselves."""

    def __init__(self, root: engine.Root, spares: Spares, page: engine.Page | None = None) -> None:
        """Look for them on an archive that is repaired, and where its spares are, until the page is told to stop."""
        self._here = BlockLookup(root, page)
        self._there = BlockLookup(spares.root, page) if spares.manifests is not None else None

    def of(self, wanted: Recorded) -> bytes:
        """Those of a file; empty where none were kept.

        Raises:
            IngestError: the folder of manifests of the archive that is repaired cannot be read.
        """
        if wanted.blake3 is None:
            return b""
        found = self._here.find(wanted.blake3, wanted.size, wanted.session)
        if found is None and self._there is not None:
            try:
                found = self._there.find(wanted.blake3, wanted.size, wanted.session)
            except CancelledError:
                raise
            except IngestError:
                return b""  # it is not this archive's: without it the file comes whole
        return found or b""


def _offer(spares: Spares, row: Recorded, held: Sequence[bytes], sources: Sequence[bytes]) -> list[bytes]:
    if spares.single is not None:
        return [spares.single]
    names = [*held, *_below(row.source_path, sources), row.path, *_ends(row.source_path)]
    there: dict[bytes, bool] = {}
    for name in dict.fromkeys(names):
        (stands,) = spares.root.lstat([name])
        if stands is not None and not isinstance(stands, OSError) and stat.S_ISREG(stands[0]):
            there[name] = stands[1] == row.size
    # One of another size can still have right blocks: a copy that was cut off, or is still being written.
    return sorted(there, key=lambda name: not there[name])[:_OFFERED]


def _below(path: bytes, sources: Sequence[bytes]) -> list[bytes]:
    """The path below each source that it lies in, the nearest first."""
    within = [source.rstrip(b"/") + b"/" for source in sources]
    return sorted((path[len(each) :] for each in within if path.startswith(each)), key=len)


def _ends(path: bytes) -> list[bytes]:
    """Every end of a path, the longest first."""
    names = [name for name in path.split(b"/") if name]
    return [b"/".join(names[at:]) for at in range(len(names))]
