"""What a root is known to hold: roots by their marker, locations by path. Rows of the database, no files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.sqlite import insert

from ingest.db.schema import locations, roots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Location:
    """Verified bytes at a path of a root. `mtime_ns` is what the file there had when it was published."""

    path: bytes
    blake3: bytes
    size: int
    mtime_ns: int


def remember_root(connection: Connection, uuid: str, path: bytes, fs_uuid: str | None) -> int:
    """The key of a root, which is now mounted at this path."""
    now = time.time_ns()
    row = insert(roots).values(uuid=uuid, path=path, fs_uuid=fs_uuid, first_seen=now, last_seen=now)
    row = row.on_conflict_do_update(index_elements=["uuid"], set_={"path": path, "last_seen": now, "fs_uuid": fs_uuid})
    connection.execute(row)
    return int(connection.scalar(select(roots.c.key).where(roots.c.uuid == uuid)) or 0)


def roots_known_at(connection: Connection, path: bytes) -> list[str]:
    """The markers' UUIDs that were last seen at a path, newest first."""
    query = select(roots.c.uuid).where(roots.c.path == path).order_by(roots.c.last_seen.desc())
    return list(connection.scalars(query))


def all_roots(connection: Connection) -> list[tuple[str, bytes]]:
    """Every root that is known: its UUID, and where it was last seen."""
    return [
        (row.uuid, row.path) for row in connection.execute(select(roots.c.uuid, roots.c.path).order_by(roots.c.key))
    ]


def key_of_root(connection: Connection, uuid: str) -> int | None:
    """The key of a root that is known already."""
    return connection.scalar(select(roots.c.key).where(roots.c.uuid == uuid))


_BY_PATH = select(locations.c.path, locations.c.blake3, locations.c.size, locations.c.mtime_ns).where(
    locations.c.root == bindparam("key"),
    locations.c.managed == 1,
    locations.c.path.in_(bindparam("paths", expanding=True)),
)


def managed_at(connection: Connection, root: int, paths: Sequence[bytes]) -> dict[bytes, Location]:
    """The managed, verified locations among these paths of a root."""
    found: dict[bytes, Location] = {}
    for start in range(0, len(paths), 500):  # SQLite binds at most 32,766 values; 500 keeps statements cached
        for row in connection.execute(_BY_PATH, {"key": root, "paths": list(paths[start : start + 500])}):
            found[row.path] = Location(row.path, row.blake3, row.size, row.mtime_ns)
    return found


_PUT = insert(locations)
_PUT = _PUT.on_conflict_do_update(
    index_elements=["root", "path"],
    set_={column: _PUT.excluded[column] for column in locations.c.keys() if column not in ("root", "path")},  # noqa: SIM118 - a column collection
)


def put_locations(connection: Connection, rows: list[dict[str, object]]) -> None:
    """Record locations (columns of the table), replacing what was recorded for their paths."""
    if rows:
        connection.execute(_PUT, rows)
