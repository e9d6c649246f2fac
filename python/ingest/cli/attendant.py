"""The attendant: the process that a shell waits for, where the one that works may be kept by the kernel.

A process counts as ended when each of its threads has. One that stands before a FUSE mount whose daemon does not answer
(sshfs, after its server froze) cannot even be killed: all would be said and written down, and the shell would wait for
hours. So where a share or a FUSE mount takes part, the program goes on in a child; its parent opens nothing, passes on
signals and the exit code, and ends when the child says that it has, or has ended otherwise. The child has a process
group of its own, so that what a terminal sends comes to it once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.storage.volumes import Mount

# What a system calls it: its command line is the child's.
NAME: Final = b"ingest-attend"
# How often it looks whether the child has said anything (seconds); an end that the kernel allows is heard at once.
TICK: Final = 0.1
# A child that has said its last word has so long to go.
FAREWELL: Final = 0.5

_PASSED_ON: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)
# Of a process with an attendant: where it says how it ends.
_says: list[int] = []


def attend(arguments: Sequence[str]) -> None:
    """Go on in a child, if what this command line works on may hang; the attendant itself never returns.

    To be called while the process has one thread.
    """
    try:
        if not _may_hang(arguments):
            return
    except OSError:
        pass  # where it cannot be told, it may
    from ingest import engine

    parent = os.getpid()
    hears, says = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGTSTP, signal.SIGCHLD})
    child = os.fork()
    if child:
        os.close(says)
        with suppress(OSError):
            os.setpgid(child, child)  # as the child does: who is first must not matter
        _wait(child, hears)
    with suppress(OSError):
        os.setpgid(0, 0)
    # It is not the terminal's foreground any more, and writes there all the same, whatever `stty tostop` says.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    engine.die_with_parent()
    if os.getppid() != parent:
        os._exit(0)  # it died before the kernel knew
    os.close(hears)
    _says.append(says)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def say_goodbye(code: int) -> None:
    """Tell the attendant how this process ends, and let go of everything that somebody else may wait for."""
    for says in _says:
        with suppress(OSError):
            os.write(says, b"%d\n" % code)
        # What a thread in the kernel keeps open is the whole process's. Files on the disk that hangs stay open: closing
        # them would hang as well.
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        if "ingest.workers.process" in sys.modules:
            from ingest.workers.process import let_tracker_go

            let_tracker_go()


def _may_hang(arguments: Sequence[str]) -> bool:
    """Whether a session may meet a share or a daemon's mount: of a copy its paths say it, of a resume the mount table."""
    if not arguments or arguments[0] not in ("copy", "resume"):
        return False
    from ingest.storage.volumes import mounts

    table = mounts()
    if arguments[0] == "resume" or not any(mount.may_hang for mount in table):
        return any(mount.may_hang for mount in table)
    # Which words are paths only the command knows: one too many costs nothing. `--also=DEST` is one word.
    words = [word for each in arguments[1:] for word in (each, each.partition("=")[2]) if word]
    return any(_leads_away(os.fsencode(word), table) for word in words)


def _leads_away(word: bytes, table: list[Mount]) -> bool:
    from ingest.errors import IngestError
    from ingest.storage.reach import obstacle
    from ingest.storage.urls import located

    try:
        return obstacle(located(word, table), table) is not None
    except (IngestError, OSError):
        return False  # no share that is mounted, or the folder that this was started from is gone: the command says so


def _wait(child: int, hears: int) -> NoReturn:
    with suppress(OSError), open("/proc/self/comm", "wb") as name:
        name.write(NAME)
    os.set_blocking(hears, False)
    said, limit = b"", float("inf")
    while time.monotonic() < limit:
        info = signal.sigtimedwait({*_PASSED_ON, signal.SIGTSTP, signal.SIGCHLD}, TICK)
        if info is not None and info.si_signo in _PASSED_ON:
            os.kill(child, info.si_signo)
        elif info is not None and info.si_signo == signal.SIGTSTP:
            os.killpg(child, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)  # until somebody says `fg`
            os.killpg(child, signal.SIGCONT)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            _end_as(status)
        with suppress(BlockingIOError):
            said += os.read(hears, 16)
        if said.endswith(b"\n"):
            limit = min(limit, time.monotonic() + FAREWELL)
    os._exit(int(said))


def _end_as(status: int) -> NoReturn:
    """End as the child did."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
