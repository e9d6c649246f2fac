"""Evidence: what archives' manifests say of files that are wanted, by content, for as many files as there are.

Promises: the latest row of a path speaks for it, an older one never; a row is one of a part that was read back and
checked. Files are put in and answers taken out in pages; what lies between is DuckDB's, which keeps to its limit of
memory and spills beyond it. The manifests are read twice (three times where nothing was hashed).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa

from ingest.errors import IngestError
from ingest.manifest import names
from ingest.manifest.reader import Rows
from ingest.manifest.schema import REPAIR
from ingest.manifest.views import LATEST_FIRST, STANDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.manifest.reader import Manifests

# Copies of one content that are looked at on one archive, the best first.
_HOLDERS: Final = 8
_BATCH: Final = 10_000
_NEEDED: Final = (
    "_root", "destination_root", "path", "path_raw", "source_path", "source_path_raw", "state", "item", "size", "mtime_ns", "blake3",
    "verify_method", "strategy", "operation", "started_at", "copied_at", "validated_at", "finalized_at", "_part", "_created",
)  # fmt: skip
_WANTED: Final[dict[str, pa.DataType]] = {
    "source": pa.int32(), "kin": pa.binary(), "number": pa.int64(), "path": pa.binary(), "place": pa.binary(),
    "size": pa.int64(), "mtime_ns": pa.int64(), "device": pa.uint64(), "inode": pa.uint64(), "ctime_ns": pa.int64(),
    "blake3": pa.binary(), "reason": pa.string(), "advice": pa.string(),
}  # fmt: skip

_STANDING: Final = (
    f"""(SELECT *, {names.NAME_SQL} AS name, CAST(blake3 AS BLOB) AS digest FROM _rows WHERE {STANDING})"""  # noqa: S608 - constants of this program
)
_RESOLVE: Final = f"""
    CREATE TEMP TABLE resolved AS
    SELECT told.place, told.size, told.mtime_ns, any_value(digest) AS digest, count(DISTINCT digest) AS contents FROM (
        SELECT coalesce(source_path_raw, encode(source_path)) AS place, size, mtime_ns, digest FROM {_STANDING}) AS told
    SEMI JOIN wanted ON told.place = wanted.place AND told.size = wanted.size AND told.mtime_ns = wanted.mtime_ns
    GROUP BY ALL"""  # noqa: S608 - as above
_APPLY: Final = """
    UPDATE wanted SET blake3 = CASE contents WHEN 1 THEN digest END,
        reason = CASE contents WHEN 1 THEN wanted.reason ELSE 'several contents were recorded under this name, size and time' END
    FROM resolved WHERE resolved.place = wanted.place AND resolved.size = wanted.size
        AND resolved.mtime_ns = wanted.mtime_ns"""
_NAMED: Final = f"""
    CREATE TEMP TABLE named AS SELECT DISTINCT _root, name FROM {_STANDING} AS told
    SEMI JOIN wanted ON told.digest = wanted.blake3"""  # noqa: S608 - as above
# A duplicate's row says nothing of how its file came to be: that is what any earlier row of the same bytes says.
_HELD: Final = f"""
    CREATE TEMP TABLE held AS
    SELECT _root, name, destination_root, digest, size, mtime_ns, state, verify_method,
        CASE WHEN operation = '{REPAIR}' THEN 'copy' WHEN linked THEN 'hardlink' WHEN cloned THEN 'reflink' ELSE 'copy' END
            AS strategy
    FROM (
        SELECT _root, name, destination_root, digest, size, mtime_ns, state, verify_method, operation,
            bool_or(coalesce(strategy, '') = 'hardlink') OVER same AS linked,
            bool_or(coalesce(strategy, '') = 'reflink' AND operation <> '{REPAIR}') OVER same AS cloned,
            row_number() OVER (PARTITION BY told._root, told.name ORDER BY {LATEST_FIRST}) AS place
        FROM {_STANDING} AS told SEMI JOIN named ON told._root = named._root AND told.name = named.name
        WINDOW same AS (PARTITION BY told._root, told.name, told.digest))
    WHERE place = 1"""  # noqa: S608 - as above
_ANSWERS: Final = f"""
    SELECT wanted.source, wanted.kin, wanted.number, wanted.path, wanted.size, wanted.mtime_ns, wanted.device, wanted.inode,
        wanted.ctime_ns, wanted.blake3, wanted.reason, wanted.advice,
        best._root, best.name, best.destination_root, best.mtime_ns, best.state, best.verify_method, best.strategy
    FROM wanted LEFT JOIN (
        SELECT held.* FROM held SEMI JOIN wanted ON held.digest = wanted.blake3 AND held.size = wanted.size
        QUALIFY row_number() OVER (PARTITION BY _root, digest ORDER BY strategy <> 'copy', state = 'duplicate',
            coalesce(verify_method, 'reread') = 'reread', name) <= {_HOLDERS}) AS best
    ON best.digest = wanted.blake3 AND best.size = wanted.size
    ORDER BY wanted.source, wanted.kin, wanted.number, best._root, best.name"""  # noqa: S608 - as above


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of a source that copies are looked for.

    Attributes:
        source: index of its source. kin: what it has in common with files that belong to it. number: within all that
            is wanted, or its item's. path: below the source. place: absolute, as the manifests would tell it.
        size, mtime_ns: bytes and ns. device, inode, ctime_ns: 0 where they are not known, or say nothing.
        blake3: None while it is not known. reason, advice: why nothing can be said of it, where that is so.
    """

    source: int
    kin: bytes
    number: int
    path: bytes
    place: bytes
    size: int
    mtime_ns: int
    device: int = 0
    inode: int = 0
    ctime_ns: int = 0
    blake3: bytes | None = None
    reason: str | None = None
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """A path of an archive that by its latest row has these bytes.

    Attributes:
        root: index of the archive. home: the UUID of the archive that its row was written for, which may be another one
            that this is a clone of. mtime_ns: the source's, as the row has it.
        duplicate: its last session found it there. verify_method: how it was read back when it was made, if it was.
        strategy: `copy`, `reflink` or `hardlink`.
    """

    root: int
    path: bytes
    home: str | None
    mtime_ns: int
    duplicate: bool
    verify_method: str | None
    strategy: str


