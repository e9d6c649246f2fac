"""Values of a query's result as JSON knows them.

Bytes become hexadecimal, times ISO 8601 (with their offset where they have one), whole decimals numbers, others
floating point (nearest), what JSON has no number for null, UUIDs and intervals text.
"""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"


def rows_of(batch: pa.RecordBatch) -> list[tuple[Plain, ...]]:
    """The rows of a batch, each a tuple in the order of the columns."""
    if not batch.num_rows:
        return []
    columns = [_values(column) for column in batch.columns]
    return list(zip(*columns, strict=True))


def _values(column: pa.Array[Any]) -> list[Plain]:
    values = _readable(column).to_pylist(maps_as_pydicts="strict")
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return values
    return [plain(value) for value in values]


def _readable(column: pa.Array[Any]) -> pa.Array[Any]:
    """Python's times have no nanoseconds: they are cut to microseconds."""
    kind = column.type
    if isinstance(kind, pa.TimestampType) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    if isinstance(kind, pa.Time64Type) and kind.unit == "ns":
        return column.cast(pa.time64("us"), safe=False)
    return column


def plain(value: object) -> Plain:
    """One value."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return value.hex()
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal():
            return _number(value)
        case list() | tuple() if not isinstance(value, pa.MonthDayNano):
            return [plain(each) for each in value]
        case dict():
            return _object(value)
        case timedelta():
            return value.total_seconds()
        case _:
            return str(value)


def _number(value: Decimal) -> int | float | None:
    if not value.is_finite():
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _object(value: Mapping[object, object]) -> dict[str, Plain]:
    return {str(plain(key)): plain(each) for key, each in value.items()}
