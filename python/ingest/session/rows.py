"""Rows of the journal as the program speaks of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ingest.db.faults import REBUILD
from ingest.errors import DamagedJournalError
from ingest.model.item import CopyRecord, Item, Kind
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Row

    from ingest.model.session import SourceFacts

ItemRow: TypeAlias = "tuple[int, int, bytes, int, int, str, str, str | None, int, bytes | None]"
"""A row of `items` without its session: item, source, path, size, mtime_ns, kind, state, reason, errno, blake3."""


@dataclass(slots=True)
class Copy:
    """One item at one root while it is on its way: the journal's row, in memory."""

    item: int
    root: int
    state: ItemState
    path: bytes | None = None
    staging: bytes | None = None
    reason: str | None = None
    operation: str | None = None
    errno: int = 0
    attempts: int = 0
    blake3: bytes | None = None
    read_mode: str | None = None
    verify_method: str | None = None
    publish_method: str | None = None
    worker: int | None = None
    started_at: int | None = None
    copied_at: int | None = None
    validated_at: int | None = None
    finalized_at: int | None = None
    sequence: int | None = None
    kept_mtime: int | None = None
    strategy: str | None = None


def operation_at(operation: str, ranges: Iterable[tuple[int, int]]) -> str:
    """How the journal keeps the operation that failed with the bytes that it failed at, `[start, end)`: `read 0-4096`."""
    return " ".join((operation, *(f"{start}-{end}" for start, end in ranges)))


def operation_of(told: str | None) -> tuple[str | None, tuple[tuple[int, int], ...]]:
    """The operation, and the bytes that it failed at, as `operation_at` put them together."""
    if told is None:
        return None, ()
    operation, *ranges = told.split(" ")
    return operation, tuple((int(start), int(end)) for start, _, end in (each.partition("-") for each in ranges))


COPY_FIELDS: Final = tuple(Copy.__dataclass_fields__)
ITEM_FIELDS: Final = ("item", "source", "path", "size", "mtime_ns", "kind", "state", "reason", "errno", "blake3")


def item_of(row: ItemRow) -> Item:
    """An item, from a row of its table."""
    number, source, path, size, mtime_ns, kind, state, reason, code, blake3 = row
    return Item(number, source, path, size, mtime_ns, Kind(kind), ItemState(state), reason, code, blake3)


def copy_of(row: Row[Any]) -> Copy:
    """A copy, from a row with its fields."""
    values = {name: getattr(row, name) for name in COPY_FIELDS}
    values["state"] = ItemState(values["state"])
    return Copy(**values)


def source_of(sources: Sequence[SourceFacts], number: int) -> SourceFacts:
    """The source of this number among its session's.

    Raises:
        DamagedJournalError: there is none.
    """
    if not 0 <= number < len(sources):
        raise DamagedJournalError(f"a row speaks of source {number} of a session that has {len(sources)}",
                                  operation="read", advice=REBUILD)  # fmt: skip
    return sources[number]


def record_of(row: Row[Any], source: bytes) -> CopyRecord:
    """What the manifest tells of a copy, from a row of copies joined with its item; `source` is its source's path."""
    return CopyRecord(
        item=row.item, source_path=source.rstrip(b"/") + b"/" + row.source_path, path=row.path, size=row.size,
        mtime_ns=row.mtime_ns, kind=Kind(row.kind), state=ItemState(row.state), blake3=row.blake3, reason=row.reason,
        operation=operation_of(row.operation)[0], errno=row.errno, attempts=row.attempts, verify_method=row.verify_method,
        publish_method=row.publish_method, read_mode=row.read_mode, worker=row.worker, started_ns=row.started_at,
        copied_ns=row.copied_at, validated_ns=row.validated_at, finalized_ns=row.finalized_at, strategy=row.strategy,
    )  # fmt: skip
