"""The one door to the compiled engine: how bytes move. Which and when is decided above.

The functions are the extension's own; their contract stands in ``_native.pyi``. What this module adds is the
reading of a fault: which error it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest._native import (
    BUFFER_MAX,
    BUFFER_MIN,
    FEW,
    HASHES,
    PAGE_WORDS,
    SMALL,
    THREADS_MAX,
    TRAIL_LEAST,
    Page,
    Root,
    __version__,
    blake3,
    block_of,
    die_with_parent,
    discard,
    exchange,
    inspect,
    make_folders,
    mend,
    pages_in_memory,
    prove,
    publish,
    reliance,
    root_of,
    settle,
    stage,
    trail,
)
from ingest.errors import from_os_error

if TYPE_CHECKING:
    # What the stub alone knows: the shapes of answers.
    from ingest._native import Copies as Copies
    from ingest._native import Fault as Fault
    from ingest._native import Identity as Identity
    from ingest._native import Inspection as Inspection
    from ingest._native import Mended as Mended
    from ingest._native import Proof as Proof
    from ingest._native import Published as Published
    from ingest._native import Staged as Staged
    from ingest.errors import IngestError

__all__ = [
    "BUFFER_MAX",
    "BUFFER_MIN",
    "FEW",
    "HASHES",
    "PAGE_WORDS",
    "SMALL",
    "THREADS_MAX",
    "TRAIL_LEAST",
    "Failed",
    "Page",
    "Root",
    "__version__",
    "blake3",
    "block_of",
    "die_with_parent",
    "discard",
    "exchange",
    "failed",
    "inspect",
    "make_folders",
    "mend",
    "pages_in_memory",
    "prove",
    "publish",
    "reliance",
    "root_of",
    "settle",
    "stage",
    "trail",
]

# Words of a worker's shared page (see PAGE_WORDS in the stub); from CURRENT on there is one per thread of a call.
CANCEL, READ, COPIED, VERIFIED, OPERATIONS, CURRENT = range(6)
HASHED = CURRENT + THREADS_MAX
# And one for each root of a call from here on, the last one being that of all further roots.
MOVED = HASHED + 1


@dataclass(frozen=True, slots=True)
class Failed:
    """A fault, as the stages above speak of it.

    Attributes:
        kind: `io`, `changed`, `unstable`, `mismatch` or `cancelled`; and
            `crashed`, `stalled`, which the supervisor says of a worker.
        operation: the system call or step. errno: 0 where no call failed. path: absolute.
        detail: one sentence. ranges: byte ranges that differ, or could not be read, [start, end).
    """

    kind: str
    operation: str
    errno: int
    path: bytes
    detail: str
    ranges: tuple[tuple[int, int], ...] = ()

    def error(self, operation: str = "", path: bytes | None = None) -> IngestError:
        """The error that it stands for, as of this operation and path where they say more than its own."""
        return from_os_error(OSError(self.errno, self.detail), operation or self.operation, path or self.path)


def failed(fault: Fault) -> Failed:
    """The fault with names to its fields."""
    kind, operation, errno, path, detail, ranges = fault
    return Failed(kind, operation, errno, path, detail, tuple(ranges))
