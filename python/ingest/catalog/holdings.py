"""What a root is known to hold: roots by their marker, locations by path. Rows of the database, no files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from ingest.db.schema import locations, roots, session_roots, sessions, signed, unsigned
from ingest.model.states import CLOSED, SessionState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Select


# What `locations.managed` says where a look found something else, or nothing: nothing is known of the path but that.
_DAMAGED: Final = 2
# No file has this path: such a note speaks of all of a root, as far as nothing was proven there since.
_EVERYTHING: Final = b""


@dataclass(frozen=True, slots=True)
class Location:
    """Verified bytes at a path of a root. `mtime_ns` is what the file there had when it was published."""

    path: bytes
    blake3: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class KnownRoot:
    """What is known of a root without looking at its disk; times in nanoseconds since the epoch.

    Attributes:
        path: where it was last seen.
        last_verified: when `ingest verify` last found every file of it as recorded, None if it never did.
    """

    key: int
    uuid: str
    path: bytes
    fs_uuid: str | None
    first_seen: int
    last_seen: int
    last_verified: int | None


def remember_root(connection: Connection, uuid: str, path: bytes, fs_uuid: str | None) -> int:
    """The key of a root, which is now mounted at this path."""
    now = time.time_ns()
    new = key_of_root(connection, uuid) is None
    row = insert(roots).values(uuid=uuid, path=path, fs_uuid=fs_uuid, first_seen=now, last_seen=now)
    again = {"path": path, "last_seen": now, "fs_uuid": fs_uuid, "forgotten": None}
    connection.execute(row.on_conflict_do_update(index_elements=["uuid"], set_=again))
    key = int(connection.scalar(select(roots.c.key).where(roots.c.uuid == uuid)) or 0)
    if new:
        _doubt(connection, key, now)
    return key


def restore_root(connection: Connection, known: KnownRoot) -> None:
    """Know a root again, as it was known to another journal; nothing if it is known already."""
    columns = ("uuid", "path", "fs_uuid", "first_seen", "last_seen", "last_verified")
    row = insert(roots).values({name: getattr(known, name) for name in columns})
    if connection.execute(row.on_conflict_do_nothing(index_elements=["uuid"])).rowcount:
        _doubt(connection, key_of_root(connection, known.uuid) or 0, time.time_ns())


def roots_known_at(connection: Connection, path: bytes) -> list[str]:
    """The markers' UUIDs that were last seen at a path, newest first."""
    query = select(roots.c.uuid).where(roots.c.path == path, roots.c.forgotten.is_(None))
    return list(connection.scalars(query.order_by(roots.c.last_seen.desc())))


def known_roots(connection: Connection) -> list[KnownRoot]:
    """Every root that is known, in the order in which they were met."""
    columns = (roots.c[column] for column in KnownRoot.__slots__)
    query = select(*columns).where(roots.c.forgotten.is_(None)).order_by(roots.c.key)
    return [KnownRoot(*row) for row in connection.execute(query)]


def all_roots(connection: Connection) -> list[tuple[str, bytes]]:
    """Every root that is known: its UUID, and where it was last seen."""
    return [(root.uuid, root.path) for root in known_roots(connection)]


def key_of_root(connection: Connection, uuid: str) -> int | None:
    """The key of a root that is known already."""
    return connection.scalar(select(roots.c.key).where(roots.c.uuid == uuid))


def sessions_at(connection: Connection, root: int) -> list[int]:
    """The keys of the sessions that have a root as a destination, oldest first."""
    query = select(session_roots.c.session).where(session_roots.c.root == root).order_by(session_roots.c.session)
    return list(connection.scalars(query))


def number_in(connection: Connection, session: int, root: int) -> int:
    """The number that a root has in a session that has it as a destination."""
    query = select(session_roots.c.number).where(session_roots.c.session == session, session_roots.c.root == root)
    return int(connection.execute(query).scalar_one())


def last_device(connection: Connection, root: int) -> int | None:
    """The device number (st_dev) that a root had in the newest session that used it."""
    query = select(session_roots.c.device).where(session_roots.c.root == root)
    device = connection.scalar(query.order_by(session_roots.c.session.desc()).limit(1))
    return None if device is None else unsigned(device)


def holds(connection: Connection, root: int) -> tuple[int, int | None]:
    """How many managed files a root holds, and when the last of them was proven."""
    query = select(func.count(), func.max(locations.c.verified_at, type_=BigInteger())).where(
        locations.c.root == root, locations.c.managed == 1
    )
    files, last = connection.execute(query).one()
    return files, last


def move_root(connection: Connection, root: int, path: bytes, *, fs_uuid: str | None, device: int, inode: int) -> int:
    """Write down that a root is mounted elsewhere now, also for the sessions that can still go on there; how many.

    Whoever calls this has seen the root's own marker there, and that no process works on these sessions.

    Args:
        fs_uuid, device, inode: of the folder at the new path, as it is now.
    """
    values = {"path": path, "fs_uuid": fs_uuid, "last_seen": time.time_ns(), "forgotten": None}
    connection.execute(update(roots).where(roots.c.key == root).values(**values))
    over = [str(state) for state in CLOSED - {SessionState.COMPLETED_WITH_ERRORS}]
    waiting = select(sessions.c.key).where(sessions.c.state.not_in(over))
    moved = update(session_roots).where(session_roots.c.root == root, session_roots.c.session.in_(waiting))
    return connection.execute(moved.values(path=path, device=signed(device), inode=signed(inode))).rowcount


def forget_locations(connection: Connection, root: int) -> None:
    """Know nothing any more of what a root holds."""
    connection.execute(delete(locations).where(locations.c.root == root))


