"""A part as bytes, and back: rows and facts to sealed Parquet.

The seal is the BLAKE3 of the whole file, in its own metadata, computed while 64 zeros stand in its place. With it
a part proves itself: also the last one of a session, whose digest no later part names, and also the footer, which
Parquet's page checksums leave out.

Promises: a file of which any byte was changed, added or lost is refused. The same rows, facts and version of
pyarrow give the same bytes. Not promised: protection against somebody who computes a new seal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest import engine
from ingest.errors import ManifestError
from ingest.manifest.facts import PREFIX, PartFacts, read_facts, to_metadata
from ingest.manifest.rows import to_table
from ingest.manifest.schema import check_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.model.columns import CopyColumns
    from ingest.model.item import CopyRecord

SEAL_KEY: Final = PREFIX + "seal"
_BLANK: Final = b"0" * 64
# A part has at most 10,000 rows, and with paths of 4 KiB in each four columns they are 200 MB.
MOST_ROWS: Final = 1_000_000
MOST_BYTES: Final = 1 << 30
# Columns without which nothing can be said of a file, and the least that they hold.
_COUNTED: Final = {"item": 0, "size": 0, "mtime_ns": -(1 << 63), "attempts": 0}
# What Arrow says of a file that is no Parquet, or not in all its parts: names of columns need not be text.
UNREADABLE: Final = (pa.ArrowException, OSError, UnicodeDecodeError)
# The key, then Thrift's compact header of the value: field 2, binary (0x18), 64 bytes long (0x40).
_MARK: Final = SEAL_KEY.encode("ascii") + b"\x18\x40"


def encode(
    facts: PartFacts,
    root_path: bytes,
    records: Sequence[CopyRecord | CopyColumns | pa.Table],
    texts: Mapping[int, Mapping[str, str]] | None = None,
) -> bytes:
    """A part, ready to be written.

    Args:
        facts: what goes into the file's metadata.
        root_path: where the root is mounted now, absolute.
        records: the rows, in order, one by one, as columns or as they are to stand.
        texts: further digests by item and column, as text.

    Raises:
        ValueError: a digest is not 32 bytes long, or a number does not fit its column.
    """
    return seal(to_table(facts, root_path, records, texts or {}), to_metadata(facts))


def seal(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """A table as sealed Parquet.

    Args:
        metadata: keys, all under `ingest.`, and values.
    """
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**metadata, SEAL_KEY: _BLANK.decode("ascii")})
    blank = sink.getvalue().to_pybytes()
    return _with_seal(blank, engine.blake3(blank).hex().encode("ascii"))


def decode(data: bytes, where: bytes) -> tuple[PartFacts, int]:
    """The facts of a part and the number of its rows, after its seal was found intact.

    Args:
        data: the whole file.
        where: its path, for errors.

    Raises:
        NewerFormatError: it is sound, and newer than this program.
        ManifestError: it was damaged, or something else wrote it.
    """
    file = unseal(data, where)
    facts = read_facts(file.metadata.metadata or {}, where)
    try:
        schema = file.schema_arrow
    except UNREADABLE as error:
        raise _wrong(f"its columns cannot be read ({error})", where) from error
    check_columns(schema, where)
    _check_rows(file, where)
    return facts, file.metadata.num_rows


def _check_rows(file: pq.ParquetFile, where: bytes) -> None:
    """Require rows that whoever works with them can rely on: a seal only says that nothing changed since it was set.

    Raises:
        ManifestError: there are more than fit into memory, or a number is missing or below nought.
    """
    told = file.metadata
    claimed = sum(told.row_group(at).total_byte_size for at in range(told.num_row_groups))
    if told.num_rows > MOST_ROWS or claimed > MOST_BYTES:
        raise _wrong(f"it claims {told.num_rows:,} rows of {claimed:,} bytes, which no part has", where)
    try:
        table = file.read(columns=list(_COUNTED), use_threads=False)
    except UNREADABLE as error:
        raise _wrong(f"its rows cannot be read ({error})", where) from error
    for name in _COUNTED:
        column = table[name]
        if column.null_count or (table.num_rows and pc.min(column).as_py() < _COUNTED[name]):
            raise _wrong(f"its column {name} holds what no part has", where)


def _wrong(cause: str, where: bytes) -> ManifestError:
    return ManifestError(cause, path=where, operation="read", advice="Restore it from a copy of this archive")


def unseal(data: bytes, where: bytes) -> pq.ParquetFile:
    """Sealed Parquet, after its seal was found intact.

    Raises:
        ManifestError: it was damaged, or something else wrote it.
    """
    at = _seal_at(data)
    if at < 0 or engine.blake3(_with_seal(data, _BLANK)).hex().encode("ascii") != data[at : at + len(_BLANK)]:
        raise ManifestError(
            "it is damaged: its bytes are not those that were written", path=where, operation="read",
            advice="Restore it from a copy of this archive; to see what is damaged: ingest verify",
        )  # fmt: skip
    try:
        return pq.ParquetFile(pa.BufferReader(data))
    except UNREADABLE as error:
        raise ManifestError(
            f"it cannot be read as Parquet ({error})", path=where, operation="read", advice="Restore it from a copy"
        ) from error


def _seal_at(data: bytes) -> int:
    """Where the seal's value stands, -1 if nowhere. It is the last key of ours, so no text before it can pose as it."""
    at = data.rfind(_MARK)
    return -1 if at < 0 or at + len(_MARK) + len(_BLANK) > len(data) else at + len(_MARK)


def _with_seal(data: bytes, seal: bytes) -> bytes:
    at = _seal_at(data)
    if at < 0:
        raise AssertionError("pyarrow wrote the seal's key in another way: the codec must follow")
    return b"".join((data[:at], seal, data[at + len(seal) :]))
