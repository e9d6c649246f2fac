"""Ctrl-C, SIGTERM and SIGHUP: the first ends a session cleanly, the second at once; any other command ends at the first.

Outside of a session they raise KeyboardInterrupt, which no handler of errors on the way takes for one. Libraries do:
DuckDB's error, of a question that was stopped, says nothing of it. So that one was heard is remembered.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

from ingest.cli.output import complain
from ingest.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# Those that ended a command, in order.
_heard: list[int] = []


def heed() -> None:
    """Let each of them end a command with a word. One that whoever started the program ignores (nohup) stays ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _hear)


def _hear(number: int, _frame: FrameType | None) -> NoReturn:
    _heard.append(number)
    raise KeyboardInterrupt


def heed_no_more() -> None:
    """Leave them to the system, which ends the process at once: it has only its last words to say, if anybody listens."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _hear:
            signal.signal(number, signal.SIG_DFL)


def interrupted(error: BaseException) -> bool:
    """Whether it was a signal that made a command end with this, whatever that has become on its way."""
    return bool(_heard) or isinstance(error, KeyboardInterrupt)


def interruption() -> CancelledError:
    """What a command that a signal ended came to."""
    by = f" by {signal.Signals(_heard[-1]).name}" if _heard else ""
    return CancelledError(f"stopped{by}", operation="signal", advice="What was done stays done; to go on, run it again")


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

    # Who started it with nohup means it to go on when the terminal closes.
    heeded = [number for number in _SIGNALS if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, heard) for number in heeded}
    try:
        yield lambda: asked > 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
