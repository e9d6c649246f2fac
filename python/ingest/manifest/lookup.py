"""Blocks looked up by content: the chaining values of damaged files, as one root keeps them.

Promises: what is found merges into the digest that was asked for. Each file of blocks is read when it is first needed,
those of the row's own session before all others, and again only for values that it has: of each digest in it four
bytes are remembered. Beside these, memory holds the one file of blocks that was read last.
"""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_left
from threading import Lock
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from ingest import engine
from ingest.errors import CancelledError, IngestError, ManifestError, from_os_error
from ingest.manifest.codec import MOST_BYTES, MOST_ROWS, UNREADABLE, unseal
from ingest.manifest.files import read_file
from ingest.manifest.parts import MANIFESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

_SESSION: Final = re.compile(rb"session=[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME: Final = re.compile(rb"blocks-[0-9]{4,}\.parquet")
# Bytes of a digest that are remembered. One in four thousand million others begins alike: then a file of blocks is
# read in vain.
_PREFIX: Final = 4
_KINDS: Final[dict[str, pa.DataType]] = {"size": pa.int64(), "blake3": pa.binary(32), "values": pa.binary()}
_NOTHING: Final = pa.schema(_KINDS).empty_table()


class BlockLookup:
    """The files of blocks of one root, for as long as one verification or repair goes on; for any thread."""

    def __init__(self, root: engine.Root, page: engine.Page | None = None) -> None:
        """Over an archive; `page` may be told to stop."""
        self._root = root
        self._page = page
        self._lock = Lock()
        self._unread: list[bytes] | None = None
        self._known: dict[bytes, array[int]] = {}
        self._last: tuple[bytes, pa.Table] | None = None

    def find(self, blake3: bytes, size: int, session: str = "") -> bytes | None:
        """The chaining values of a file with this digest and size, 32 bytes for each block; None if none are kept here.

        Args:
            session: the UUID of the one that is likeliest to have written them.

        Raises:
            IngestError: the folder of manifests cannot be read, or the root went away. A file of blocks that is
                damaged is passed over. CancelledError: the page was told to stop.
        """
        with self._lock:
            for path in self._places(blake3, session):
                if self._page is not None and self._page.words()[engine.CANCEL]:
                    raise CancelledError("stopped while blocks were looked up", path=self._root.path, operation="read")
                table = self._read(path)
                same = pc.and_(
                    pc.equal(table["blake3"], pa.scalar(blake3, pa.binary(32))),
                    pc.equal(table["size"], pa.scalar(size)),
                )
                kept: list[bytes] = table.filter(same)["values"].to_pylist()  # type: ignore[assignment]  # never null
                for values in kept:
                    if engine.root_of(size, values) == blake3:
                        return values
        return None

    def _places(self, blake3: bytes, session: str) -> Iterator[bytes]:
        """The files of blocks that may have the values: those known to, then those that nobody has looked into."""
        wanted = int.from_bytes(blake3[:_PREFIX])
        yield from [path for path, prefixes in self._known.items() if _has(prefixes, wanted)]
        if self._unread is None:
            self._unread = list(_files(self._root))
        # A row may call its session anything.
        own = b"%s/session=%s/" % (MANIFESTS, session.encode("utf-8", "surrogatepass"))
        # Taken from the end.
        self._unread.sort(key=lambda path: (not path.startswith(own), path), reverse=True)
        while self._unread:
            yield self._unread.pop()

    def _read(self, path: bytes) -> pa.Table:
        """A file of blocks; without rows where it is damaged."""
        if self._last is not None and self._last[0] == path:
            return self._last[1]
        self._last = None  # two at once would be too much
        try:
            table = _values(read_file(self._root, path), self._root.path + b"/" + path)
        except IngestError:
            # Another one may hold the same values; `verify` names what is damaged.
            try:
                self._root.check()
            except OSError as error:
                raise from_os_error(error, "check", self._root.path, "Is the disk mounted?") from error
            table = _NOTHING
        if path not in self._known:
            digests: list[bytes] = table["blake3"].to_pylist()  # type: ignore[assignment]  # never null
            self._known[path] = array("I", sorted(int.from_bytes(digest[:_PREFIX]) for digest in digests))
        self._last = path, table
        return table


def _values(data: bytes, where: bytes) -> pa.Table:
    """The rows of a file of blocks.

    Raises:
        ManifestError: it is damaged, or not what this program writes.
    """
    file = unseal(data, where)
    try:
        found, told = file.schema_arrow, file.metadata
        sound = all(name in found.names and found.field(name).type == kind for name, kind in _KINDS.items())
        claimed = sum(told.row_group(at).total_byte_size for at in range(told.num_row_groups))
        if sound and told.num_rows <= MOST_ROWS and claimed <= MOST_BYTES:
            table = file.read(columns=list(_KINDS), use_threads=False)
            if not any(table[name].null_count for name in _KINDS):
                return table
    except UNREADABLE:
        pass  # it is told below, like what is no file of blocks at all
    raise ManifestError("it holds no blocks", path=where, operation="read", advice="Restore it from a copy")


def _has(prefixes: array[int], wanted: int) -> bool:
    at = bisect_left(prefixes, wanted)
    return at < len(prefixes) and prefixes[at] == wanted


def _files(root: engine.Root) -> Iterator[bytes]:
    for folder in sorted(_names(root, MANIFESTS, _SESSION)):
        yield from sorted(_names(root, folder, _NAME))


def _names(root: engine.Root, path: bytes, pattern: re.Pattern[bytes]) -> list[bytes]:
    try:
        folder = root.open_folder(path)
        try:
            return [
                path + b"/" + os.fsencode(name) for name in os.listdir(folder) if pattern.fullmatch(os.fsencode(name))
            ]
        finally:
            os.close(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise from_os_error(error, "list", root.path + b"/" + path) from error
