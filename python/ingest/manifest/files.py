"""The bytes of parts, beneath pinned roots.

Promises: every read goes through a descriptor of the root, follows no symbolic link and waits for no FIFO. Not
promised: small reads; a part (some MB) is always read whole.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from ingest.errors import ManifestError, from_os_error

if TYPE_CHECKING:
    from ingest.engine import Root

# A part of 10,000 rows is a few MB; whatever is larger than this was not written by us, and is not read into memory.
LARGEST: Final = 1 << 30


def read_file(root: Root, path: bytes) -> bytes:
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
