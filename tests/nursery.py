"""Children that run the command line, with everything loaded that it will need: a start takes some hundredths of a second.

`run` stands in for `subprocess.run` where a command line is run to its end and nothing is asked of its process but what
it says; anything else (a terminal, a signal, another user, an environment that an interpreter heeds when it starts)
gets an interpreter of its own. Who has fewer rights (`setpriv`) has a process of that kind with just those. `Nursery` is one such process by itself, for who traces its children: with `halt` a
child stops itself before the program's first step, until it is let go on, so that who attaches to it meanwhile meets
the program's own calls alone, and none of an interpreter that loads.

As a program: ``python nursery.py MODULES``, where MODULES names a module in each line. Each line on standard input is
an order (JSON); the answers are the child's process id and, when it has ended, how.
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
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

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


# The program


def born(order: dict[str, Any]) -> None:
    """In a child: take the place that was ordered, and run the command line."""
    if order["group"]:
        os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    for stream, place in ((1, order["out"]), (2, order["errors"])):
        file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, stream)
        os.close(file)
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
    # The standard streams are the children's: as an interpreter makes them that is not at a terminal.
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    os.close(nothing)
    for line in orders:
        child = os.fork()
        if not child:
            os.close(orders.fileno())
            os.close(answers.fileno())
            born(json.loads(line))
        print(child, file=answers, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


# Who asks it


class Nursery:
    """One such process, in a folder of its own, with these modules loaded. One child at a time.

    `prefix`: a command that starts it with other rights, for itself and its children.
    """

    def __init__(self, folder: Path, modules: Sequence[str], prefix: Sequence[str] = ()) -> None:
        self._out, self._errors = folder / "out", folder / "errors"
        (folder / "modules").write_text("\n".join(modules))
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [*prefix, sys.executable, __file__, folder / "modules"],
            env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True,
        )  # fmt: skip

    def begin(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, folder: str | None = None, group: bool = False,
        halt: bool = False, learn: Path | None = None, killed_before: str | None = None,
    ) -> int:  # fmt: skip
        """Start a child; its process id.

        Args:
            folder: it works in, this process's without one. group: it leads a process group. halt: it stops itself first.
            learn: a file that gets the names of the modules which were loaded at its end.
            killed_before: "module:function", a call that it does not live to make.
        """
        order = {
            "arguments": arguments, "environment": dict(environment), "folder": folder or os.getcwd(), "group": group,
            "halt": halt, "learn": learn and str(learn), "out": str(self._out), "errors": str(self._errors),
            "killed_before": killed_before,
        }  # fmt: skip
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._child = int(self._process.stdout.readline())
        return self._child

    def end(self, seconds: float | None = None) -> tuple[int, bytes, bytes]:
        """Wait for the child that was started last: its exit code, what it said, and what it complained of.

        Raises:
            TimeoutError: it took longer, and was killed.
        """
        ended, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ended:
            os.kill(self._child, signal.SIGKILL)
        code = int(self._process.stdout.readline())
        said = self._out.read_bytes(), self._errors.read_bytes()
        if not ended:
            raise TimeoutError(said)
        return code, *said

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


_lock = Lock()
_kept: dict[tuple[str | bytes, ...], Nursery] = {}  # by their prefixes


def run(
    command: Sequence[str | bytes], *, env: Mapping[str, str], timeout: float, text: bool = False,
    killed_before: str | None = None, **options: Any,
) -> subprocess.CompletedProcess[Any]:  # fmt: skip
    """As `subprocess.run`, with its output captured; `killed_before` as `Nursery.begin` takes it."""
    before = command.index(sys.executable) if command[0] == "setpriv" else 0
    prefix, arguments = tuple(command[:before]), command[before + len(COMMAND) :]
    plain = tuple(command[before : before + len(COMMAND)]) == COMMAND and set(options) <= {"cwd"}
    assert plain or not killed_before
    if not plain or not _lock.acquire(blocking=killed_before is not None):
        return subprocess.run(command, env=env, capture_output=True, text=text, timeout=timeout, check=False, **options)
    try:
        names = {name for name, _ in set(env.items()) ^ set(ENVIRONMENT.items())}
        if not all(name.startswith(HEEDED_LATER) for name in names):
            assert not killed_before
            return subprocess.run(
                command, env=env, capture_output=True, text=text, timeout=timeout, check=False, **options
            )
        folder, nursery = options.get("cwd"), _nursery(prefix)
        nursery.begin([os.fsdecode(each) for each in arguments], env,
                      folder=folder and os.fspath(folder), killed_before=killed_before)  # fmt: skip
        try:
            code, out, errors = nursery.end(timeout)
        except TimeoutError as error:
            raise subprocess.TimeoutExpired(command, timeout, *error.args[0]) from None
    finally:
        _lock.release()
    return subprocess.CompletedProcess(command, code, *((out.decode(), errors.decode()) if text else (out, errors)))


def _nursery(prefix: tuple[str | bytes, ...]) -> Nursery:
    if prefix not in _kept:
        folder = tempfile.TemporaryDirectory(prefix="ingest-nursery-")
        _kept[prefix] = Nursery(Path(folder.name), [*own(), *USUAL], [os.fsdecode(each) for each in prefix])
        atexit.register(folder.cleanup)
        atexit.register(_kept[prefix].close)
    return _kept[prefix]


if __name__ == "__main__":
    obey()
