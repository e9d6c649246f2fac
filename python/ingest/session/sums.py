"""What sum files on the card say of its files: rows of the journal.

A list is found by the scan, read before anything is copied, and judged whenever somebody asks
(:mod:`ingest.session.judged`). Memory does not grow with the number of entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from sqlalchemy import and_, bindparam, delete, select, update
from sqlalchemy.dialects import sqlite

from ingest.db.schema import items, lists, sums

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.db.engine import Database

Said: TypeAlias = "tuple[int, int, str, bytes, int | None]"
"""A row of `sums` without its session: item, list, algorithm, digest, size."""

# Tuples, as in columns.py: a list may have half a million entries.
_PUT: Final = str(
    sums.insert().prefix_with("OR IGNORE").compile(
        dialect=sqlite.dialect(paramstyle="qmark"),
        column_keys=["session", "item", "list", "algorithm", "digest", "size"],
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unread:
    """A list that was found, and not read yet."""

    item: int
    kind: str
    path: bytes
    size: int


@dataclass(slots=True)
class Contents:
    """What was found in a list.

    Attributes:
        entries: digests in all. missing: those of paths that are no item; first_missing: one of these paths.
        aside: those of paths below something that was left out. problems: what could not be understood; problem: the
            first.
    """

    entries: int = 0
    missing: int = 0
    first_missing: bytes | None = None
    aside: int = 0
    problems: int = 0
    problem: str | None = None

    def trouble(self, problem: str) -> None:
        """Something could not be understood."""
        self.problems += 1
        self.problem = self.problem or problem


class Sums:
    """The sum files of one session."""

    def __init__(self, database: Database, key: int) -> None:
        self._database = database
        self._key = key

    # Finding and reading

    def found(self, those: Sequence[tuple[int, str]]) -> None:
        """The scan found lists: ``(item, kind)``."""
        if those:
            rows = [{"session": self._key, "item": item, "kind": kind} for item, kind in those]
            with self._database.write() as connection:
                connection.execute(sqlite.insert(lists).on_conflict_do_nothing(), rows)

    def begin(self) -> None:
        """Drop what is stored of lists that were not read to their end."""
        unread = select(lists.c.item).where(lists.c.session == self._key, lists.c.entries.is_(None))
        with self._database.read() as connection:
            if connection.scalar(unread.limit(1)) is None:
                return
        with self._database.write() as connection:
            connection.execute(delete(sums).where(sums.c.session == self._key, sums.c.list.in_(unread)))

    def unread(self, source: int, page: int = 500) -> Iterator[Unread]:
        """The lists of a source that were not read yet, the newest generation of a history before the older ones."""
        query = (
            select(lists.c.item, lists.c.kind, items.c.path, items.c.size)
            .join(items, and_(items.c.session == lists.c.session, items.c.item == lists.c.item))
            .where(lists.c.session == self._key, lists.c.entries.is_(None), items.c.source == source)
            .where(lists.c.item < bindparam("last"))
            .order_by(lists.c.item.desc())
            .limit(page)
        )
        last = 1 << 62
        while True:
            with self._database.read() as connection:
                rows = [Unread(*row) for row in connection.execute(query, {"last": last})]
            if not rows:
                return
            yield from rows
            last = rows[-1].item

    def said(self, item_numbers: Sequence[int], one: int) -> dict[tuple[int, str], bytes]:
        """What a list says of these items, as far as it is stored: the digest by item and algorithm."""
        query = select(sums.c.item, sums.c.algorithm, sums.c.digest).where(
            sums.c.session == self._key, sums.c.item.in_(item_numbers), sums.c.list == one
        )
        with self._database.read() as connection:
            return {(item, algorithm): digest for item, algorithm, digest in connection.execute(query)}

    def newer(self, item_numbers: Sequence[int], one: Unread, source: int) -> set[int]:
        """The items among these of which a newer generation of the same history speaks."""
        folder = one.path.rpartition(b"/")[0]
        query = (
            select(sums.c.item)
            .distinct()
            .join(items, and_(items.c.session == sums.c.session, items.c.item == sums.c.list))
            .where(sums.c.session == self._key, sums.c.item.in_(item_numbers), sums.c.list > one.item)
            # Everything below a folder sorts between these: "0" comes after "/".
            .where(items.c.source == source, items.c.path > folder + b"/", items.c.path < folder + b"0")
        )
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def keep(self, rows: Sequence[Said], read: Sequence[tuple[int, Contents | None]]) -> None:
        """Write down what lists say, and which are read to their end: None for one that turned out to be none."""
        with self._database.write() as connection:
            if rows:
                connection.exec_driver_sql(_PUT, [(self._key, *row) for row in rows])
            for item, contents in read:
                own = and_(lists.c.session == self._key, lists.c.item == item)
                if contents is None:
                    connection.execute(delete(lists).where(own))
                    continue
                connection.execute(update(lists).where(own).values(
                    entries=contents.entries, missing=contents.missing, first_missing=contents.first_missing,
                    aside=contents.aside, problems=contents.problems, problem=contents.problem,
                ))  # fmt: skip

    def unreadable(self, item: int, problem: str) -> None:
        """A list could not be read to its end, and half of it says nothing; the next run of the session tries again."""
        own = and_(lists.c.session == self._key, lists.c.item == item)
        with self._database.write() as connection:
            connection.execute(delete(sums).where(sums.c.session == self._key, sums.c.list == item))
            connection.execute(update(lists).where(own).values(problems=1, problem=problem))

    def algorithms(self) -> tuple[str, ...]:
        """With what files have to be hashed so that the lists can be checked, besides BLAKE3."""
        query = select(sums.c.algorithm).distinct().where(sums.c.session == self._key, sums.c.algorithm != "blake3")
        with self._database.read() as connection:
            return tuple(sorted(connection.scalars(query)))