def forget_root(connection: Connection, root: int) -> None:
    """Know a root no more, nor what it holds. Its sessions stay, and remember it when they are taken up again."""
    forget_locations(connection, root)
    connection.execute(update(roots).where(roots.c.key == root).values(forgotten=time.time_ns()))


def note_verified(connection: Connection, uuid: str, moment: int) -> None:
    """Every file of a root was found as recorded, by a look that began at this moment; nothing if it is not known."""
    connection.execute(update(roots).where(roots.c.uuid == uuid).values(last_verified=moment))


_KNOWN = select(locations.c.path, locations.c.blake3, locations.c.size, locations.c.mtime_ns).where(
    locations.c.root == bindparam("key"), locations.c.path.in_(bindparam("paths", expanding=True))
)
_MANAGED = _KNOWN.where(locations.c.managed == 1)


def managed_at(connection: Connection, root: int, paths: Sequence[bytes]) -> dict[bytes, Location]:
    """The managed, verified locations among these paths of a root."""
    return _at(connection, _MANAGED, root, paths)


def known_at(connection: Connection, root: int | None, paths: Sequence[bytes]) -> dict[bytes, Location]:
    """Whatever is known of these paths of a root (None: one that is not known).

    A path that was found damaged has no digest (empty), nor has one of which it is not known any more whether it was.
    """
    doubtful = {path: Location(path, b"", 0, 0) for path in paths}
    if root is None:
        return doubtful if notes_lost(connection) else {}
    everything = (locations.c.root == root) & (locations.c.path == _EVERYTHING)
    since = connection.scalar(select(locations.c.verified_at).where(everything))
    if since is None:
        return _at(connection, _KNOWN, root, paths)
    return doubtful | _at(connection, _KNOWN.where(locations.c.verified_at > since), root, paths)


def lose_notes(connection: Connection) -> None:
    """What was found damaged before is not known any more: it may be anything on a root that is met from now on."""
    connection.exec_driver_sql("PRAGMA user_version = 1")


def notes_lost(connection: Connection) -> bool:
    """Whether `lose_notes` was said of this journal."""
    return bool(connection.exec_driver_sql("PRAGMA user_version").scalar())


def _doubt(connection: Connection, root: int, moment: int) -> None:
    """A root is met: where notes were lost, all of it may be damaged, until it is found whole."""
    if notes_lost(connection):
        note_damaged(connection, root, [_EVERYTHING], moment)


def _at(
    connection: Connection, query: Select[tuple[bytes, bytes, int, int]], root: int, paths: Sequence[bytes]
) -> dict[bytes, Location]:
    found: dict[bytes, Location] = {}
    for start in range(0, len(paths), 500):  # SQLite binds at most 32,766 values; 500 keeps statements cached
        for row in connection.execute(query, {"key": root, "paths": list(paths[start : start + 500])}):
            found[row.path] = Location(row.path, row.blake3, row.size, row.mtime_ns)
    return found


_DAMAGE = f"""
    INSERT INTO locations (root, path, blake3, size, mtime_ns, managed, verify_method, verified_at, session, item)
    VALUES (?, ?, x'', 0, 0, {_DAMAGED}, '', ?, 0, 0) ON CONFLICT (root, path) DO UPDATE SET
        blake3 = excluded.blake3, managed = excluded.managed, verified_at = excluded.verified_at
        WHERE locations.verified_at <= excluded.verified_at"""  # noqa: S608 - a constant of this program


def note_damaged(connection: Connection, root: int, paths: Iterable[bytes], moment: int) -> None:
    """What was proven at these paths before this moment is not there, or not as it was: it is known no more.

    That is kept, so that manifests do not teach it anew; what is proven there later takes its place.
    """
    if rows := [(root, path, moment) for path in paths]:
        connection.exec_driver_sql(_DAMAGE, rows)


def lift_damage(connection: Connection, root: int, moment: int) -> None:
    """Every file of a root was found as recorded, by a look that began at this moment: what was damaged is mended."""
    mended = (locations.c.root == root) & (locations.c.managed == _DAMAGED) & (locations.c.verified_at <= moment)
    connection.execute(delete(locations).where(mended))


_PUT = insert(locations)
_PUT = _PUT.on_conflict_do_update(
    index_elements=["root", "path"],
    set_={column: _PUT.excluded[column] for column in locations.c.keys() if column not in ("root", "path")},  # noqa: SIM118 - a column collection
)


def put_locations(connection: Connection, rows: list[dict[str, object]]) -> None:
    """Record locations (columns of the table), replacing what was recorded for their paths."""
    if rows:
        connection.execute(_PUT, rows)


# Raw, since archives hold millions. A session of 0 is none of this journal's.
_ADD = """
    INSERT INTO locations (root, path, blake3, size, mtime_ns, managed, verify_method, verified_at, session, item)
    VALUES (?, ?, ?, ?, ?, 1, ?, ?, 0, 0) ON CONFLICT (root, path) DO UPDATE SET
        blake3 = excluded.blake3, size = excluded.size, mtime_ns = excluded.mtime_ns, managed = 1,
        verify_method = excluded.verify_method, verified_at = excluded.verified_at, session = 0, item = 0
        WHERE excluded.verified_at > locations.verified_at"""


def add_locations(connection: Connection, root: int, proven: Iterable[tuple[bytes, bytes, int, int, str, int]]) -> int:
    """Record what other sessions than this journal's have proven to be on a root; how much of it was not known, or older.

    Args:
        proven: path, BLAKE3, size, mtime (ns), verify method, and when it was proven (ns). What is recorded for a path
            already stays, unless it was proven earlier.
    """
    rows = [(root, *row) for row in proven]
    return connection.exec_driver_sql(_ADD, rows).rowcount if rows else 0
