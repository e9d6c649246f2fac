"""Manifests of one or several roots, and their rows as one stream.

Promises: the parts are an explicit list, each checked when the manifests are opened and again whenever its rows are
read; columns are unified by name. Beside the columns of :data:`~ingest.manifest.schema.READ_SCHEMA` each row has
`_root` (index of its root in the list), `_part` (its part's, counted over all, by age of session and number) and
`_created` (of its session, microseconds since the epoch): what decides which row is the latest. Memory holds the
facts of each part, and the rows of one part at a time.

Not an Arrow data set with a file system of ours: when such a file system raises, Arrow may wait for the interpreter
in one thread while another holds it and waits for Arrow, for ever (seen with 26.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ingest import engine
from ingest.errors import ManifestError, MissingError
from ingest.manifest.chain import chain
from ingest.manifest.codec import UNREADABLE
from ingest.manifest.files import read_file
from ingest.manifest.schema import READ_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ingest.engine import Root
    from ingest.manifest.parts import Part

_ORDER: Final = pa.schema(
    [pa.field("_root", pa.int32()), pa.field("_part", pa.int32()), pa.field("_created", pa.int64())]
)
SCANNED: Final[pa.Schema] = pa.schema([*READ_SCHEMA, *_ORDER])


@dataclass(frozen=True, slots=True)
class Manifests:
    """Parts that were checked.

    Attributes:
        roots: where they lie. parts: each with the index of its root, by age of session and number.
    """

    roots: tuple[Root, ...]
    parts: tuple[tuple[int, Part], ...]


def open_manifests(roots: Sequence[Root]) -> Manifests:
    """All manifests of these roots; a folder that is named twice counts once.

    Raises:
        MissingError: a root has none. ManifestError: one is damaged, missing from its chain, or newer.
        IngestError: one cannot be read.
    """
    distinct = tuple({(root.dev, root.ino): root for root in roots}.values())
    parts = []
    for index, root in enumerate(distinct):
        found = chain(root)
        if not found:
            raise no_manifest(root)
        parts += [(index, part) for part in found]
    return of_parts(distinct, parts)


def no_manifest(root: Root) -> MissingError:
    """The error for a root without any."""
    return MissingError(
        "there is no manifest here", path=root.path, operation="open",
        advice="Name the folder that was given to ingest copy as destination",
    )  # fmt: skip


def of_parts(roots: Sequence[Root], parts: Iterable[tuple[int, Part]]) -> Manifests:
    """Manifests of these parts alone.

    Args:
        roots: where they lie.
        parts: checked ones, each with the index of its root in `roots`.
    """
    ordered = sorted(parts, key=lambda at: (at[1].facts.created_ns, at[1].facts.session, at[1].number, at[0]))
    return Manifests(tuple(roots), tuple(ordered))


class Rows:
    """The rows of manifests, for whoever reads Arrow streams: each time afresh, part by part, in order of age.

    Args:
        manifests: whose rows.
        columns: which of :data:`SCANNED`; None takes all.
    """

    def __init__(self, manifests: Manifests, columns: Sequence[str] | None = None) -> None:
        self._manifests = manifests
        self.schema: pa.Schema = pa.schema([SCANNED.field(name) for name in columns or SCANNED.names])

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self.schema, self.batches())
        return reader.__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]  # pyarrow-stubs leave it untyped

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows.

        Raises:
            ManifestError: a part is not any more what it was when it was checked.
            IngestError: it cannot be read.
        """
        for at, (index, part) in enumerate(self._manifests.parts):
            root = self._manifests.roots[index]
            data = read_file(root, part.path)
            if engine.blake3(data) != part.blake3:
                raise ManifestError("it changed while it was read", path=root.path + b"/" + part.path, operation="read")
            constants = dict(zip(_ORDER.names, (index, at, part.facts.created_ns // 1000), strict=True))
            try:
                table = self._unified(data, constants)
                table.validate(full=True)  # Parquet's text need not be text
                batches = table.to_batches()
            except UNREADABLE as error:
                raise ManifestError(
                    f"its rows cannot be read ({error})", path=root.path + b"/" + part.path, operation="read",
                    advice="Restore it from a copy of this archive",
                ) from error  # fmt: skip
            yield from batches

    def _unified(self, data: bytes, constants: dict[str, int]) -> pa.Table:
        """The rows of one part, with what its version did not know as null."""
        file = pq.ParquetFile(pa.BufferReader(data))
        held = set(file.schema_arrow.names)
        found = file.read(columns=[name for name in self.schema.names if name in held], use_threads=False)
        count = file.metadata.num_rows
        columns = [
            found[field.name] if field.name in held
            else pa.repeat(pa.scalar(constants.get(field.name), field.type), count)
            for field in self.schema
        ]  # fmt: skip
        return pa.table(columns, schema=self.schema)
