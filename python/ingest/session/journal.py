"""The journal of one session: every item and copy, and how far each got, in the order that makes a crash safe.

Durable steps are `validated` (with final path, digest and size, before the name is given) and the ends; what lies
between lives in memory, and so does `planned`, unless an attempt came to nothing: an item without a row is planned.
Rows are written whole: the last one counts. Each method is one short transaction, or takes the connection of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Integer, and_, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from ingest.db.schema import (
    copies,
    digests,
    folders,
    items,
    lists,
    parts,
    session_roots,
    session_sources,
    sessions,
    sums,
)
from ingest.db.values import look_through, unlooked
from ingest.model.item import Folder
from ingest.model.states import ARRIVED, ItemState, SessionState
from ingest.session.columns import add_items
from ingest.session.digests import digests_of
from ingest.session.rows import COPY_FIELDS, copy_of, item_of, record_of, source_of
from ingest.session.tally import ITEM_COLUMNS, ITEMS, SIZES, Tally, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from ingest.model.digests import Digests
    from ingest.model.item import CopyRecord, Item
    from ingest.model.session import SourceFacts
    from ingest.session.rows import Copy, ItemRow


# Every item is read so, some more than once.
_PAGE = select(*map(unlooked, ITEM_COLUMNS))
_PUT_COPY = insert(copies)
_PUT_COPY = _PUT_COPY.on_conflict_do_update(
    index_elements=["session", "item", "root"],
    set_={name: _PUT_COPY.excluded[name] for name in COPY_FIELDS if name not in ("item", "root")},
)
_END_ITEM = (
    update(items)
    .where(items.c.session == bindparam("key"), items.c.item == bindparam("number"))
    .values(state=bindparam("new_state"), reason=bindparam("new_reason"), errno=bindparam("new_errno"))
)


@dataclass(frozen=True, slots=True)
class Part:
    """A manifest part that is durable: the run [first, last] of a root's sequence."""

    number: int
    path: bytes
    first: int
    last: int
    rows: int
    blake3: bytes


