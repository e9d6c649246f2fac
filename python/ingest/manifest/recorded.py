"""Rows looked up by path or content, and told again: what repair appends to an archive's record.

Promises: a row that is told again says everything that the one before it said of the file (digests, times, where it
came from), and of the act what is new; so the latest row of a path stays true. Memory holds the rows asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa

from ingest.errors import IngestError
from ingest.manifest import names
from ingest.manifest.reader import Rows
from ingest.manifest.schema import REPAIR, SCHEMA
from ingest.manifest.views import LATEST_FIRST, STANDING
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ingest.manifest.facts import PartFacts
    from ingest.manifest.reader import Manifests

# Copies of one content that are looked at on one archive: more are hardly there, and nobody reads them all.
_HOLDERS: Final = 8


@dataclass(frozen=True, slots=True)
class Recorded:
    """The latest row of a path.

    Attributes:
        path: below its root. size: bytes. mtime_ns: ns since the epoch. blake3: None if it was not noted.
        source_path: where it came from, absolute then. session: that wrote the row. reason: the row's, None for most.
        row: the row, as it stands there.
    """

    path: bytes
    size: int
    mtime_ns: int
    blake3: bytes | None
    source_path: bytes
    session: str
    reason: str | None
    row: pa.Table


@dataclass(frozen=True, slots=True)
class Act:
    """What was done with a file. Times are ns since the epoch.

    Attributes:
        item: its number in the session that did it. reason: why. verify_method: how the new file was read back.
        publish_method: how it got its name, None if that is not known any more. strategy: how its bytes came together.
        started_ns, built_ns, finalized_ns: when work on it began, when it was proven, when it had its name.
    """

    item: int
    reason: str
    verify_method: str
    publish_method: str | None
    strategy: str | None
    started_ns: int
    built_ns: int
    finalized_ns: int


def latest(
    connection: duckdb.DuckDBPyConnection, manifests: Manifests, paths: Iterable[bytes]
) -> dict[bytes, Recorded]:
    """The latest row of each of these paths that has one.

    Args:
        connection: from :func:`ingest.manifest.sandbox.sandbox`; it serves nothing else until the end.
        manifests: of one root.

    Raises:
        IngestError: the manifests cannot be read.
    """
    columns = ", ".join(f'"{name}"' for name in SCHEMA.names)
    sql = f"""
        SELECT {columns} FROM (SELECT *, {names.NAME_SQL} AS _name FROM _rows WHERE {STANDING})
        SEMI JOIN _wanted ON _name = _wanted.key
        QUALIFY row_number() OVER (PARTITION BY _name ORDER BY {LATEST_FIRST}) = 1
        ORDER BY _name"""  # noqa: S608 - constants of this program
    table = _asked(connection, manifests, sql, sorted(set(paths))).cast(SCHEMA)
    return {found.path: found for found in (_recorded(table.slice(at, 1)) for at in range(table.num_rows))}


def holders(
    connection: duckdb.DuckDBPyConnection, manifests: Manifests, digests: Iterable[bytes]
) -> dict[bytes, list[bytes]]:
    """Where a root has these contents, as its manifests tell it: by BLAKE3, some paths of each, in order.

    Args:
        connection: from :func:`ingest.manifest.sandbox.sandbox`; it serves nothing else until the end.
        manifests: of one root.

    Raises:
        IngestError: the manifests cannot be read.
    """
    sql = f"""
        SELECT DISTINCT CAST(blake3 AS BLOB) AS blake3, {names.NAME_SQL} AS name FROM _rows
        SEMI JOIN _wanted ON CAST(blake3 AS BLOB) = _wanted.key
        WHERE {STANDING} ORDER BY 1, 2"""  # noqa: S608 - constants of this program
    table = _asked(connection, manifests, sql, sorted(set(digests)))
    found: dict[bytes, list[bytes]] = {}
    pairs: list[tuple[bytes, bytes]] = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    for digest, name in pairs:
        if len(held := found.setdefault(digest, [])) < _HOLDERS:
            held.append(name)
    return found


def retold(recorded: Recorded, act: Act, facts: PartFacts, root_path: bytes) -> pa.Table:
    """The row that says what was done: one row of a part.

    Args:
        facts: of the part that it will be in. root_path: where the root is mounted now, absolute.
    """
    place = root_path.rstrip(b"/") + b"/" + recorded.path
    new: dict[str, object] = {
        "session": facts.session, "item": act.item, "destination_root": facts.root,
        "destination_path": names.text(place), "state": str(ItemState.FINALIZED), "reason": act.reason, "attempts": 1,
        "verify_method": act.verify_method, "publish_method": act.publish_method, "read_mode": None,
        "strategy": act.strategy, "worker": None, "group": None, "started_at": act.started_ns // 1000,
        "copied_at": act.built_ns // 1000, "validated_at": act.built_ns // 1000,
        "finalized_at": act.finalized_ns // 1000, "operation": REPAIR,
    }  # fmt: skip
    columns: list[Any] = [
        _one(new[field.name], field.type) if field.name in new else recorded.row[field.name].combine_chunks()
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def _one(value: object, kind: pa.DataType) -> pa.Array[Any]:
    if isinstance(kind, pa.TimestampType):
        return pa.array([value], pa.int64()).cast(kind)
    return pa.array([value], kind)


def _recorded(row: pa.Table) -> Recorded:
    def one(name: str) -> Any:
        return row[name][0].as_py()

    return Recorded(
        path=names.raw(one("path"), one("path_raw")),
        size=one("size"),
        mtime_ns=one("mtime_ns"),
        blake3=one("blake3"),
        source_path=names.raw(one("source_path"), one("source_path_raw")),
        session=one("session"),
        reason=one("reason"),
        row=row,
    )


def _asked(connection: duckdb.DuckDBPyConnection, manifests: Manifests, sql: str, keys: Sequence[bytes]) -> pa.Table:
    connection.register("_rows", Rows(manifests))
    connection.register("_wanted", pa.table({"key": pa.array(keys, pa.binary())}))
    try:
        table: pa.Table = connection.sql(sql).to_arrow_table()
        return table
    except (duckdb.Error, pa.ArrowException) as error:
        raise IngestError(
            f"the manifests cannot be read: {str(error).strip().splitlines()[0]}", operation="read",
            advice="See that the root is mounted, and that the folder for temporary files (TMPDIR) has room",
        ) from error  # fmt: skip
    finally:
        connection.unregister("_wanted")
        connection.unregister("_rows")
