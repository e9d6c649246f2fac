"""Times of files, as the journal and a manifest can hold them: nanoseconds since the epoch, in 64 bits.

File systems keep times beyond that, and a clock that was never set, or a bit that tipped, leaves some on cards.
"""

from __future__ import annotations

from typing import Final

EARLIEST: Final = -(1 << 63)
LATEST: Final = (1 << 63) - 1
# Why a file with such a time is not copied; `errors.REASON_ADVICE` says what to do.
BEYOND: Final = "time"
IN_WORDS: Final = "its time is beyond what a manifest can hold (1677-09-21 to 2262-04-11)"


def held(mtime_ns: int) -> int:
    """The nearest time that can be held."""
    return min(max(mtime_ns, EARLIEST), LATEST)


def beyond(mtime_ns: int) -> bool:
    """Whether a time cannot be held. Either end counts as one: the engine gives it for whatever lies past it."""
    return not EARLIEST < mtime_ns < LATEST
