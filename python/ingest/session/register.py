"""The register of sessions: opened, taken up, let go, listed. Rows of the database, no files."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from ingest.db.schema import items, roots, session_roots, session_sources, sessions, signed, unsigned
from ingest.errors import MissingError, UsageError
from ingest.model.session import RootFacts, SessionFacts, SourceFacts
from ingest.model.states import CLOSED, SessionState, advance
from ingest.session.hold import held, operator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from ingest.db.engine import Database
    from ingest.model.options import CopyOptions


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the register. `held`: some process works on it now."""

    id: str
    key: int
    state: SessionState
    run: int
    created_ns: int
    finished_ns: int | None
    exit_code: int | None
    problem: str | None
    held: bool
    sources: tuple[bytes, ...]
    roots: tuple[bytes, ...]

    @property
    def over(self) -> bool:
        """Nothing is left to do, unless somebody asks for it by name."""
        return not self.state.resumable

    @property
    def resumable(self) -> bool:
        """`ingest resume` takes it up without being told its name."""
        return self.state.resumable and not self.held


def open_session(
    database: Database,
    identity: str,
    options: CopyOptions,
    sources: Sequence[SourceFacts],
    destinations: Sequence[RootFacts],
    version: str,
) -> SessionFacts:
    """Write down a new session (`identity` is its UUID), which this process holds."""
    now = time.time_ns()
    host, who = socket.gethostname(), operator()
    # For eyes: the label itself, bytes and all, is in the options and with each source.
    label = None if options.label is None else os.fsencode(options.label).decode("utf-8", "backslashreplace")
    with database.write() as connection:
        values = {
            "id": identity, "state": SessionState.PENDING, "profile": options.profile, "label": label,
            "options": options.to_json(), "version": version, "host": host, "operator": who, "created_at": now,
            "run": 1, "owner_pid": os.getpid(),
        }  # fmt: skip
        connection.execute(sessions.insert().values(values))
        key = int(connection.scalar(select(sessions.c.key).where(sessions.c.id == identity)) or 0)
        connection.execute(session_sources.insert(), [
            {"session": key, "number": s.number, "path": s.path, "label": s.label, "single": s.single, "folder": s.folder,
             "device": signed(s.device), "inode": signed(s.inode), "fs_uuid": s.fs_uuid} for s in sources
        ])  # fmt: skip
        connection.execute(session_roots.insert(), [
            {"session": key, "number": r.number, "root": r.key, "path": r.path, "state": SessionState.PENDING,
             "device": signed(r.device), "inode": signed(r.inode)} for r in destinations
        ])  # fmt: skip
    return SessionFacts(identity, key, 1, options.to_json(), label, options.profile, version, host, who, now,
                        tuple(sources), tuple(destinations))  # fmt: skip


def take_up(database: Database, key: int, *, retry: bool) -> SessionFacts:
    """Begin another run of a session that this process holds. With `retry` also one that completed with errors.

    Raises:
        UsageError: it is over.
    """
    with database.write() as connection:
        row = connection.execute(select(sessions).where(sessions.c.key == key)).one()
        state = SessionState(row.state)
        if state in CLOSED and not (retry and state is SessionState.COMPLETED_WITH_ERRORS):
            raise UsageError(f"session {row.id} is {state}: there is nothing to resume", operation="resume",
                             advice="To bring home what is new, run ingest copy again")  # fmt: skip
        # From here on it is interrupted until it ends anew: a kill at any moment leaves it to be resumed.
        left = state if state.paused else advance(state, SessionState.INTERRUPTED)
        values = {"run": row.run + 1, "finished_at": None, "exit_code": None, "problem": None, "state": left,
                  "owner_pid": os.getpid()}  # fmt: skip
        connection.execute(update(sessions).where(sessions.c.key == key).values(**values))
        # What it works with is worth knowing again.
        used = select(session_roots.c.root).where(session_roots.c.session == key)
        connection.execute(update(roots).where(roots.c.key.in_(used)).values(forgotten=None))
        # What an earlier run read says nothing about what is there now.
        read = (items.c.session == key) & items.c.blake3.is_not(None)
        connection.execute(update(items).where(read).values(blake3=None))
    return session_facts(database, key)


def let_go(
    connection: Connection, key: int, state: SessionState, exit_code: int, problem: str | None, seconds: float
) -> None:
    """End this process's hold on a session, in its final state of this run, which took so many seconds."""
    values = {"state": state, "exit_code": exit_code, "problem": problem, "finished_at": time.time_ns(),
              "seconds_total": sessions.c.seconds_total + seconds}  # fmt: skip
    connection.execute(update(sessions).where(sessions.c.key == key).values(**values, owner_pid=None))


def move_session(connection: Connection, key: int, now: SessionState, then: SessionState) -> SessionState:
    """Take a legal step and write it down."""
    state = advance(now, then)
    connection.execute(update(sessions).where(sessions.c.key == key).values(state=state))
    return state


def session_facts(database: Database, key: int) -> SessionFacts:
    """The facts of a session, as they were written down."""
    with database.read() as connection:
        row = connection.execute(select(sessions).where(sessions.c.key == key)).one()
        sources = connection.execute(select(session_sources).where(session_sources.c.session == key).order_by("number"))
        places = connection.execute(
            select(session_roots, roots.c.uuid, roots.c.fs_uuid).join(roots, roots.c.key == session_roots.c.root)
            .where(session_roots.c.session == key).order_by("number")
        )  # fmt: skip
        return SessionFacts(
            row.id, key, row.run, row.options, row.label, row.profile, row.version, row.host, row.operator, row.created_at,
            tuple(SourceFacts(s.number, s.path, s.label, s.single, unsigned(s.device), unsigned(s.inode), s.fs_uuid, s.folder)
                  for s in sources),
            tuple(RootFacts(p.number, p.root, p.path, p.uuid, p.fs_uuid, unsigned(p.device), unsigned(p.inode)) for p in places),
        )  # fmt: skip


def register(database: Database) -> list[Entry]:
    """Every session, oldest first."""
    with database.read() as connection:
        rows = connection.execute(select(sessions).order_by(sessions.c.created_at, sessions.c.key)).all()
        sources = connection.execute(select(session_sources).order_by("number")).all()
        places = connection.execute(select(session_roots).order_by("number")).all()
    entries = []
    for row in rows:
        state, busy = SessionState(row.state), held(database.path.parent, row.id)
        if row.owner_pid is not None and not busy and state.resumable:
            state = SessionState.INTERRUPTED  # its process ended without a word: this is what it left
        entries.append(Entry(
            row.id, row.key, state, row.run, row.created_at, row.finished_at, row.exit_code, row.problem, busy,
            tuple(s.path for s in sources if s.session == row.key), tuple(p.path for p in places if p.session == row.key),
        ))  # fmt: skip
    return entries


def find(database: Database, prefix: str) -> Entry:
    """The session whose id begins so.

    Raises:
        MissingError: none does. UsageError: several do.
    """
    wanted = prefix.replace("-", "").lower()
    found = [entry for entry in register(database) if entry.id.replace("-", "").startswith(wanted)]
    if not found or not wanted:
        raise MissingError(f"no session {prefix!r}", operation="find", advice="List them with: ingest sessions")
    if len(found) > 1:
        raise UsageError(f"{len(found)} sessions begin with {prefix!r}", operation="find", advice="Give more of the id")
    return found[0]
