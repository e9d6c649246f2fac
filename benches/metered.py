"""`ingest`, with the CPU time of its progress on an account.

    python benches/metered.py TOLD ARGUMENTS...

Runs a command line of `ingest` in this process. On the account go, by each thread's own CPU clock
(`time.thread_time`): the calls that the session makes to the meter and to monitors, what it asks for their sake alone,
and whole threads that one of them has started (the pulse). Told apart is what it takes to set a monitor up, once, and
most of that is imports. Leaves ``TOLD``: ``going`` and ``setting_up`` in seconds, ``threads``, ``calls``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

from ingest import monitor
from ingest.cli import app, events, progress
from ingest.model.columns import CopyColumns
from ingest.pipeline import board, meter
from ingest.workers import supervisor

# Whoever tells people or machines how far a session is. A thread that one of these starts is a cost of telling.
TELLERS = ("ingest.monitor", "ingest.pipeline.meter", "ingest.cli.progress", "ingest.cli.events", "rich.")
CLASSES = (
    meter.Meter, monitor.OneAtATime, progress.Bars, progress.Both, progress.Lines, events.Events, events.Log,
)  # fmt: skip
# What is asked for, or made, to be told, and for nothing else.
ASKED = ((board.Board, "current"), (supervisor.Supervisor, "current"), (CopyColumns, "records"))


class Account:
    """Seconds of CPU time, over all threads; what is called from within something on the account is on it already."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0
        self._lock = threading.Lock()
        self._here = threading.local()

    def charged(self, function):
        """The same function, at the account's expense."""

        @wraps(function)
        def call(*arguments, **named):
            if getattr(self._here, "inside", False):
                return function(*arguments, **named)
            self._here.inside, began = True, time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                spent = time.thread_time() - began
                self._here.inside = False
                with self._lock:
                    self.seconds += spent
                    self.calls += 1

        return call


def install(going: Account, setting_up: Account) -> list[threading.Thread]:
    """Put the program's telling on the account; the threads that it starts are added to the list."""
    started: list[threading.Thread] = []
    for cls in CLASSES:
        for name, function in list(vars(cls).items()):
            if callable(function) and not name.startswith("_"):
                setattr(cls, name, going.charged(function))
    for cls, name in ASKED:
        setattr(cls, name, going.charged(getattr(cls, name)))

    start, watching = threading.Thread.start, progress.watching

    def start_charged(thread: threading.Thread) -> None:
        if sys._getframe(1).f_globals["__name__"].startswith(TELLERS):  # noqa: SLF001 - who starts it is the point
            started.append(thread)
            thread.run = going.charged(thread.run)  # type: ignore[method-assign]
        start(thread)

    @contextmanager
    def watching_charged(**options):
        inner = watching(**options)
        told = setting_up.charged(inner.__enter__)()
        try:
            yield told
        except BaseException:
            if not inner.__exit__(*sys.exc_info()):
                raise
        else:
            inner.__exit__(None, None, None)

    threading.Thread.start = start_charged  # type: ignore[method-assign]
    progress.watching = watching_charged
    return started


def main(told: str, arguments: list[str]) -> int:
    going, setting_up = Account(), Account()
    started = install(going, setting_up)
    code = app.app(arguments, standalone_mode=False)
    for thread in started:
        thread.join()
    account = {
        "going": going.seconds, "setting_up": setting_up.seconds, "threads": len(started), "calls": going.calls,
    }  # fmt: skip
    Path(told).write_text(json.dumps(account), encoding="utf-8")
    return int(code or 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