class Journal(Tally):
    """The rows of one session, and what they add up to."""

    # Scan

    def forget_scan(self) -> None:
        """Drop what an unfinished scan wrote, so that it can begin again."""
        with self.database.write() as connection:
            for table in (items, folders, lists, sums):
                connection.execute(delete(table).where(table.c.session == self.key))

    def add(self, found: Sequence[Item], places: Sequence[Folder]) -> None:
        """Write down what a scan found."""
        with self.database.write() as connection:
            add_items(connection, self.key, found)
            if places:
                connection.execute(insert(folders).on_conflict_do_nothing(), [
                    {"session": self.key, "source": f.source, "path": f.path, "mtime_ns": f.mtime_ns} for f in places
                ])  # fmt: skip

    def scanned(self, seconds: float, found: int) -> None:
        """The scan is whole; it took so long, and found so many items."""
        values = {"scanned": 1 + found, "seconds_scan": sessions.c.seconds_scan + seconds}
        with self.database.write() as connection:
            connection.execute(update(sessions).where(sessions.c.key == self.key).values(values))

    def choose_folder(self, source: int, folder: bytes) -> None:
        """The card folder of a source is decided."""
        with self.database.write() as connection:
            connection.execute(
                update(session_sources)
                .where(session_sources.c.session == self.key, session_sources.c.number == source)
                .values(folder=folder)
            )

    def note_digests(self, read: Sequence[tuple[Item, bytes]]) -> None:
        """Items were hashed before they were planned; their bytes count as read."""
        fresh = [(item, digest) for item, digest in read if item.blake3 is None]
        if not fresh:
            return
        note = (
            update(items)
            .where(items.c.session == self.key, items.c.item == bindparam("number"))
            .values(blake3=bindparam("digest"))
        )
        total = sessions.c.bytes_read + sum(item.size for item, _ in fresh)
        with self.database.write() as connection:
            connection.execute(note, [{"number": item.number, "digest": digest} for item, digest in fresh])
            connection.execute(update(sessions).where(sessions.c.key == self.key).values(bytes_read=total))

    # Reading

    def has_scan(self) -> bool:
        """Whether the scan was finished by an earlier run."""
        with self.database.read() as connection:
            return bool(connection.scalar(select(sessions.c.scanned).where(sessions.c.key == self.key)))

    def found(self) -> int | None:
        """How many items the scan found; None where it did not say (older versions, and of an empty card)."""
        with self.database.read() as connection:
            told = connection.scalar(select(sessions.c.scanned).where(sessions.c.key == self.key))
        return told - 1 if told is not None and told > 1 else None

    def items(self, *, source: int | None = None, page: int = 1000) -> Iterator[list[Item]]:
        """All items in order, in pages; of one source, if given."""
        for rows in self.pages(source=source, page=page):
            yield [item_of(row) for row in rows]

    def pages(self, *, source: int | None = None, page: int = 1000, after: int = 0) -> Iterator[list[ItemRow]]:
        """As `items`, as rows, from behind the item of this number."""
        last = after
        while True:
            query = _PAGE.where(items.c.session == self.key, items.c.item > last).order_by(items.c.item).limit(page)
            if source is not None:
                query = query.where(items.c.source == source)
            with self.database.read() as connection:
                rows: list[ItemRow] = list(connection.execute(query).all())
                look_through(ITEM_COLUMNS, rows)
            if not rows:
                return
            last = rows[-1][0]
            yield rows

    def weigh(self, source: int) -> tuple[int, int]:
        """How many items of a source have not ended, and their bytes."""
        query = select(func.count(), *SIZES).where(
            items.c.session == self.key, items.c.source == source, items.c.state == ItemState.DISCOVERED
        )
        with self.database.read() as connection:
            number, high, low = connection.execute(query).one()
            return int(number), whole(high, low)

    def likeness(self, source: int) -> str:
        """How many files a source was found with, and of which sizes and times in sum: the same for the same card.

        Of times (ns) counts what is left after a division by a prime: their sum would be no number for the database.
        """
        times = func.sum(items.c.mtime_ns % 1_000_000_007)
        query = select(func.count(), *SIZES, func.coalesce(times, 0)).where(
            items.c.session == self.key, items.c.source == source
        )
        with self.database.read() as connection:
            number, high, low, left = connection.execute(query).one()
            return f"{number}-{whole(high, low)}-{left}"

    def sample(self, source: int, size: int) -> list[Item]:
        """So many items of a source at most, spread over it; without what systems leave on every card."""
        own = (items.c.session == self.key) & (items.c.source == source) & (items.c.state != ItemState.EXCLUDED)
        with self.database.read() as connection:
            total = int(connection.scalar(select(func.count()).select_from(items).where(own)) or 0)
            step = max(1, total // size)
            rows = connection.execute(ITEMS.where(own, items.c.item % step == 0).limit(size)).all()
            rows = rows or connection.execute(ITEMS.where(own).limit(size)).all()
        return [item_of(row) for row in rows]

    def copies_of(self, first: int, last: int) -> dict[int, list[Copy]]:
        """The copies of a run of items, by item."""
        query = select(*(copies.c[name] for name in COPY_FIELDS)).where(
            copies.c.session == self.key, copies.c.item.between(first, last)
        )
        found: dict[int, list[Copy]] = {}
        with self.database.read() as connection:
            for row in connection.execute(query):
                found.setdefault(row.item, []).append(copy_of(row))
        return found

    def staged(self, root: int) -> set[bytes]:
        """Staging files of a root that are proven and wait for their names (as many as were on their way at once)."""
        query = select(copies.c.staging).where(
            copies.c.session == self.key, copies.c.root == root, copies.c.state == ItemState.VALIDATED
        )
        with self.database.read() as connection:
            return {staging for staging in connection.scalars(query) if staging is not None}

    def folders(self, page: int = 100) -> Iterator[list[Folder]]:
        """All folders, children before their parents, in pages."""
        with self.database.read() as connection:
            numbers = connection.scalars(
                select(session_sources.c.number).where(session_sources.c.session == self.key)
            ).all()
        for source in numbers:
            own = select(folders).where(folders.c.session == self.key, folders.c.source == source)
            query = own.order_by(folders.c.path.desc()).limit(page)
            while True:
                with self.database.read() as connection:
                    rows = connection.execute(query).all()
                if not rows:
                    break
                yield [Folder(row.source, row.path, row.mtime_ns) for row in rows]
                query = own.where(folders.c.path < rows[-1].path).order_by(folders.c.path.desc()).limit(page)

    # Copies

    def put(self, connection: Connection, changed: Iterable[Copy]) -> None:
        """Write down copies as they are now."""
        rows = [{"session": self.key, **{name: getattr(copy, name) for name in COPY_FIELDS}} for copy in changed]
        if rows:
            connection.execute(_PUT_COPY, rows)

    def end_items(self, connection: Connection, ended: Sequence[tuple[int, ItemState, str | None, int]]) -> None:
        """Items have ended: ``(number, state, reason, errno)``."""
        if ended:
            connection.execute(_END_ITEM, [
                {"key": self.key, "number": number, "new_state": state, "new_reason": reason, "new_errno": code}
                for number, state, reason, code in ended
            ])  # fmt: skip

    def root_state(self, root: int, state: SessionState) -> None:
        """How a destination stands in this session."""
        with self.database.write() as connection:
            connection.execute(
                update(session_roots)
                .where(session_roots.c.session == self.key, session_roots.c.number == root)
                .values(state=state)
            )

    def root_states(self) -> dict[int, SessionState]:
        """How each destination stood when this was last written down, by its number in the session."""
        query = select(session_roots.c.number, session_roots.c.state).where(session_roots.c.session == self.key)
        with self.database.read() as connection:
            return {number: SessionState(state) for number, state in connection.execute(query)}

    def reopen(self, seen: Sequence[tuple[int, int, int]]) -> None:
        """Give items that did not arrive another chance, as they are now: ``(item, size, mtime_ns)``.

        What their copies came to is forgotten, but for those that arrived.
        """
        lost = [str(state) for state in (ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED)]
        if not seen:
            return
        key = {"session_key": self.key}
        forget = delete(copies).where(
            copies.c.session == bindparam("session_key"), copies.c.item == bindparam("number"), copies.c.state.in_(lost)
        )
        renew = (
            update(items)
            .where(items.c.session == bindparam("session_key"), items.c.item == bindparam("number"))
            .values(
                state=ItemState.DISCOVERED,
                reason=None,
                errno=0,
                size=bindparam("new_size"),
                mtime_ns=bindparam("new_mtime"),
            )
        )
        with self.database.write() as connection:
            for number, _, _ in seen:
                connection.execute(forget, {**key, "number": number})
            connection.execute(
                renew, [{**key, "number": n, "new_size": size, "new_mtime": mtime} for n, size, mtime in seen]
            )

    def arrived_among(self, numbers: Sequence[int]) -> set[int]:
        """Which of these items have a copy that arrived."""
        found: set[int] = set()
        with self.database.read() as connection:
            for start in range(0, len(numbers), 500):
                query = select(copies.c.item).where(
                    copies.c.session == self.key, copies.c.item.in_(numbers[start : start + 500]),
                    copies.c.state.in_([str(state) for state in ARRIVED]),
                )  # fmt: skip
                found |= set(connection.scalars(query))
        return found

    def end_item(self, number: int, state: ItemState, reason: str | None, code: int = 0) -> None:
        """An item has ended before anything was done with it in this run; its missing copies follow it."""
        with self.database.write() as connection:
            self.end_items(connection, [(number, state, reason, code)])

    def last_item(self) -> int:
        """The highest item number, 0 for none."""
        with self.database.read() as connection:
            return int(
                connection.scalar(select(func.max(items.c.item, type_=Integer())).where(items.c.session == self.key))
                or 0
            )

    def known_paths(self, source: int, paths: Sequence[bytes]) -> set[bytes]:
        """Which of these paths of a source are items already."""
        found: set[bytes] = set()
        with self.database.read() as connection:
            for start in range(0, len(paths), 500):
                query = select(items.c.path).where(
                    items.c.session == self.key, items.c.source == source, items.c.path.in_(paths[start : start + 500])
                )
                found |= set(connection.scalars(query))
        return found

    def forget_item(self, number: int) -> None:
        """Drop an item in whose place others have come, and what its copies came to; as a sum file, what it said."""
        with self.database.write() as connection:
            for table in (copies, digests, sums, items):
                connection.execute(delete(table).where(table.c.session == self.key, table.c.item == number))
            a_list = connection.execute(delete(lists).where(lists.c.session == self.key, lists.c.item == number))
            if a_list.rowcount:
                connection.execute(delete(sums).where(sums.c.session == self.key, sums.c.list == number))

    # Manifest parts

    def digests(self, numbers: Sequence[int]) -> dict[int, Digests]:
        """What these items were read as besides their BLAKE3, where something is known."""
        return digests_of(self.database, self.key, numbers)

    def last_sequence(self, root: int) -> int:
        """The highest sequence number of a root's ended copies, 0 for none."""
        query = select(func.max(copies.c.sequence, type_=Integer())).where(
            copies.c.session == self.key, copies.c.root == root
        )
        # Copies that a retry has forgotten are still in a part: their numbers are not given again.
        told = select(func.max(parts.c.last, type_=Integer())).where(parts.c.session == self.key, parts.c.root == root)
        with self.database.read() as connection:
            return max(connection.scalar(query) or 0, connection.scalar(told) or 0)

    def parts(self, root: int) -> list[Part]:
        """The durable parts of a root, in order."""
        query = select(parts).where(parts.c.session == self.key, parts.c.root == root).order_by(parts.c.part)
        with self.database.read() as connection:
            return [Part(r.part, r.path, r.first, r.last, r.rows, r.blake3) for r in connection.execute(query)]

    def add_part(self, root: int, part: Part) -> None:
        """A part is durable on its root."""
        values = {"session": self.key, "root": root, "part": part.number, "path": part.path, "first": part.first,
                  "last": part.last, "rows": part.rows, "blake3": part.blake3}  # fmt: skip
        with self.database.write() as connection:
            connection.execute(parts.insert().values(values))

    def records(self, root: int, after: int, sources: Sequence[SourceFacts]) -> Iterator[list[tuple[int, CopyRecord]]]:
        """The ended copies of a root beyond a sequence number, with theirs, in that order, in pages of 1,000."""
        joined = copies.join(items, and_(items.c.session == copies.c.session, items.c.item == copies.c.item))
        query = (
            select(
                copies, items.c.path.label("source_path"), items.c.source, items.c.size, items.c.mtime_ns, items.c.kind
            )
            .select_from(joined)
            .where(copies.c.session == self.key, copies.c.root == root, copies.c.sequence > bindparam("after"))
            .order_by(copies.c.sequence)
            .limit(1000)
        )
        while True:
            with self.database.read() as connection:
                rows = connection.execute(query, {"after": after}).all()
            if not rows:
                return
            after = rows[-1].sequence
            yield [(row.sequence, record_of(row, source_of(sources, row.source).path)) for row in rows]
