"""Looking at places that may not answer: from a process of its own, with a thread for each.

A call into a dead server can hang in the kernel where no signal reaches it, and with it the process that made it, up
to and past its own end. So somebody else makes it, who can be left behind.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.storage.looking import Look, looked
from ingest.workers.process import abandon, quiet_start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

# A place that says nothing for so long does not answer: the specification's deadline of a probe, in seconds.
SILENCE: Final = 10.0


def visit(paths: Sequence[bytes], *, thorough: bool = False, silence: float = SILENCE) -> list[Look]:
    """Look at places (absolute paths), all at once; the answers in their order.

    Args:
        thorough: try the features of those that are archives, too. silence: seconds without any answer after which
            the rest is given up.

    Raises:
        OSError: there is no room for a process more.
    """
    if not paths:
        return []
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_live, args=(theirs, list(paths), thorough, os.getpid()), name="ingest-visits", daemon=True
    )
    try:
        with quiet_start():
            process.start()
        theirs.close()
        return _gather(ours, paths, silence)
    finally:
        theirs.close()
        ours.close()
        if process.pid is not None:
            process.kill()
            process.join(0.5)
            abandon(process)


def _gather(pipe: Connection, paths: Sequence[bytes], silence: float) -> list[Look]:
    seen: dict[int, Look] = {}
    open_ = set(range(len(paths)))
    silent = f"it has not answered for {silence:g} seconds"
    deadline = time.monotonic() + silence
    while open_ and pipe.poll(max(0.0, deadline - time.monotonic())):
        try:
            number, look, last = pipe.recv()
        except EOFError:
            silent = "whoever looked there died"
            break
        seen[number] = look
        if last:
            open_.discard(number)
        deadline = time.monotonic() + silence
    return [seen.get(number) or Look(path, silent) for number, path in enumerate(paths)]


def _live(pipe: Connection, paths: Sequence[bytes], thorough: bool, parent: int) -> None:
    """The process: a thread for each place; a place that hangs keeps only its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    engine.die_with_parent()
    if os.getppid() != parent:
        os._exit(0)  # it died before the kernel knew
    _let_go()
    telling = threading.Lock()

    def tell(number: int, path: bytes) -> None:
        look = Look(path)
        try:
            for look in looked(path, thorough=thorough):
                send((number, look, False))
        except Exception as error:  # noqa: BLE001 - this process has no other way to tell of a bug
            look = replace(look, problem=f"{type(error).__name__}: {error}")
        send((number, look, True))

    def send(message: tuple[int, Look, bool]) -> None:
        with telling:
            pipe.send(message)

    threads = [threading.Thread(target=tell, args=each, daemon=True) for each in enumerate(paths)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(0)


def _let_go() -> None:
    """Hold nothing that others wait for the end of.

    Whoever reads what our caller prints waits until the last process that could print has gone, and this one may be
    the last for hours; so may `multiprocessing`'s own helper, which lives as long as somebody holds its pipe.
    """
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    held = resource_tracker.getfd()
    if held is not None:
        os.close(held)