class Evidence:
    """Files are added, resolved if need be, and answered. The connection serves nothing else meanwhile."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, manifests: Manifests) -> None:
        """A connection from :func:`ingest.manifest.sandbox.sandbox`, and manifests of parts that are believed."""
        self._connection = connection
        self._manifests = manifests
        self._schema = pa.schema(_WANTED)
        # Several threads, or rows kept in the order in which they came, do not spill what they hold: 60,000 files did not
        # fit in 48 MB; like this 300,000 do in 96.
        connection.execute("SET threads = 1")
        connection.execute("SET preserve_insertion_order = false")
        connection.register("_some", self._schema.empty_table())
        connection.execute("CREATE TEMP TABLE wanted AS SELECT * FROM _some")
        connection.unregister("_some")

    def add(self, page: Sequence[Wanted]) -> None:
        """Ask for these too.

        Raises:
            IngestError: there is no room for them.
        """
        columns = [pa.array([getattr(one, name) for one in page], kind) for name, kind in _WANTED.items()]
        self._connection.register("_some", pa.table(columns, schema=self._schema))
        try:
            self._do("INSERT INTO wanted SELECT * FROM _some")
        finally:
            self._connection.unregister("_some")

    def resolve(self) -> None:
        """Take for each file the content that was recorded for its place, size and time, without a look at it.

        Raises:
            IngestError: the manifests cannot be read.
        """
        self._read(_RESOLVE)
        self._do(_APPLY)

    def answers(self) -> Iterator[tuple[Wanted, list[Holding]]]:
        """Each file with the copies that are told of, in order of source, kin and number.

        Raises:
            IngestError: the manifests cannot be read.
        """
        self._read(_NAMED)
        self._read(_HELD)
        for _, rows in groupby(self._rows(), itemgetter(0, 2)):
            wanted, holdings = None, []
            for row in rows:
                source, kin, number, path, size, mtime, device, inode, ctime, blake3, reason, advice, *held = row
                wanted = Wanted(
                    source, kin, number, path, b"", size, mtime, device, inode, ctime, blake3, reason, advice
                )
                if held[0] is not None:
                    root, name, home, kept, state, method, strategy = held
                    holdings.append(Holding(root, name, home, kept, state == "duplicate", method, strategy))
            if wanted is not None:
                yield wanted, holdings

    def _read(self, sql: str) -> None:
        self._connection.register("_rows", Rows(self._manifests, _NEEDED))
        try:
            self._do(sql)
        finally:
            self._connection.unregister("_rows")

    def _do(self, sql: str) -> None:
        try:
            self._connection.execute(sql)
        except (duckdb.Error, pa.ArrowException) as error:
            raise _unreadable(error) from error

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        try:
            for batch in self._connection.sql(_ANSWERS).to_arrow_reader(_BATCH):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        except (duckdb.Error, pa.ArrowException) as error:
            raise _unreadable(error) from error


def _unreadable(error: Exception) -> IngestError:
    return IngestError(
        f"the manifests cannot be read: {str(error).strip().splitlines()[0]}", operation="read",
        advice="See that the archives are mounted, and that the folder for temporary files (TMPDIR) has room",
    )  # fmt: skip
