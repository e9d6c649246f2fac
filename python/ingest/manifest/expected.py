"""What should stand on a root, as its manifests tell it, and what stands there without any of them naming it.

Promises: both stream, in order of path; memory stays within a limit, whatever the number of files, because DuckDB
sorts and joins beyond it on disk. The walk for strays holds names of folders still to be listed, never of files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa

from ingest.errors import IngestError
from ingest.manifest import names
from ingest.manifest.reader import Rows
from ingest.manifest.views import LATEST_FIRST, STANDING
from ingest.storage.marker import INTERNAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.engine import Root
    from ingest.manifest.reader import Manifests

_BATCH: Final = 10_000
_NAMES: Final = ("_root", "path", "path_raw", "state")
_NEEDED: Final = (
    *_NAMES, "session", "item", "size", "blake3", "started_at", "copied_at", "validated_at", "finalized_at", "_part",
    "_created",
)  # fmt: skip
_PROOF: Final = (*_NEEDED, "destination_root", "mtime_ns", "verify_method")
# A moment in microseconds that is no more than the journal's nanoseconds can hold.
_LATEST: Final = (1 << 63) // 1000
_KINDS: Final[dict[str, pa.DataType]] = {"root": pa.int32(), "name": pa.binary(), "reason": pa.string()}
_FOUND: Final = pa.schema(_KINDS)


@dataclass(frozen=True, slots=True)
class Expected:
    """One file that should be there: `path` below the root with this index, bytes, and its BLAKE3 if it was noted.

    `session` is the one that wrote its latest row.
    """

    root: int
    path: bytes
    size: int
    blake3: bytes | None
    session: str


@dataclass(frozen=True, slots=True)
class Proven:
    """A file that was proven to be at a path below its root, and that its latest row still speaks of.

    Attributes:
        mtime_ns: of its source, when it was copied. method, moment: how it was read back then, and when (ns since the epoch).
    """

    path: bytes
    blake3: bytes
    size: int
    mtime_ns: int
    method: str
    moment: int


@dataclass(frozen=True, slots=True)
class Stray:
    """A name that no manifest accounts for. `reason` is empty, or says why a folder could not be listed."""

    root: int
    path: bytes
    reason: str


def expected(
    connection: duckdb.DuckDBPyConnection, manifests: Manifests, session: str | None = None
) -> Iterator[Expected]:
    """The latest row of each path with bytes, in order of root and path.

    Args:
        connection: from :func:`ingest.manifest.sandbox.sandbox`; it serves nothing else until the end.
        manifests: whose rows to read.
        session: only paths that this session has a row for. What should stand there the latest row says,
            whichever session wrote it.
    """
    connection.register("_rows", Rows(manifests, _NEEDED))
    sql = f"""
        SELECT _root, {names.NAME_SQL} AS name, size, blake3, session
        FROM _rows WHERE {STANDING} ORDER BY _root, name, {LATEST_FIRST}"""  # noqa: S608 - constants of this program
    latest: Expected | None = None
    wanted = False
    for root, name, size, digest, by in _rows(connection, sql):
        if latest is None or (root, name) != (latest.root, latest.path):
            if latest is not None and wanted:
                yield latest
            latest, wanted = Expected(root, name, size, digest, by), False
        wanted = wanted or session in (None, by)
    if latest is not None and wanted:
        yield latest


def proven(connection: duckdb.DuckDBPyConnection, manifests: Manifests, home: str) -> Iterator[Proven]:
    """Each path of one root that holds what some session proved there, in order of path.

    A row that found the bytes there already proves nothing by itself: it counts if an earlier one did, of the same bytes.
    Nor do rows that were written for another root, which this one was copied from. Paths that lead out of the root are none.

    Args:
        connection: from :func:`ingest.manifest.sandbox.sandbox`; it serves nothing else until the end.
        manifests: of one root. home: the UUID of its marker.
    """
    connection.register("_rows", Rows(manifests, _PROOF))
    sql = f"""
        SELECT {names.NAME_SQL} AS name, blake3, size, mtime_ns, verify_method,
            epoch_us(coalesce(validated_at, finalized_at, copied_at)), destination_root
        FROM _rows WHERE {STANDING} AND blake3 IS NOT NULL AND size IS NOT NULL
        ORDER BY name, {LATEST_FIRST}"""  # noqa: S608 - constants of this program
    path, wanted = None, None
    for name, digest, size, mtime, method, moment, written_for in _rows(connection, sql):
        if name != path:
            path, wanted = name, (digest, size)
        told = written_for == home and method is not None and moment is not None and 0 <= moment < _LATEST
        if wanted == (digest, size) and told and names.below(name):
            yield Proven(name, digest, size, mtime, method, 1000 * moment)
            wanted = None


def strays(connection: duckdb.DuckDBPyConnection, manifests: Manifests) -> Iterator[Stray]:
    """Whatever is no folder and that no row accounts for, in order of root and path.

    A file at a path whose rows all failed is a stray too: nothing proves it. Our own `.ingest` is left out.

    Args:
        connection: from :func:`ingest.manifest.sandbox.sandbox`; it serves nothing else until the end.
        manifests: whose rows to read, and whose roots to walk.
    """
    connection.execute("CREATE TEMP TABLE found (root INTEGER, name BLOB, reason VARCHAR)")
    for table in _tables(manifests.roots):
        connection.register("_some", table)
        connection.execute("INSERT INTO found SELECT * FROM _some")
        connection.unregister("_some")
    connection.register("_rows", Rows(manifests, _NAMES))
    sql = f"""
        SELECT found.root, found.name, found.reason FROM found
        ANTI JOIN (SELECT _root, {names.NAME_SQL} AS name FROM _rows WHERE {STANDING}) AS named
            ON found.root = named._root AND found.name = named.name
        ORDER BY found.root, found.name"""  # noqa: S608 - constants of this program
    for root, name, reason in _rows(connection, sql):
        yield Stray(root, name, reason)


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[tuple[Any, ...]]:
    try:
        for batch in connection.sql(sql).to_arrow_reader(_BATCH):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    except (duckdb.Error, pa.ArrowException) as error:
        raise IngestError(
            f"the manifests cannot be read: {str(error).strip().splitlines()[0]}", operation="read",
            advice="See that the root is mounted, and that the folder for temporary files (TMPDIR) has room",
        ) from error  # fmt: skip


def _tables(roots: Sequence[Root]) -> Iterator[pa.Table]:
    rows: list[tuple[int, bytes, str]] = []
    for index, root in enumerate(roots):
        for name, reason in walk(root):
            rows.append((index, name, reason))
            if len(rows) == _BATCH:
                yield _table(rows)
                rows = []
    yield _table(rows)


def _table(rows: list[tuple[int, bytes, str]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, _FOUND, strict=True)], schema=_FOUND
    )


def walk(root: Root) -> Iterator[tuple[bytes, str]]:
    """Every name below a root that is no folder, and every folder that cannot be listed, with the reason.

    Symbolic links are names like others; another file system that is mounted below is such a folder.
    """
    pending = [b""]
    while pending:
        folder = pending.pop()
        prefix = folder + b"/" if folder else b""
        try:
            descriptor = root.open_folder(folder)
            try:
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        name = prefix + os.fsencode(entry.name)
                        if name == INTERNAL:
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(name)
                        else:
                            yield name, ""
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            # It went away after its parent was listed; the root itself is checked by whoever walks it.
            continue
        except OSError as error:
            yield folder, f"the folder cannot be listed: {os.strerror(error.errno or 0)}"
