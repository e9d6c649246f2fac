"""The first process of a guest (guest.py): builds the guest's world, then does what the host asks for.

The world is the host's own file system under a layer of memory: all of it can be written to, nothing of it reaches the
host, and it is gone with the guest. With arguments this module loads kernel modules of these names. What the host asks for comes as lines of JSON through a serial line, and so does
what becomes of it.

=============================================  ================================================================
from the host                                  `{"job": 1, "command": ["true"], "environment": {}}`
                                               `{"job": 1, "signal": 9}`, to the job's whole process group
to the host                                    `{"ready": "6.1.0"}`, `{"job": 1, "out": "a line"}`,
                                               `{"job": 1, "errors": "a line"}`, and last `{"job": 1, "code": 0}`
=============================================  ================================================================
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import sys
import threading
import tty
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

LINE: Final = "/dev/ttyS0"
MODULES: Final = "/usr/lib/uml/modules"  # where Debian keeps them; there is no modprobe that would look there
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FINIT_MODULE: Final = 313  # its number on x86-64
_libc = ctypes.CDLL(None, use_errno=True)


def mount(what: str, where: str, kind: str, options: str = "") -> None:
    """mount(2): the command wants a world to be there already."""
    if _libc.mount(what.encode(), where.encode(), kind.encode(), 0, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), where)


def load(*names: str) -> None:
    """Load kernel modules, and what they need. One that the kernel has built in is no file, and is there.

    Raises:
        OSError: the kernel refuses one.
    """
    folder = Path(MODULES, os.uname().release)
    needs = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[Path(path).name.partition(".")[0].replace("-", "_")] = [*reversed(others.split()), path]
    for name in names:
        for path in needs.get(name.replace("-", "_"), ()):
            descriptor = os.open(folder / path, os.O_RDONLY)
            if _libc.syscall(_FINIT_MODULE, descriptor, b"", 0) and (number := ctypes.get_errno()) != errno.EEXIST:
                raise OSError(number, os.strerror(number), path)
            os.close(descriptor)


def build() -> None:
    """Make the host's file system writable, in memory, and enter it."""
    mount("proc", "/proc", "proc")  # the interpreter's threads and the loader look there
    load("overlay")
    mount("tmpfs", "/mnt", "tmpfs")
    for name in ("upper", "work", "world"):
        os.mkdir(f"/mnt/{name}")
    mount("overlay", "/mnt/world", "overlay", "lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work")
    os.chroot("/mnt/world")
    os.chdir("/")
    mount("proc", "/proc", "proc")
    mount("sysfs", "/sys", "sysfs")
    mount("devtmpfs", "/dev", "devtmpfs")
    for place in ("/dev/shm", "/dev/pts", "/run"):
        os.makedirs(place, exist_ok=True)
    mount("tmpfs", "/dev/shm", "tmpfs")
    mount("devpts", "/dev/pts", "devpts")
    mount("tmpfs", "/run", "tmpfs")
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        with suppress(FileExistsError):
            os.symlink(f"/proc/self/fd{target}", f"/dev/{name}")
    os.environ.update(PATH=PATH, HOME="/root", LANG="C.UTF-8", PYTHONFAULTHANDLER="1", INGEST_DEBUG="1")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)  # a guest without it is still a guest


class Servant:
    """Starts what the host asks for, and tells what comes of it."""

    def __init__(self) -> None:
        descriptor = os.open(LINE, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(descriptor)
        self._asked = open(descriptor, "rb", closefd=False)  # noqa: SIM115 - until the guest's end
        self._line = descriptor
        self._telling = threading.Lock()
        self._jobs: dict[int, subprocess.Popen[str]] = {}

    def tell(self, **what: Any) -> None:
        left = memoryview(json.dumps(what).encode() + b"\n")
        with self._telling:
            while left:
                left = left[os.write(self._line, left) :]

    def serve(self) -> None:
        self.tell(ready=os.uname().release)
        for line in self._asked:
            asked = json.loads(line)
            if "command" in asked:
                threading.Thread(target=self._do, args=(asked,), daemon=True).start()
            elif (process := self._jobs.get(asked["job"])) is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, asked["signal"])

    def _do(self, asked: dict[str, Any]) -> None:
        job = asked["job"]
        try:
            process = subprocess.Popen(
                asked["command"], env={**os.environ, **asked["environment"]}, cwd="/", start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                errors="backslashreplace",
            )  # fmt: skip
        except OSError as error:
            self.tell(job=job, errors=f"{error}\n")
            self.tell(job=job, code=127)
            return
        self._jobs[job] = process
        streams = [("out", process.stdout), ("errors", process.stderr)]
        readers = [threading.Thread(target=self._pass_on, args=(job, name, stream)) for name, stream in streams]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        self.tell(job=job, code=process.wait())

    def _pass_on(self, job: int, name: str, stream: IO[str]) -> None:
        for line in stream:
            self.tell(job=job, **{name: line})


if __name__ == "__main__":
    if names := sys.argv[1:]:
        load(*names)
        sys.exit()
    try:
        build()
        Servant().serve()
    except BaseException as error:  # the kernel's log is all that the host can read of a guest that does not start
        print(f"the guest's first process: {error!r}", file=sys.stderr, flush=True)
        raise
