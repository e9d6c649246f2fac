"""The columns of a manifest, once, and the versions of its format.

Promises: :data:`SCHEMA` is what today's writer writes, column for column, and :data:`FORMAT_VERSION` names it.
A reader takes columns by name, and one that an older version did not know is null; a column never changes its
type or its meaning without a new version. Every version, also the ones to come, keeps the two keys that let a
program tell what it sees: `ingest.format` and `ingest.seal`.

Not promised: the order of columns, and their encoding within Parquet.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from ingest.errors import ManifestError

FORMAT_VERSION: Final = 2

# What the key `operation` says appended a row. Organize and delete come with their commands.
COPY: Final = "copy"
REPAIR: Final = "repair"

_MOMENT: Final = pa.timestamp("us", tz="UTC")


def _known(name: str, kind: pa.DataType) -> pa.Field[pa.DataType]:
    return pa.field(name, kind, nullable=False)


SCHEMA: Final[pa.Schema] = pa.schema(
    [
        _known("session", pa.string()),
        _known("item", pa.int64()),
        _known("source_path", pa.string()),
        pa.field("source_path_raw", pa.binary()),
        _known("destination_root", pa.string()),
        pa.field("destination_path", pa.string()),
        pa.field("path", pa.string()),
        pa.field("path_raw", pa.binary()),
        _known("size", pa.int64()),
        _known("mtime_ns", pa.int64()),
        pa.field("blake3", pa.binary(32)),
        pa.field("blake3_hex", pa.string()),
        pa.field("xxh64", pa.string()),
        pa.field("xxh3", pa.string()),
        pa.field("xxh128", pa.string()),
        pa.field("md5", pa.string()),
        pa.field("sha1", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("sha512", pa.string()),
        pa.field("c4", pa.string()),
        _known("state", pa.string()),
        pa.field("reason", pa.string()),
        _known("attempts", pa.int32()),
        pa.field("verify_method", pa.string()),
        pa.field("publish_method", pa.string()),
        pa.field("read_mode", pa.string()),
        pa.field("strategy", pa.string()),
        pa.field("worker", pa.int32()),
        pa.field("capture_time", pa.timestamp("us")),
        pa.field("capture_offset", pa.int16()),
        pa.field("capture_confidence", pa.int16()),
        pa.field("camera", pa.string()),
        _known("kind", pa.string()),
        pa.field("group", pa.int64()),
        pa.field("started_at", _MOMENT),
        pa.field("copied_at", _MOMENT),
        pa.field("validated_at", _MOMENT),
        pa.field("finalized_at", _MOMENT),
        _known("operation", pa.string()),
    ]
)
"""One row per copy. Sizes are bytes; `mtime_ns` is nanoseconds since the epoch; `*_at` are moments (UTC);
`capture_time` is as the camera wrote it, `capture_offset` its distance from UTC in minutes, `capture_confidence`
0 to 100. `path` is below the root, `destination_path` where that was when it was written; where a name is not
UTF-8 it is shown backslash-escaped, and its bytes stand in the `_raw` column, which is null otherwise. The digests
after `blake3_hex` are hexadecimal, big-endian (`c4` is SHA-512 in base58), and null where they were not computed; `strategy` is
`copy`, `reflink` or `hardlink`."""

READ_SCHEMA: Final[pa.Schema] = pa.schema([field.with_nullable(True) for field in SCHEMA])
"""What a reader sees: the same columns, each of which an older or a newer row may lack."""


class NewerFormatError(ManifestError):
    """The file is sound, and from a program that knows more than this one."""


def check_version(text: str, where: bytes) -> int:
    """The format version of a part.

    Args:
        text: the value of `ingest.format`.
        where: the file, for the error.

    Raises:
        NewerFormatError: it is newer than this program.
        ManifestError: it is no version.
    """
    version = int(text) if text.isascii() and text.isdigit() else 0
    if version < 1:
        raise ManifestError(
            f"its format version is {text!r}", path=where, operation="read", advice="Restore it from a copy"
        )
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"its format version is {version}, this program knows up to {FORMAT_VERSION}",
            path=where, operation="read", advice="Use a newer version of ingest",
        )  # fmt: skip
    return version


def check_columns(found: pa.Schema, where: bytes) -> None:
    """Require that what a part holds can be read as :data:`READ_SCHEMA`.

    Raises:
        ManifestError: a column has another type, or one that every version has is not there.
    """
    names = set(found.names)
    for field in SCHEMA:
        if field.name in names:
            if found.field(field.name).type != field.type:
                cause = f"its column {field.name} is of type {found.field(field.name).type}, not {field.type}"
                raise ManifestError(cause, path=where, operation="read", advice="Restore it from a copy")
        elif not field.nullable:
            raise ManifestError(
                f"it has no column {field.name}", path=where, operation="read", advice="Restore it from a copy"
            )
