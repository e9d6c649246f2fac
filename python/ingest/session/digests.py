"""The journal's rows of what items were read as besides their BLAKE3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from sqlalchemy import select
from sqlalchemy.dialects import sqlite

from ingest.db.schema import digests
from ingest.model.digests import ALGORITHMS, DIGEST, Digests

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from ingest.db.engine import Database
    from ingest.engine import Staged

DigestRow: TypeAlias = "tuple[int, bytes | None, *tuple[bytes | None, ...]]"
"""A row of `digests` without its session: item, blocks, and one column for each of ALGORITHMS."""

_COLUMNS: Final = ("session", "item", "blocks", *ALGORITHMS)
_PUT: Final = str(
    digests.insert().prefix_with("OR REPLACE").compile(dialect=sqlite.dialect(paramstyle="qmark"), column_keys=_COLUMNS)
)
# Numbers in one statement: SQLite takes 32,766.
_MANY: Final = 1000


def digest_rows(items: Sequence[int], staged: Staged, hashes: Sequence[str]) -> Iterator[DigestRow]:
    """What a batch was read as, for each item of which there is something to say.

    Args:
        items: of the batch, in its order. staged: the engine's answer. hashes: what it computed besides BLAKE3.
    """
    # Nearly always nothing was asked for: then only big files have something to tell.
    *_, blocks, _, _, _, _ = staged
    for at in range(len(items)) if hashes else sorted(blocks):
        if (row := digest_row(items[at], staged, hashes, at)) is not None:
            yield row


def digest_row(item: int, staged: Staged, hashes: Sequence[str], at: int) -> DigestRow | None:
    """What one item of a batch was read as, the one at this position; None if there is nothing to say."""
    read_as, *_, blocks, more, _, _, _ = staged
    values = blocks.get(at)
    if not any(read_as[DIGEST * at : DIGEST * (at + 1)]) or not (hashes or values):
        return None
    count = len(read_as) // DIGEST
    widths = [len(column) // count for column in more]
    raw = {name: column[at * w : (at + 1) * w] for name, column, w in zip(hashes, more, widths, strict=True)}
    return item, values, *(raw.get(name) for name in ALGORITHMS)


def put_digests(connection: Connection, session: int, rows: Iterable[DigestRow]) -> None:
    """Write rows down; what was known of an item before is forgotten."""
    told = [(session, *row) for row in rows]
    if told:
        connection.exec_driver_sql(_PUT, told)


def digests_of(database: Database, session: int, numbers: Sequence[int]) -> dict[int, Digests]:
    """What these items were read as, for those of which something is known."""
    found: dict[int, Digests] = {}
    if not numbers:
        return found
    own = digests.c.session == session
    with database.read() as connection:
        # Most items have no row: whether any has one is asked first, at once for all of them.
        there = select(digests.c.item).where(own, digests.c.item.between(min(numbers), max(numbers)))
        wanted = sorted(set(connection.scalars(there)).intersection(numbers))
        for start in range(0, len(wanted), _MANY):
            query = select(digests.c.item, digests.c.blocks, *(digests.c[name] for name in ALGORITHMS)).where(
                own, digests.c.item.in_(wanted[start : start + _MANY])
            )
            for item, blocks, *raw in connection.execute(query):
                told = {name: value for name, value in zip(ALGORITHMS, raw, strict=True) if value is not None}
                found[item] = Digests(blocks, told)
    return found
