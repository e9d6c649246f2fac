"""A worker's process: how it comes to life, perhaps before it is known what for, and how it ends.

A process is started first and told its :class:`~ingest.workers.messages.Setup` through its pipe afterwards. So one
can be made ready while the program still reads what it needs itself (`ahead`): starting takes longer than copying a
small file.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import types
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, Final

from ingest import engine
from ingest.workers import worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess


@dataclass(frozen=True, slots=True, eq=False)
class Newborn:
    """A process that waits to be told what it is for.

    Attributes:
        pipe: duplex, to it; its first message is the Setup. words: the shared page.
    """

    process: SpawnProcess
    pipe: Connection
    words: Any

    def dismiss(self) -> None:
        """It is not needed: nothing was asked of it, so it is ended at once."""
        self.pipe.close()
        self.process.kill()
        self.process.join(0.5)
        abandon(self.process)


# Two sessions of one program may start workers at the same time: what is hidden is the whole program's.
_STARTING: Final = threading.Lock()
# Started ahead, and not taken yet.
_READY: Final[list[Newborn]] = []


def start(number: int) -> Newborn:
    """A new process, named after a number.

    Raises:
        OSError: there is no room for one more.
    """
    context = multiprocessing.get_context("spawn")
    words = context.RawArray(ctypes.c_uint64, engine.PAGE_WORDS)
    ours, theirs = context.Pipe()
    process = context.Process(target=live, args=(theirs, words, os.getpid()), name=_name(number), daemon=True)
    try:
        with quiet_start():
            process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Newborn(process, ours, words)


def take(number: int) -> Newborn:
    """The process that was started ahead, if one is left, else a new one.

    Raises:
        OSError: as `start`.
    """
    with _STARTING:
        newborn = _READY.pop() if _READY else None
    if newborn is None:
        return start(number)
    newborn.process.name = _name(number)
    return newborn


@contextmanager
def ahead() -> Iterator[None]:
    """While inside, one process is ready for the first supervisor; if none takes it, it is ended.

    To be entered by the thread that will stay: the kernel ends a process with the thread that started it. Where none
    can be started that is left to the supervisor to say.
    """
    newborn = None
    with suppress(OSError):
        newborn = start(0)
        with _STARTING:
            _READY.append(newborn)
    try:
        yield
    finally:
        with _STARTING:
            left = newborn in _READY
            if newborn is not None and left:
                _READY.remove(newborn)
        if newborn is not None and left:
            newborn.dismiss()


def settle_in(parent: int) -> None:
    """The first thing that a process of ours does: it dies with its parent, and holds nothing that others wait for.

    One that hangs in the kernel stays behind when its parent ends. Whoever reads that one's output would wait for the
    end of it until the kernel lets go; so would the helper process of `multiprocessing`, which has it open, too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    engine.die_with_parent()
    if os.getppid() != parent:
        os._exit(0)  # it died before the kernel knew
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(2 if os.environ.get("INGEST_DEBUG") else 3):
        os.dup2(nothing, stream)
    os.close(nothing)
    let_tracker_go()


def let_tracker_go() -> None:
    """Let go of the helper process of `multiprocessing`, which ends when nobody holds its pipe; it holds our streams."""
    # There is no public way to do without it.
    tracker: Any = getattr(resource_tracker, "_resource_tracker", None)
    if (inherited := getattr(tracker, "_fd", None)) is not None:
        os.close(inherited)
        tracker._fd = None  # noqa: SLF001


def live(pipe: Connection, words: Any, parent: int) -> None:
    """The entry point of the process: wait for the Setup, then work; never returns once it was told.

    It leaves without the interpreter's own farewell: a worker keeps nothing that would need it, and the supervisor
    waits for its end.
    """
    settle_in(parent)
    try:
        setup = pipe.recv()
    except (EOFError, OSError):
        os._exit(0)  # whoever wanted it has gone
    if setup is not None:
        worker.main(pipe, words, setup)
    os._exit(0)


def abandon(process: SpawnProcess) -> None:
    """Forget a process: one that the kernel does not let go must not hold up our own end.

    `multiprocessing` waits at exit for every child it knows, without a limit.
    """
    if process.is_alive():
        children: set[object] = getattr(multiprocessing.process, "_children", set())
        children.discard(process)


def _name(number: int) -> str:
    return f"ingest-worker-{number}"


@contextmanager
def quiet_start() -> Iterator[None]:
    """Prepare for a spawn.

    Ctrl-C is kept back: the child inherits the mask and ignores it from its first line on. The main module is
    hidden: spawn would import it again in the child, with all that it needs.
    """
    with _STARTING:
        yield from _hidden()


def _hidden() -> Iterator[None]:
    # Starting its helper process, `multiprocessing` would unblock the signal again: that is done before.
    resource_tracker.ensure_running()
    main_module = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        sys.modules["__main__"] = main_module
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
