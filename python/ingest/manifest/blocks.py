"""Blocks: the chaining values of big files, in `blocks-NNNN.parquet` beside the part of the same number.

BLAKE3 is a tree: the values of a file's aligned blocks merge into its digest. So they need no trust of their own, and
they are looked up by content (:mod:`ingest.manifest.lookup`): whoever wrote them, and for whichever session, they are
true of every file with that digest.

Promises: a file of blocks appears complete and flushed before the part that names its BLAKE3.
"""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ingest import engine
from ingest.errors import IngestError
from ingest.manifest.codec import seal
from ingest.manifest.schema import FORMAT_VERSION
from ingest.storage.deposit import deposit
from ingest.storage.marker import INTERNAL, staging_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS: Final[tuple[pa.Field[Any], ...]] = (
    pa.field("session", pa.string(), nullable=False),
    pa.field("item", pa.int64(), nullable=False),
    pa.field("size", pa.int64(), nullable=False),
    pa.field("block_size", pa.int64(), nullable=False),
    pa.field("blake3", pa.binary(32), nullable=False),
    pa.field("values", pa.binary(), nullable=False),
)
BLOCKS_SCHEMA: Final[pa.Schema] = pa.schema(_COLUMNS)
"""One row per file of more than one block: `size` and `block_size` are bytes, `blake3` is the whole file's digest,
`values` has 32 bytes for each block, in order."""

BLOCKS_BYTES: Final = 64 << 20
"""Chaining values of one file of blocks at most, in bytes: those of 2 TiB of footage; they are held in memory."""

_FOLDER: Final = INTERNAL + b"/manifests"


@dataclass(frozen=True, slots=True)
class Blocks:
    """The chaining values of one item: 32 bytes for each of its blocks."""

    item: int
    size: int
    blake3: bytes
    values: bytes


def blocks_path(session: str, number: int) -> bytes:
    """Where the blocks of a part lie, below the root."""
    return b"%s/session=%s/blocks-%04d.parquet" % (_FOLDER, session.encode("ascii"), number)


def encode_blocks(session: str, number: int, rows: Sequence[Blocks]) -> bytes:
    """The blocks of a part, ready to be written."""
    table = pa.table(
        {
            "session": [session] * len(rows),
            "item": [row.item for row in rows],
            "size": [row.size for row in rows],
            "block_size": [engine.block_of(row.size) for row in rows],
            "blake3": [row.blake3 for row in rows],
            "values": [row.values for row in rows],
        },
        schema=BLOCKS_SCHEMA,
    )
    return seal(table, {"ingest.format": str(FORMAT_VERSION), "ingest.session": session, "ingest.part": str(number)})


def write_blocks(root: engine.Root, session: str, number: int, rows: Sequence[Blocks], *, named: bool = False) -> bytes:
    """Put the blocks of a part that is to be written under their name, durably; the BLAKE3 of the file.

    What stands there was left by a run that died before its part was written. No part names it, and it goes.

    Args:
        named: the part itself stands already: what it names is left as it is.

    Raises:
        IngestError: it could not be written.
    """
    data = encode_blocks(session, number, rows)
    path = blocks_path(session, number)
    short = session.replace("-", "")[:8]
    staging = b"%s/blocks-%04d-%s.part" % (staging_folder(short), number, token_hex(4).encode("ascii"))
    if not named and not deposit(root, path, staging, data):
        (fault,) = engine.discard(root, [path])
        if fault is not None or not deposit(root, path, staging, data):
            raise IngestError(
                "its name is taken, and what has it cannot be removed", path=root.path + b"/" + path, operation="write",
                advice="See that the folder can be written to, then: ingest resume",
            )  # fmt: skip
    return engine.blake3(data)
