"""The chronicle of a session: what happened, in order, durable with what it was about.

Promises: events are written in the transactions of the session itself, by whoever writes those; none is changed or
removed afterwards. Few: never one for a file to which nothing happened, and no more than :data:`MOST` for a session,
whatever befalls it: of setbacks, failures and warnings at most :data:`DETAILS` are kept, so that there is room for how the session
went on; how many more there were is said by the last row. Not promised: events of the last moment before a kill.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import Integer, func, select
from sqlalchemy.dialects.sqlite import insert

from ingest.db.schema import events
from ingest.model.event import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from ingest.db.engine import Database

# Rows of one session: details, and all together. The row behind the last says how many more there were.
DETAILS: Final = 1000
MOST: Final = 2000
# A sentence is cut here: it may name a path.
_LONGEST: Final = 1000

_DETAIL: Final = frozenset({EventKind.SETBACK, EventKind.FAILURE, EventKind.WORKER, EventKind.WARNING})
_PUT = insert(events)
_PUT_DROPPED = insert(events)
_PUT_DROPPED = _PUT_DROPPED.on_conflict_do_update(
    index_elements=["session", "number"],
    set_={"dropped": events.c.dropped + _PUT_DROPPED.excluded.dropped, "at": _PUT_DROPPED.excluded.at},
)


@dataclass(frozen=True, slots=True)
class Written:
    """How much of what was noted a transaction holds: the first so many events, and how many that were dropped."""

    events: int = 0
    dropped: int = 0


class Chronicle:
    """Notes what happens in one run of a session; `write` and then `settle` make it durable."""

    def __init__(self, key: int = 0, run: int = 1, tell: Callable[[Event], None] | None = None) -> None:
        """Of the session with this key; `tell` hears of every event at once, also of those that are not kept."""
        self._key = key
        self._run = run
        self._tell = tell
        self._noted: list[Event] = []
        self._details = 0
        self._dropped = 0

    def note(
        self,
        kind: EventKind,
        told: str,
        *,
        root: int | None = None,
        item: int | None = None,
        path: bytes | None = None,
        operation: str | None = None,
        errno: int = 0,
    ) -> None:
        """Something happened. A warning that only says again what has just been noted is no event of its own."""
        if kind is EventKind.WARNING and self._noted and self._noted[-1].told == told[:_LONGEST]:
            return
        event = Event(kind, time.time_ns(), self._run, told[:_LONGEST], root, item, path, operation, errno)
        detail = kind in _DETAIL
        # Details that have not been written yet must leave room for how it ends.
        if len(self._noted) < MOST and not (detail and self._details >= DETAILS):
            self._noted.append(event)
            self._details += detail
        else:
            self._dropped += 1
        if self._tell is not None:
            self._tell(event)

    def leave_off(self) -> Chronicle:
        """Tell nobody any more; who takes over, with what was noted here and is not written."""
        heir = Chronicle(self._key, self._run, self._tell)
        heir._noted, heir._details, heir._dropped = list(self._noted), self._details, self._dropped
        self._tell = None
        return heir

    @property
    def pending(self) -> bool:
        """Something was noted that is not written yet."""
        return bool(self._noted or self._dropped)

    def write(self, connection: Connection) -> Written:
        """Write down what was noted since the last time, in somebody's transaction; how much, for `settle`."""
        noted, told = list(self._noted), self._dropped
        if not noted and not told:
            return Written()
        number, details = self._count(connection)
        rows: list[dict[str, object]] = []
        dropped = told
        for event in noted:
            detail = event.kind in _DETAIL
            if number >= MOST or (detail and details >= DETAILS):
                dropped += 1
                continue
            number, details = number + 1, details + detail
            rows.append(
                {"session": self._key, "number": number, "at": event.at_ns, "run": event.run, "kind": str(event.kind),
                 "told": event.told, "root": event.root, "item": event.item, "path": event.path,
                 "operation": event.operation, "errno": event.errno, "dropped": 0}
            )  # fmt: skip
        if rows:
            connection.execute(_PUT, rows)
        if dropped:
            connection.execute(_PUT_DROPPED, {
                "session": self._key, "number": MOST + 1, "at": time.time_ns(), "run": self._run,
                "kind": str(EventKind.DROPPED), "told": "", "errno": 0, "dropped": dropped,
            })  # fmt: skip
        return Written(len(noted), told)

    def settle(self, written: Written) -> None:
        """So much was written, and is committed; what was noted or dropped meanwhile is not."""
        self._details -= sum(event.kind in _DETAIL for event in self._noted[: written.events])
        del self._noted[: written.events]
        self._dropped -= written.dropped

    def _count(self, connection: Connection) -> tuple[int, int]:
        own = (events.c.session == self._key) & (events.c.number <= MOST)
        number = connection.scalar(select(func.max(events.c.number, type_=Integer())).where(own))
        detail = events.c.kind.in_([str(kind) for kind in _DETAIL])
        details = connection.scalar(select(func.count()).select_from(events).where(own, detail))
        return int(number or 0), int(details or 0)


def paused_roots(database: Database, key: int) -> frozenset[int]:
    """Roots of which the last that was told is that they were left out."""
    query = (
        select(events.c.root, events.c.kind)
        .where(events.c.session == key, events.c.kind.in_([str(EventKind.ROOT_PAUSED), str(EventKind.ROOT_BACK)]))
        .order_by(events.c.number)
    )
    with database.read() as connection:
        last = {row.root: row.kind for row in connection.execute(query)}
    return frozenset(root for root, kind in last.items() if kind == EventKind.ROOT_PAUSED)


def chronicle_of(database: Database, key: int) -> list[Event]:
    """All events of a session, in order; if there were more, the last says how many."""
    query = select(events).where(events.c.session == key).order_by(events.c.number)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [
        Event(
            EventKind(row.kind), row.at, row.run, row.told or f"{row.dropped:,} more events were not recorded",
            row.root, row.item, row.path, row.operation, row.errno,
        )
        for row in rows
    ]  # fmt: skip
