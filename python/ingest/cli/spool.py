"""Output that may be long and must be whole: kept aside until it is known that nothing went wrong."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

from ingest.cli.output import put

if TYPE_CHECKING:
    from collections.abc import Iterator

# More than this goes to a temporary file.
IN_MEMORY: Final = 16 << 20
SLICE: Final = 1 << 20


@contextmanager
def spooled() -> Iterator[IO[str]]:
    """A file to write to; what was written is printed at the end, and not at all after an error."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY, "w+", encoding="utf-8", newline="") as spool:
        yield spool
        spool.seek(0)
        while text := spool.read(SLICE):
            put(text)
