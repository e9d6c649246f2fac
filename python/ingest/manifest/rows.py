"""Copies as Arrow: one by one, or whole columns at a time without a Python object per copy."""

from __future__ import annotations

from array import array
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ingest.manifest import names
from ingest.manifest.schema import COPY, SCHEMA
from ingest.model.columns import CopyColumns
from ingest.model.digests import DIGEST, HASHES
from ingest.model.item import CopyRecord
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ingest.manifest.facts import PartFacts

_FIELDS = {field.name: field.type for field in SCHEMA}


def to_table(
    facts: PartFacts,
    root_path: bytes,
    records: Sequence[CopyRecord | CopyColumns | pa.Table],
    texts: Mapping[int, Mapping[str, str]],
) -> pa.Table:
    """The rows of a part (:data:`~ingest.manifest.schema.SCHEMA`), in order, whatever way they were told.

    Args:
        texts: further digests by item and column (:data:`~ingest.model.digests.HASHES`), as text.

    Raises:
        ValueError: a digest is not 32 bytes long, or a number does not fit its column.
    """
    tables = []
    for single, told in groupby(records, key=lambda one: isinstance(one, CopyRecord)):
        if single:
            ones = [one for one in told if isinstance(one, CopyRecord)]
            tables.append(_of_records(facts, root_path, ones, texts))
            continue
        for many in told:
            if isinstance(many, CopyColumns):
                tables.append(_of_columns(facts, root_path, many, texts))
            elif isinstance(many, pa.Table):
                tables.append(many)
    # In one chunk, so that the same rows give the same bytes.
    return pa.concat_tables(tables).combine_chunks() if tables else SCHEMA.empty_table()


def _of_records(
    facts: PartFacts, root_path: bytes, records: Sequence[CopyRecord], texts: Mapping[int, Mapping[str, str]]
) -> pa.Table:
    places = [None if each.path is None else root_path.rstrip(b"/") + b"/" + each.path for each in records]
    nulls = [None] * len(records)
    columns: dict[str, Sequence[object]] = {
        "session": [facts.session] * len(records),
        "item": [each.item for each in records],
        "source_path": [names.text(each.source_path) for each in records],
        "source_path_raw": [names.raw_or_none(each.source_path) for each in records],
        "destination_root": [facts.root] * len(records),
        "destination_path": [None if place is None else names.text(place) for place in places],
        "path": [None if each.path is None else names.text(each.path) for each in records],
        "path_raw": [None if each.path is None else names.raw_or_none(each.path) for each in records],
        "size": [each.size for each in records],
        "mtime_ns": [each.mtime_ns for each in records],
        "blake3": [each.blake3 for each in records],
        "blake3_hex": [None if each.blake3 is None else each.blake3.hex() for each in records],
        **_digests([each.item for each in records], texts),
        "state": [str(each.state) for each in records],
        "reason": [each.reason for each in records],
        "attempts": [each.attempts for each in records],
        "verify_method": [each.verify_method for each in records],
        "publish_method": [each.publish_method for each in records],
        "read_mode": [each.read_mode for each in records],
        "strategy": [each.strategy for each in records],
        "worker": [each.worker for each in records],
        "capture_time": nulls,
        "capture_offset": nulls,
        "capture_confidence": nulls,
        "camera": nulls,
        "kind": [str(each.kind) for each in records],
        "group": [each.group for each in records],
        "started_at": [_micros(each.started_ns) for each in records],
        "copied_at": [_micros(each.copied_ns) for each in records],
        "validated_at": [_micros(each.validated_ns) for each in records],
        "finalized_at": [_micros(each.finalized_ns) for each in records],
        "operation": [COPY] * len(records),
    }
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCHEMA}, schema=SCHEMA)


def _micros(nanoseconds: int | None) -> int | None:
    return None if nanoseconds is None else nanoseconds // 1000


