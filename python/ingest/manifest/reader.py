"""Manifests of one or several roots as one Arrow data set.

Promises: the files are an explicit list, each checked before; columns are unified by name. Beside the columns of
:data:`~ingest.manifest.schema.READ_SCHEMA` each row has `_root` (index of its root in the list), `_part` (its
part's, counted over all, in order of session and number) and `_created` (of its session, microseconds since the
epoch): what decides which row is the latest. Memory holds the facts of each part, never rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from ingest.errors import MissingError
from ingest.manifest.chain import chain
from ingest.manifest.files import PartFiles
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
    """Parts that were checked, and their rows.

    Attributes:
        roots: where they lie. parts: each with the index of its root. dataset: their rows, unread.
    """

    roots: tuple[Root, ...]
    parts: tuple[tuple[int, Part], ...]
    dataset: pads.Dataset


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
    """The rows of these parts.

    Args:
        roots: where they lie.
        parts: checked ones, each with the index of its root in `roots`.
    """
    ordered = sorted(parts, key=lambda at: (at[1].facts.created_ns, at[1].facts.session, at[1].number, at[0]))
    files = pafs.PyFileSystem(
        PartFiles({str(at): (roots[root], part.path, part.blake3) for at, (root, part) in enumerate(ordered)})
    )
    format_ = pads.ParquetFileFormat(
        default_fragment_scan_options=pads.ParquetFragmentScanOptions(page_checksum_verification=True)
    )
    fragments = [
        format_.make_fragment(str(at), files, partition_expression=_constants(root, at, part))
        for at, (root, part) in enumerate(ordered)
    ]
    return Manifests(tuple(roots), tuple(ordered), pads.FileSystemDataset(fragments, SCANNED, format_, files))


def stream(manifests: Manifests, columns: Sequence[str]) -> pa.RecordBatchReader:
    """These columns of all rows, once, part by part: unlike a scan of the data set, never more than a part in memory."""

    def batches() -> Iterator[pa.RecordBatch]:
        for fragment in manifests.dataset.get_fragments():
            yield from fragment.to_batches(schema=SCANNED, columns=list(columns))

    return pa.RecordBatchReader.from_batches(pa.schema([SCANNED.field(name) for name in columns]), batches())


def _constants(root: int, at: int, part: Part) -> pads.Expression:
    """What every row of a part has in common, and Parquet does not hold: the scanner fills it in."""
    values = (root, at, part.facts.created_ns // 1000)
    first, second, third = (
        pads.field(field.name) == pads.scalar(pa.scalar(value, field.type))
        for field, value in zip(_ORDER, values, strict=True)
    )
    return first & second & third
