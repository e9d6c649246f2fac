"""Whether what sum files on the card say is what was read: joined whenever somebody asks, no verdict is stored.

A digest is `matched` or `differing` where its item arrived and was read with that algorithm; all others are
`unchecked`: the item did not arrive, or is a duplicate that was compared by its BLAKE3 alone. Memory does not grow
with the number of entries.
"""

from __future__ import annotations

import heapq
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, case, func, or_, select, tuple_

from ingest.db.schema import copies, digests, items, lists, sums
from ingest.model.digests import ALGORITHMS
from ingest.model.session import Difference, ListReport, SumsReport
from ingest.model.states import ARRIVED, ItemState
from ingest.session.rows import source_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Select

    from ingest.model.session import SourceFacts
    from ingest.session.journal import Journal

# Lists that a report names, the worst first, and differing files over all of them; `differences` has every one.
LISTS_SHOWN: Final = 1000
DIFFERENCES_SHOWN: Final = 100

_HERE = and_(sums.c.session == items.c.session, sums.c.item == items.c.item)
_BLAKE3 = (
    select(copies.c.blake3)
    .where(copies.c.session == sums.c.session, copies.c.item == sums.c.item)
    .where(copies.c.state.in_(sorted(map(str, ARRIVED))))
    .limit(1)
    .scalar_subquery()
)  # fmt: skip
_READ = case((sums.c.algorithm == "blake3", _BLAKE3), *((sums.c.algorithm == n, digests.c[n]) for n in ALGORITHMS))
_CAME = items.c.state.in_([str(ItemState.FINALIZED), str(ItemState.DUPLICATE)])
_MATCHES = and_(_CAME, sums.c.digest == _READ)
# A file of another length is another file, whatever it was hashed with.
_DIFFERS = and_(_CAME, or_(
    func.coalesce(sums.c.digest != _READ, False),
    and_(_READ.is_(None), func.coalesce(sums.c.size != items.c.size, False)),
))  # fmt: skip
_JOINED = sums.join(items, _HERE).outerjoin(
    digests, and_(digests.c.session == sums.c.session, digests.c.item == sums.c.item)
)


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
    # By the list's item: where one source lies in another, two items have one path.
    named: dict[int, list[Difference]] = {}
    if total.differing:
        for item, _, each in islice(_differing(journal, sources, DIFFERENCES_SHOWN), DIFFERENCES_SHOWN):
            named.setdefault(item, []).append(each)
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
    return source_of(sources, source).path.rstrip(b"/") + b"/" + path


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


def differences(
    journal: Journal, sources: Sequence[SourceFacts], page: int = 1000
) -> Iterator[tuple[bytes, Difference]]:
    """Every file that is not what a list says of it, with that list's absolute path; in order of items, by pages."""
    return ((listed, each) for _, listed, each in _differing(journal, sources, page))


def _differing(journal: Journal, sources: Sequence[SourceFacts], page: int) -> Iterator[tuple[int, bytes, Difference]]:
    """As `differences`, with the list's item before its path."""
    its = items.alias()
    place = (sums.c.item, sums.c.list, sums.c.algorithm)
    query = (
        select(
            *place, sums.c.digest, _READ.label("read"), items.c.source, items.c.path,
            its.c.source.label("list_source"), its.c.path.label("list_path"),
        )
        .select_from(_JOINED.join(its, and_(its.c.session == sums.c.session, its.c.item == sums.c.list)))
        .where(sums.c.session == journal.key, _DIFFERS)
        .order_by(*place)
        .limit(page)
    )  # fmt: skip
    after: Select[Any] = query
    while True:
        with journal.database.read() as connection:
            rows = connection.execute(after).all()
        for row in rows:
            listed = _absolute(sources, row.list_source, row.list_path)
            path = _absolute(sources, row.source, row.path)
            yield row.list, listed, Difference(path, row.algorithm, row.digest, row.read)
        if len(rows) < page:
            return
        last = rows[-1]
        after = query.where(tuple_(*place) > tuple_(last.item, last.list, last.algorithm))
