"""The bytes of files beneath pinned roots: for this program, and for Arrow's scanner.

Promises: every read goes through a descriptor of the root, follows no symbolic link and waits for no FIFO. What
the scanner gets is, byte for byte, what was checked when the part was opened: a part that changes while a query
runs ends the query. Not promised: small reads; a part (some MB) is always read whole.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, NoReturn

import pyarrow as pa
import pyarrow.fs as pafs

from ingest import engine
from ingest.errors import ManifestError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Mapping

# A part of 10,000 rows is a few MB; whatever is larger than this was not written by us, and is not read into memory.
LARGEST: Final = 1 << 30


def read_file(root: engine.Root, path: bytes) -> bytes:
    """The whole file.

    Raises:
        MissingError: it is not there. IngestError: it cannot be read.
        ManifestError: it is not a regular file, or far too large for a part.
    """
    where = root.path + b"/" + path
    parent, _, name = path.rpartition(b"/")
    try:
        folder = root.open_folder(parent)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        with os.fdopen(file, "rb", buffering=0) as stream:
            facts = os.fstat(file)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST:
                raise ManifestError(
                    "it is not a part of a manifest", path=where, operation="read",
                    advice="Move it away: only ingest writes into this folder",
                )  # fmt: skip
            return stream.readall()
    except OSError as error:
        raise from_os_error(error, "read", where) from error


class PartFiles(pafs.FileSystemHandler):
    """Parts, as Arrow's data sets open them: read-only, by key, and only those that were given.

    Args:
        parts: for each key: the root, the path beneath it, and the BLAKE3 its bytes must have.
    """

    def __init__(self, parts: Mapping[str, tuple[engine.Root, bytes, bytes]]) -> None:
        self._parts = dict(parts)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """The part, checked again."""
        root, name, digest = self._parts[path]
        data = read_file(root, name)
        if engine.blake3(data) != digest:
            raise ManifestError("it changed while it was read", path=root.path + b"/" + name, operation="read")
        return pa.BufferReader(data)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """The part, checked again."""
        return self.open_input_file(path)

    def get_type_name(self) -> str:
        """A name for Arrow's messages."""
        return "ingest"

    def normalize_path(self, path: str) -> str:
        """Keys are normal."""
        return path

    def get_file_info(self, paths: str | list[str]) -> list[pafs.FileInfo]:
        """What stands under each key."""
        return [
            pafs.FileInfo(path, pafs.FileType.File if path in self._parts else pafs.FileType.NotFound)
            for path in ([paths] if isinstance(paths, str) else paths)
        ]

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise PermissionError("manifests are only read here")

    # Nothing is listed either: the files are given one by one.
    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_file = delete_root_dir_contents = (
        _refuse
    )
    move = copy_file = open_output_stream = open_append_stream = _refuse
