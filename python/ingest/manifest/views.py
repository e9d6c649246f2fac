"""The views that a query sees, and which row of a manifest is the latest.

For one path below one root the latest row of an arrived copy wins: by when it was finalized (else validated, else
when its session began), then by part, then by item. For one copy (session, item, root) the row in the latest part
wins: a resumed session tells a copy again. `_rows` are those of :mod:`ingest.manifest.reader`.
"""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from ingest.manifest import names
from ingest.manifest.reader import Rows
from ingest.manifest.schema import SCHEMA
from ingest.model.states import ARRIVED, RANK, ItemState

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from ingest.manifest.reader import Manifests

VIEWS: Final = (
    "copies", "latest", "items", "assets", "sessions", "failures", "duplicates", "throughput",
)  # fmt: skip


def _list(states: Iterable[ItemState]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


LATEST_FIRST: Final = """
    coalesce(epoch_us(coalesce(finalized_at, validated_at, copied_at, started_at)), _created) DESC, _part DESC, item DESC"""
STANDING: Final = f"state IN ({_list(ARRIVED)}) AND path IS NOT NULL"
"""Rows that say what bytes stand at a path."""

_WORDS: Final = {
    "columns": ", ".join(f'"{name}"' for name in SCHEMA.names),
    "name": names.NAME_SQL,
    "standing": STANDING,
    "latest_first": LATEST_FIRST,
    "quiet": _list(ARRIVED | {ItemState.EXCLUDED, ItemState.SKIPPED}),
    # A state that this program does not know counts as the worst.
    "rank": "CASE state {} ELSE -1 END".format(" ".join(f"WHEN '{each}' THEN {rank}" for each, rank in RANK.items())),
}

_DEFINITIONS: Final = {
    "copies": "SELECT $columns FROM _rows",
    "latest": """
        SELECT $columns FROM _rows WHERE $standing
        QUALIFY row_number() OVER (PARTITION BY _root, $name ORDER BY $latest_first) = 1""",
    "_newest": """
        SELECT $columns FROM _rows
        QUALIFY row_number() OVER (PARTITION BY session, item, destination_root ORDER BY _part DESC, $latest_first) = 1""",
    "items": """
        SELECT session, item, any_value(source_path) AS source_path, any_value(source_path_raw) AS source_path_raw,
            any_value(size) AS size, any_value(mtime_ns) AS mtime_ns, any_value(blake3_hex) AS blake3_hex,
            any_value(kind) AS kind, any_value("group") AS "group", any_value(camera) AS camera,
            any_value(capture_time) AS capture_time, arg_min(state, $rank) AS state,
            arg_min_null(reason, $rank) AS reason, count(*) AS copies
        FROM _newest GROUP BY session, item""",
    "assets": """
        SELECT here.blake3_hex, any_value(here.size) AS size, count(*) AS copies,
            count(DISTINCT here.destination_root) AS roots, any_value(seen.first_seen) AS first_seen,
            any_value(seen.last_verified) AS last_verified
        FROM latest AS here JOIN (
            SELECT blake3_hex, min(coalesce(finalized_at, validated_at)) AS first_seen,
                max(validated_at) AS last_verified
            FROM _rows WHERE $standing GROUP BY blake3_hex) AS seen USING (blake3_hex)
        GROUP BY here.blake3_hex""",
    "sessions": "SELECT * FROM _sessions",
    "failures": "SELECT * FROM _newest WHERE state NOT IN ($quiet)",
    "duplicates": "SELECT * FROM _newest WHERE state = 'duplicate'",
    "throughput": """
        SELECT session, destination_root AS destination, sum(size)::BIGINT AS bytes,
            (epoch_us(max(coalesce(finalized_at, validated_at))) - epoch_us(min(started_at))) / 1e6 AS seconds,
            bytes / 1e6 / nullif(seconds, 0) AS mb_per_s
        FROM _newest WHERE state = 'finalized' GROUP BY session, destination_root""",
}

_SESSIONS: Final = pa.schema(
    [
        pa.field("session", pa.string()),
        pa.field("root", pa.string()),
        pa.field("root_path", pa.string()),
        pa.field("state", pa.string()),
        pa.field("label", pa.string()),
        pa.field("profile", pa.string()),
        pa.field("sources", pa.list_(pa.string())),
        pa.field("options", pa.string()),
        pa.field("version", pa.string()),
        pa.field("host", pa.string()),
        pa.field("operator", pa.string()),
        pa.field("run", pa.int32()),
        pa.field("created", pa.timestamp("us", tz="UTC")),
        pa.field("parts", pa.int32()),
        pa.field("rows", pa.int64()),
        pa.field("counts", pa.map_(pa.string(), pa.int64())),
    ]
)


def create_views(connection: duckdb.DuckDBPyConnection, manifests: Manifests) -> None:
    """Register the rows and define the views over them."""
    connection.register("_rows", Rows(manifests))
    connection.register("_sessions", _sessions(manifests))
    for name, definition in _DEFINITIONS.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS {Template(definition).substitute(_WORDS)}")


def _sessions(manifests: Manifests) -> pa.Table:
    """One row for each session on each root, from its last part."""
    told: dict[tuple[int, str], dict[str, object]] = {}
    totals: dict[tuple[int, str], int] = {}
    for root, part in manifests.parts:
        facts = part.facts
        key = (root, facts.session)
        totals[key] = totals.get(key, 0) + part.rows
        told[key] = {
            "session": facts.session,
            "root": facts.root,
            "root_path": names.text(manifests.roots[root].path),
            "state": facts.state,
            "label": facts.label,
            "profile": facts.profile,
            "sources": [names.text(source.path) for source in facts.sources],
            "options": facts.options,
            "version": facts.version,
            "host": facts.host,
            "operator": facts.operator,
            "run": facts.run,
            "created": facts.created_ns // 1000,
            "parts": facts.number,
            "rows": totals[key],
            "counts": list(facts.counts.items()),
        }
    return pa.Table.from_pylist(list(told.values()), schema=_SESSIONS)
