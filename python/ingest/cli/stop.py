"""Ctrl-C, once and twice: the first ends a session cleanly, the second at once."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ingest.cli.output import complain
from ingest.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """While inside, Ctrl-C (and SIGTERM, SIGHUP) asks to stop; the value tells whether it was asked.

    Raises:
        CancelledError: it was asked for a second time. The session is resumable as it is.
    """
    asked = 0

    def heard(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise CancelledError("stopped at once", operation="signal", advice="To go on: ingest resume")
        complain("Stopping: what is being copied is given up, what is proven gets its name. Once more to stop at once.")

    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, heard) for number in signals}
    try:
        yield lambda: asked > 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
