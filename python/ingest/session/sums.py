"""What sum files on the card say of its files, and whether it is what was read: rows of the journal, joined.

A list is found by the scan, read before anything is copied, and judged whenever somebody asks, by one pass over what
it says. A digest is `matched` or `differing` where its item arrived and was read with that algorithm; all others are
`unchecked`: the item did not arrive, or is a duplicate that was compared by its BLAKE3 alone. Memory does not grow
with the number of entries.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import and_, bindparam, case, delete, func, or_, select, update
from sqlalchemy.dialects import sqlite

from ingest.db.schema import copies, digests, items, lists, sums
from ingest.model.digests import ALGORITHMS
from ingest.model.session import Difference, ListReport, SumsReport
from ingest.model.states import ARRIVED, ItemState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Select

    from ingest.db.engine import Database
    from ingest.model.session import SourceFacts
    from ingest.session.journal import Journal

# Lists that a report names, the worst first, and differing files over all of them.
LISTS_SHOWN: Final = 1000
DIFFERENCES_SHOWN: Final = 100

_HERE = and_(sums.c.session == items.c.session, sums.c.item == items.c.item)
_BLAKE3 = (
    select(copies.c.blake3)
    .where(copies.c.session == sums.c.session, copies.c.item == sums.c.item, copies.c.state.in_(sorted(map(str, ARRIVED))))
    .limit(1)
    .scalar_subquery()
)  # fmt: skip
_READ = case((sums.c.algorithm == "blake3", _BLAKE3), *((sums.c.algorithm == n, digests.c[n]) for n in ALGORITHMS))
_CAME = items.c.state.in_([str(ItemState.FINALIZED), str(ItemState.DUPLICATE)])
_MATCHES = and_(_CAME, sums.c.digest == _READ)
# A file of another length is another file, whatever it was hashed with.
_DIFFERS = and_(_CAME, or_(
    func.coalesce(sums.c.digest != _READ, False), and_(_READ.is_(None), func.coalesce(sums.c.size != items.c.size, False))
))  # fmt: skip
_JOINED = sums.join(items, _HERE).outerjoin(
    digests, and_(digests.c.session == sums.c.session, digests.c.item == sums.c.item)
)


Said: TypeAlias = "tuple[int, int, str, bytes, int | None]"
"""A row of `sums` without its session: item, list, algorithm, digest, size."""

# Tuples, as in columns.py: a list may have half a million entries.
_PUT: Final = str(
    sums.insert().prefix_with("OR IGNORE").compile(
        dialect=sqlite.dialect(paramstyle="qmark"), column_keys=["session", "item", "list", "algorithm", "digest", "size"]
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
        """Write down what lists say, and which of them are read to their end: None for one that turned out to be none."""
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


def differs(journal: Journal) -> bool:
    """Whether a file that arrived is not what a list says of it."""
    query = select(sums.c.item).select_from(_JOINED).where(sums.c.session == journal.key, _DIFFERS).limit(1)
    with journal.database.read() as connection:
        return connection.scalar(query) is not None


def sums_report(journal: Journal, sources: Sequence[SourceFacts]) -> SumsReport:
    """What the lists of a session came to."""
    total = SumsReport()
    worst: list[tuple[tuple[int, int, int, int], Any]] = []
    with journal.database.read() as connection:
        for row in connection.execute(_per_list(journal.key)):
            total.lists += 1
            total.entries += row.entries or 0
            total.matched += row.matched
            total.differing += row.differing
            total.missing += row.missing
            total.unchecked += row.unchecked
            total.problems += row.problems
            heavy = ((row.differing, row.missing, row.problems, -row.item), row)
            if len(worst) < LISTS_SHOWN:
                heapq.heappush(worst, heavy)
            elif heavy > worst[0]:
                heapq.heapreplace(worst, heavy)
    named = _differences(journal, sources) if total.differing else {}
    total.each = tuple(
        ListReport(
            path=_absolute(sources, row.source, row.path), kind=row.kind, entries=row.entries or 0, matched=row.matched,
            differing=tuple(named.get(row.item, ())), differing_total=row.differing, missing=row.missing,
            first_missing=row.first_missing, unchecked=row.unchecked, problems=row.problems, problem=row.problem,
        )
        for _, row in sorted(worst, reverse=True)
    )  # fmt: skip
    return total


def _absolute(sources: Sequence[SourceFacts], source: int, path: bytes) -> bytes:
    return sources[source].path.rstrip(b"/") + b"/" + path


def _per_list(key: int) -> Select[Any]:
    """A row for each list, with its counts."""
    counted = (
        select(
            sums.c.list, func.sum(case((_MATCHES, 1), else_=0)).label("matched"),
            func.sum(case((_DIFFERS, 1), else_=0)).label("differing"), func.count().label("stored"),
        )
        .select_from(_JOINED)
        .where(sums.c.session == key)
        .group_by(sums.c.list)
        .subquery()
    )  # fmt: skip
    matched, differing = func.coalesce(counted.c.matched, 0), func.coalesce(counted.c.differing, 0)
    return (
        select(
            lists.c.item, lists.c.kind, lists.c.entries, lists.c.missing, lists.c.first_missing, lists.c.problems,
            lists.c.problem, items.c.source, items.c.path, matched.label("matched"), differing.label("differing"),
            (func.coalesce(counted.c.stored, 0) - matched - differing + lists.c.aside).label("unchecked"),
        )
        .select_from(
            lists.join(items, and_(items.c.session == lists.c.session, items.c.item == lists.c.item))
            .outerjoin(counted, counted.c.list == lists.c.item)
        )
        .where(lists.c.session == key)
    )  # fmt: skip


def _differences(journal: Journal, sources: Sequence[SourceFacts]) -> dict[int, list[Difference]]:
    """The first files that differ, by list."""
    query = (
        select(sums.c.list, items.c.source, items.c.path, sums.c.algorithm, sums.c.digest, _READ.label("read"))
        .select_from(_JOINED)
        .where(sums.c.session == journal.key, _DIFFERS)
        .limit(DIFFERENCES_SHOWN)
    )
    found: dict[int, list[Difference]] = {}
    with journal.database.read() as connection:
        for row in connection.execute(query):
            path = _absolute(sources, row.source, row.path)
            found.setdefault(row.list, []).append(Difference(path, row.algorithm, row.digest, row.read))
    return found
