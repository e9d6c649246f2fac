"""Children that run the command line, with everything loaded that it will need: a start takes some hundredths of a second.

`run` and `start` stand in for `subprocess.run` and `Popen` where nothing is asked of the process but what it says, that it
leads a session of its own, or that it works in another folder; anything else (a terminal, another user, an environment
that an interpreter heeds when it starts) gets an interpreter of its own. Who has fewer rights (`setpriv`) or
system calls has a process of that kind with just those. With `halt` a child stops itself before the program's first step,
until it is let go on, so that who attaches to it meanwhile meets the program's own calls alone, and none of an interpreter
that loads.

As a program: ``python nursery.py MODULES CHANNEL``, where MODULES names a module in each line, and CHANNEL is the
descriptor of a socket. Each packet on it is an order (JSON), with the two ends of pipes that its child writes to; the
answers are the child's process id and, when it has ended, how.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What most commands import beside the program's own modules; each child imports what else it needs.
USUAL = (
    "alembic",
    "duckdb",
    "pyarrow.compute",
    "pyarrow.parquet",
    "rich.progress",
    "sqlalchemy.dialects.sqlite",
)
# An interpreter does not heed these when it starts.
HEEDED_LATER = ("INGEST_", "XDG_", "HOME", "PYTEST_CURRENT_TEST")
COMMAND = (sys.executable, "-m", "ingest")
# What such a process is started with, whichever test is the first to need one.
ENVIRONMENT = dict(os.environ)
PACKET = 1 << 17  # bytes of an order, at most
BIRTH = 60.0  # seconds


# The program


def born(order: dict[str, Any], streams: Sequence[int]) -> None:
    """In a child: take the place that was ordered, and run the command line."""
    if order["leads"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv = ["ingest", *order["arguments"]]
    from ingest.cli.app import main

    if learn := order["learn"]:
        end = os._exit

        def farewell(code: int) -> None:
            Path(learn).write_text("\n".join(sorted(sys.modules)), encoding="utf-8")
            end(code)

        os._exit = farewell
    if order["killed_before"]:
        module, name = order["killed_before"].split(":")
        setattr(importlib.import_module(module), name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    if order["halt"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    main()


def own() -> list[str]:
    """The program's modules, all but those that one command alone or the migrations' runner loads."""
    import ingest

    names = (module.name for module in pkgutil.walk_packages(ingest.__path__, "ingest."))
    return [name for name in names if not name.startswith(("ingest.bench", "ingest.db.migrations", "ingest.monitor"))]


def obey() -> None:
    for module in Path(sys.argv[1]).read_text(encoding="utf-8").split():
        if module not in ("__main__", "__mp_main__", "ingest.__main__"):
            with suppress(ImportError):
                importlib.import_module(module)
    gc.freeze()
    channel = socket.socket(fileno=int(sys.argv[2]))
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(ended, False)
    usual = signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([channel, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            bury(channel)
        if channel in ready:
            packet, streams, _, _ = socket.recv_fds(channel, PACKET, 2)
            if not packet:
                return
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, usual)
                for each in (ended, wake):
                    os.close(each)
                channel.close()
                born(json.loads(packet), streams)
            for stream in streams:
                os.close(stream)
            channel.send(json.dumps({"born": child}).encode())


def bury(channel: socket.socket) -> None:
    """Tell of every child that has ended."""
    with suppress(ChildProcessError):
        while (died := os.waitpid(-1, os.WNOHANG))[0]:
            channel.send(json.dumps({"died": died[0], "code": os.waitstatus_to_exitcode(died[1])}).encode())


# Who asks it


class Child:
    """Stands in for a `subprocess.Popen` with pipes: the process is a nursery's."""

    def __init__(self, nursery: Nursery, args: Sequence[str], pid: int, pipes: Sequence[int], *, text: bool) -> None:
        self.args, self.pid = args, pid
        self.returncode: int | None = None
        self.stdout, self.stderr = (os.fdopen(pipe, "r" if text else "rb") for pipe in pipes)
        self._nursery = nursery

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.ended(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = self._nursery.ended(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[Any, Any]:
        said: list[Any] = [None, None]

        def read(number: int, stream: Any) -> None:
            said[number] = stream.read()

        threads = [Thread(target=read, args=each, daemon=True) for each in enumerate((self.stdout, self.stderr))]
        for thread in threads:
            thread.start()
        self.wait(timeout)
        for thread in threads:
            thread.join(timeout)
            if thread.is_alive():  # somebody else has its streams open yet
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.stdout.close()
        self.stderr.close()
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()


class Nursery:
    """One such process, in a folder of its own, with these modules loaded.

    `prefix`: a command that starts it with other rights, for itself and its children.
    """

    def __init__(self, folder: Path, modules: Sequence[str], prefix: Sequence[str] = ()) -> None:
        (folder / "modules").write_text("\n".join(modules))
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [*prefix, sys.executable, __file__, str(folder / "modules"), str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )  # fmt: skip
        self._turn, self._news = Lock(), Condition()
        self._born: Queue[int] = Queue()
        self._codes: dict[int, int] = {}
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    def begin(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, folder: str | None = None, leads: bool = False,
        halt: bool = False, learn: Path | None = None, killed_before: str | None = None, text: bool = True,
    ) -> Child:  # fmt: skip
        """Start a child.

        Args:
            folder: it works in, this process's without one. leads: it leads a session. halt: it stops itself first.
            learn: a file that gets the names of the modules which were loaded at its end.
            killed_before: "module:function", a call that it does not live to make.
        """
        order = {
            "arguments": arguments, "environment": dict(environment), "folder": folder or os.getcwd(), "leads": leads,
            "halt": halt, "learn": learn and str(learn), "killed_before": killed_before,
        }  # fmt: skip
        pipes = [os.pipe(), os.pipe()]
        try:
            with self._turn:
                socket.send_fds(self._channel, [json.dumps(order).encode()], [write for _, write in pipes])
                child = self._born.get(timeout=BIRTH)
        finally:
            for _, write in pipes:
                os.close(write)
        return Child(self, ["ingest", *arguments], child, [read for read, _ in pipes], text=text)

    def ended(self, pid: int, seconds: float | None) -> int | None:
        """How a child ended, waiting so long for it; None if it has not."""
        with self._news:
            self._news.wait_for(lambda: pid in self._codes, seconds)
            return self._codes.get(pid)

    def _listen(self) -> None:
        while packet := self._channel.recv(PACKET):
            news = json.loads(packet)
            with self._news:
                if "born" in news:
                    self._codes.pop(news["born"], None)  # another one's number, long ago
                    self._born.put(news["born"])
                else:
                    self._codes[news["died"]] = news["code"]
                    self._news.notify_all()

    def close(self) -> None:
        self._channel.shutdown(socket.SHUT_RDWR)
        self._listener.join()
        self._channel.close()
        self._process.wait(30)


_starting = Lock()
_kept: dict[tuple[str | bytes, ...], Nursery] = {}  # by their prefixes


def start(command: Sequence[str | bytes], *, env: Mapping[str, str], text: bool = False, **options: Any) -> Any:
    """As `subprocess.Popen`, with pipes for its output."""
    if not _plain(command, env, options):
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, text=text, stdout=pipe, stderr=pipe, **options)
    return _begin(command, env, text=text, **options)


def halted(command: Sequence[str | bytes], *, env: Mapping[str, str]) -> Child:
    """A child that leads a session, and waits before the program's first step until it gets SIGCONT."""
    return _begin(command, env, start_new_session=True, halt=True)


def run(
    command: Sequence[str | bytes], *, env: Mapping[str, str], timeout: float, text: bool = False, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """As `subprocess.run`, with its output captured; `killed_before` as `Nursery.begin` takes it."""
    if not _plain(command, env, options):
        return subprocess.run(command, env=env, capture_output=True, text=text, timeout=timeout, check=False, **options)
    child = _begin(command, env, text=text, **options)
    try:
        out, errors = child.communicate(timeout=timeout)
    except BaseException:
        child.kill()
        child.communicate()
        raise
    return subprocess.CompletedProcess(command, child.wait(), out, errors)


def _plain(command: Sequence[str | bytes], env: Mapping[str, str], options: Mapping[str, Any]) -> bool:
    """Whether a nursery's child may do it."""
    names = {name for name, _ in set(env.items()) ^ set(ENVIRONMENT.items())}
    allowed = {"cwd", "start_new_session", "killed_before"}
    usual = tuple(command[_before(command) :][: len(COMMAND)]) == COMMAND and set(options) <= allowed
    plain = usual and all(name.startswith(HEEDED_LATER) for name in names)
    assert plain or "killed_before" not in options
    return plain


def _before(command: Sequence[str | bytes]) -> int:
    """How many words come before the interpreter that runs the program: of what takes rights or calls away, and stays."""
    fewer = command[0] == "setpriv" or str(command[1]).endswith("without_openat2.py")
    return command.index(sys.executable, 1) if fewer else 0


def _begin(
    command: Sequence[str | bytes], env: Mapping[str, str], *, cwd: Any = None, start_new_session: bool = False,
    **order: Any,
) -> Child:  # fmt: skip
    before, folder = _before(command), None if cwd is None else os.fspath(cwd)
    arguments = [os.fsdecode(each) for each in command[before + len(COMMAND) :]]
    return _nursery(tuple(command[:before])).begin(arguments, env, folder=folder, leads=start_new_session, **order)


def _nursery(prefix: tuple[str | bytes, ...]) -> Nursery:
    with _starting:
        if prefix not in _kept:
            folder = tempfile.TemporaryDirectory(prefix="ingest-nursery-")
            _kept[prefix] = Nursery(Path(folder.name), [*own(), *USUAL], [os.fsdecode(each) for each in prefix])
            atexit.register(folder.cleanup)
            atexit.register(_kept[prefix].close)
        return _kept[prefix]


if __name__ == "__main__":
    obey()
