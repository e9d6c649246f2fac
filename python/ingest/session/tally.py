"""The tally: what the rows of a session add up to. Counted when asked, never stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, func, select

from ingest.db.schema import copies, items
from ingest.model.states import ARRIVED, ENDED, RANK, ItemState
from ingest.session.rows import COPY_FIELDS, ITEM_FIELDS, copy_of, item_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.db.engine import Database
    from ingest.model.item import Item
    from ingest.session.rows import Copy

# Rows of items as `item_of` takes them.
ITEM_COLUMNS: Final = [items.c[name] for name in ITEM_FIELDS]
ITEMS: Final = select(*ITEM_COLUMNS)
# What items are long, in sum, in two halves: of sizes near 2^63 SQLite's own sum would be no number.
_HALF: Final = 32
SIZES: Final = tuple(
    func.coalesce(func.sum(half, type_=BigInteger()), 0)
    for half in (items.c.size.bitwise_rshift(_HALF), items.c.size.bitwise_and((1 << _HALF) - 1))
)
_TOLD: Final = ("state", "verify_method", "publish_method", "strategy")
_REST = tuple(str(state) for state in ItemState if state not in ENDED)


def whole(high: int, low: int) -> int:
    """The sum that `SIZES` tells in halves."""
    return (high << _HALF) + low


class Tally:
    """The counts of one session."""

    def __init__(self, database: Database, key: int) -> None:
        self.database = database
        self.key = key

    def count_items(self) -> dict[ItemState, tuple[int, int]]:
        """Items and bytes by state."""
        query = select(items.c.state, func.count(), *SIZES).where(items.c.session == self.key).group_by(items.c.state)
        with self.database.read() as connection:
            rows = connection.execute(query)
            return {ItemState(state): (count, whole(high, low)) for state, count, high, low in rows}

    def count_copies(self, root: int) -> dict[str, dict[str, int]]:
        """Copies of a root: by `state`; the finalized ones by `verify_method`, `publish_method` and `strategy`."""
        kinds = [copies.c[name] for name in _TOLD]
        # All at once: the rows are read in one pass, and there are a handful of combinations at most.
        query = (
            select(*kinds, func.count())
            .where(copies.c.session == self.key, copies.c.root == root)
            .group_by(*kinds)
        )  # fmt: skip
        counted: dict[str, dict[str, int]] = {name: {} for name in _TOLD}
        with self.database.read() as connection:
            for *values, number in connection.execute(query):
                told = zip(_TOLD, values, strict=True) if values[0] == ItemState.FINALIZED else [("state", values[0])]
                for name, value in told:
                    if value is not None:
                        counted[name][value] = counted[name].get(value, 0) + number
        return counted

    def ends(self) -> dict[tuple[ItemState, str | None, int], int]:
        """How the session's copies ended, and how many so: by state, reason and errno."""
        query = (
            select(copies.c.state, copies.c.reason, copies.c.errno, func.count())
            .where(copies.c.session == self.key)
            .group_by(copies.c.state, copies.c.reason, copies.c.errno)
        )
        with self.database.read() as connection:
            return {
                (ItemState(state), reason, code): number for state, reason, code, number in connection.execute(query)
            }

    def left_out(self) -> dict[str, int]:
        """Items that stayed behind by rule (`excluded`, `skipped`), by reason."""
        rules = [str(ItemState.EXCLUDED), str(ItemState.SKIPPED)]
        query = (
            select(items.c.reason, func.count())
            .where(items.c.session == self.key, items.c.state.in_(rules))
            .group_by(items.c.reason)
        )
        with self.database.read() as connection:
            return {reason or "": number for reason, number in connection.execute(query)}

    def unfinished(
        self, limit: int, states: Sequence[ItemState] | None = None, after: int = 0
    ) -> list[tuple[Item, Copy | None]]:
        """Items that did not arrive (or are in these states), the worst such copy of each with them where there is one.

        Args:
            after: only items with higher numbers.
        """
        wanted = [str(s) for s in states] if states else [
            str(s) for s in (ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED, ItemState.CANCELLED)
        ]  # fmt: skip
        own = (items.c.session == self.key) & (items.c.item > after)
        query = ITEMS.where(own, items.c.state.in_(wanted)).order_by(items.c.item).limit(limit)
        with self.database.read() as connection:
            found = [item_of(row) for row in connection.execute(query)]
            listed = select(*(copies.c[name] for name in COPY_FIELDS)).where(
                copies.c.session == self.key,
                copies.c.item.in_([item.number for item in found]),
                copies.c.state.not_in([str(state) for state in ARRIVED]),
            )
            worst: dict[int, Copy] = {}
            for copy in map(copy_of, connection.execute(listed)):
                other = worst.get(copy.item)
                if other is None or RANK[copy.state] < RANK[other.state]:
                    worst[copy.item] = copy
        return [(item, worst.get(item.number)) for item in found]

    def rest(self) -> int:
        """How many items have not ended."""
        query = select(func.count()).where(items.c.session == self.key, items.c.state.in_(_REST))
        with self.database.read() as connection:
            return int(connection.scalar(query) or 0)