def _digests(items: Sequence[int], texts: Mapping[int, Mapping[str, str]]) -> dict[str, list[str | None]]:
    """The columns of further digests: null where an item has none."""
    each = [texts.get(item, {}) for item in items]
    return {name: [one.get(name) for one in each] for name in HASHES}


def _of_columns(
    facts: PartFacts, root_path: bytes, told: CopyColumns, texts: Mapping[int, Mapping[str, str]]
) -> pa.Table:
    count = len(told)
    source, source_raw = _texts(told.source + b"/", told.paths)
    place, _ = _texts(root_path.rstrip(b"/") + b"/", told.targets)
    path, path_raw = _texts(b"", told.targets)
    digests = pa.Array.from_buffers(pa.binary(DIGEST), count, [None, pa.py_buffer(told.digests)])
    columns: dict[str, Any] = {
        "session": facts.session,
        "item": told.items,
        "source_path": source,
        "source_path_raw": source_raw,
        "destination_root": facts.root,
        "destination_path": place,
        "path": path,
        "path_raw": path_raw,
        "size": told.sizes,
        "mtime_ns": told.mtimes,
        "blake3": digests,
        "blake3_hex": _hex(told.digests),
        "state": str(ItemState.FINALIZED),
        "attempts": 1,
        "verify_method": told.verify,
        "publish_method": told.publish,
        "read_mode": told.read_mode,
        "strategy": told.strategy,
        "worker": told.worker,
        "kind": told.kinds,
        "started_at": _moments(told.started),
        "copied_at": _moments(told.copied),
        "validated_at": _moments(told.validated),
        "finalized_at": pa.scalar(told.finalized_ns // 1000, _FIELDS["finalized_at"]),
        "operation": COPY,
    }
    if texts:
        columns.update(_digests(told.items, texts))
    arrays = [_column(columns.get(field.name), field.type, count) for field in SCHEMA]
    return pa.table(arrays, schema=SCHEMA)


def _column(values: Any, kind: pa.DataType, count: int) -> pa.Array[Any]:
    """An array of a column's values, or of one value for all rows (None: it is not known for any)."""
    if isinstance(values, pa.Array):
        return values
    if values is None or isinstance(values, (str, int, pa.Scalar)):
        one = values if isinstance(values, pa.Scalar) else pa.scalar(values, kind)
        # The stubs know an overload for each type that is known where it is called.
        repeat: Callable[[Any, int], pa.Array[Any]] = pa.repeat
        return repeat(one, count)
    return pa.array(values, kind)


def _texts(before: bytes, paths: Sequence[bytes]) -> tuple[pa.Array[Any], pa.Array[Any] | None]:
    """Paths behind a common beginning, as text, and as bytes where the text does not tell them."""
    try:
        beginning = before.decode("utf-8")
        texts = pa.array(paths, pa.binary()).cast(pa.string())
    except (UnicodeDecodeError, pa.ArrowInvalid):
        whole = [before + path for path in paths]
        raw = pa.array([names.raw_or_none(path) for path in whole], pa.binary())
        return pa.array([names.text(path) for path in whole], pa.string()), raw
    if beginning:
        # The stubs know no mix of arrays and plain strings.
        join: Callable[..., pa.Array[Any]] = pc.binary_join_element_wise
        texts = join(beginning, texts, "")
    return texts, None


def _hex(digests: bytes) -> pa.Array[Any]:
    """Digests in hexadecimal: one buffer, cut every 64 characters."""
    offsets = array("i", range(0, 2 * len(digests) + 1, 2 * DIGEST))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(digests.hex().encode("ascii"))]
    return pa.Array.from_buffers(pa.string(), len(digests) // DIGEST, buffers)


def _moments(nanoseconds: Sequence[int]) -> pa.Array[Any]:
    """Moments to the microsecond, rounded down."""
    return pc.divide(pa.array(nanoseconds, pa.int64()), 1000).cast(_FIELDS["copied_at"])
