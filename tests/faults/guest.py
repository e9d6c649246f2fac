"""A machine that can be killed: a user-mode Linux guest, whose world is the host's own file system.

The guest is a kernel of its own (Debian's package user-mode-linux) in a process of ours: no virtual machine, no image
to be installed. It sees all files of the host, this project and its interpreter among them; what it writes stays in
its memory, but for what it writes to its disks, which are image files. Killing it is a power cut: its memory is
gone, what its block devices were given stays.

Nothing outside of the guest's own folder can be harmed, whatever is done in it: the guest runs in namespaces of its own
(mounts, processes, network), in which the host's whole tree is read-only but for that folder, its memory is a tmpfs of
fixed size that nobody else sees, and no file of it can outgrow `LARGEST`. It ends with whoever started it, and after its
time.

Run as a program this module is the first process of those namespaces.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import resource
import select
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

KERNEL: Final = "linux.uml"
MODULES: Final = Path("/usr/lib/uml/modules")
BOOT: Final = 60.0  # seconds; it takes two when nothing else runs
DEATH: Final = 20.0  # seconds until the last of its processes is gone
LARGEST: Final = 2 << 30  # bytes of any file that the guest's processes write to
MAKERS: Final = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_NAMESPACES: Final = ("--mount", "--pid", "--net", "--ipc", "--mount-proc", "--fork", "--kill-child")


_PRELOAD: Final = "GUEST_PRELOAD"
ANSWER: Final = 30.0  # seconds, for what is asked after a silence
# Where each thread stands in the kernel; interpreters that are not the rig's own tell where they stand, and end by it: those
# that die with another one first.
PLIGHT: Final = r"""
others() { for one in /proc/[0-9]*; do
    line=$(tr '\0' ' ' < $one/cmdline) && [ -n "$line" ] || continue
    case $line in *errand.py*|*inside.py*) continue;; *"$1"*) $2 $one "$line";; esac
done; }
told() { echo "${1#/proc/} $2"; for thread in $1/task/*; do echo "$(cat $thread/wchan) $(cat $thread/comm)"; cat $thread/stack; done; }
asked() { kill -ABRT ${1#/proc/} && echo asked; }
{ others '' told; others spawn_main asked; sleep 1; others python asked; } 2>&1
"""


class GuestError(Exception):
    """The guest itself did not do what it should: this says nothing about what is tested in it."""


def missing() -> str | None:
    """What this machine lacks for a guest, None if nothing."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "needs Linux on x86-64"
    if os.geteuid() != 0:
        return "needs root: namespaces of its own"
    if _is_wide() and shutil.which("cc") is None:
        return "needs a C compiler: user-mode Linux does not know this processor's registers (registers.c)"
    if lacking := [name for name in (KERNEL, "unshare", "mkfs.ext4") if shutil.which(name, path=_PATH) is None]:
        return f"needs {', '.join(lacking)}"
    if not MODULES.is_dir():
        return f"needs {MODULES}"
    asked = subprocess.run(["unshare", *_NAMESPACES, "true"], capture_output=True, text=True, timeout=BOOT, check=False)
    return f"needs namespaces: {asked.stderr.strip()}" if asked.returncode else None


def image(file: Path, kind: str, megabytes: int) -> Path:
    """A disk for a guest: a file with holes, with a new file system of one of the `MAKERS`."""
    with file.open("xb") as stream:
        stream.truncate(megabytes << 20)
    made = subprocess.run([*MAKERS[kind], file], capture_output=True, text=True, timeout=BOOT, check=False,
                          env={**os.environ, "PATH": _PATH})  # fmt: skip
    if made.returncode:
        raise GuestError(f"{MAKERS[kind][0]}: {made.stderr.strip()}")
    return file


@dataclass(frozen=True)
class Done:
    """A command that has ended in the guest."""

    code: int
    out: str
    errors: str


@dataclass
class Job:
    """A command that runs in the guest."""

    guest: Guest
    number: int
    _news: queue.SimpleQueue[dict[str, Any]] = field(default_factory=queue.SimpleQueue)
    _out: list[str] = field(default_factory=list)
    _errors: list[str] = field(default_factory=list)
    _asked_after: bool = False

    def line(self, seconds: float) -> str | None:
        """Its next line on stdout; None when it has ended.

        Raises:
            GuestError: there was none in so long, or the guest is gone.
        """
        limit = time.monotonic() + seconds
        while True:
            try:
                news = self._news.get(timeout=max(0, limit - time.monotonic()))
            except queue.Empty:
                raise GuestError(f"nothing was heard for {seconds:.0f} s; {self._plight()}") from None
            if news.get("gone"):
                self._news.put(news)  # for whoever asks again
                raise GuestError(f"the guest is gone: {self.guest.log()}")
            if "errors" in news:
                self._errors.append(news["errors"])
            elif "out" in news:
                self._out.append(news["out"])
                return str(news["out"])
            else:
                self._news.put(news)
                return None

    def wait(self, seconds: float) -> Done:
        """Its end."""
        limit = time.monotonic() + seconds
        while self.line(limit - time.monotonic()) is not None:
            pass
        return Done(self._news.get()["code"], "".join(self._out), "".join(self._errors))

    def _plight(self) -> str:
        """Where the guest's processes stand, and what the job said; its interpreters are ended for it."""
        if self._asked_after:
            return "nor was it when it was asked after"
        self._asked_after = True
        told = self.guest.start("sh", "-c", PLIGHT)
        told._asked_after = True
        try:
            stand = told.wait(ANSWER).out
            if "asked\n" in stand:
                self.wait(ANSWER)
        except GuestError as error:
            stand = f"{''.join(told._out)}\n{error}"
        return f"its processes:\n{stand[-20_000:]}\nit said: {''.join([*self._out[-3:], *self._errors])[-20_000:]}"

    def signal(self, number: int) -> None:
        """Signal its process group."""
        self.guest.ask(job=self.number, signal=number)

    def tell(self, news: dict[str, Any]) -> None:
        """What was heard of it."""
        self._news.put(news)


def _is_wide() -> bool:
    """Whether the processor has registers that the guest's kernel does not know."""
    return " amx_tile" in Path("/proc/cpuinfo").read_text()


def _wide(folder: Path) -> dict[str, str]:
    """What the guest's kernel needs to run on such a processor, for the environment of `hold`; made where it is missing."""
    if not _is_wide():
        return {}
    library = folder.resolve() / "registers.so"
    if not library.exists():
        source = Path(__file__).with_name("registers.c")
        subprocess.run(["cc", "-Wall", "-Werror", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return {_PRELOAD: str(library)}


class Guest:
    """A guest that is up."""

    def __init__(self, folder: Path, disks: Sequence[Path] = (), megabytes: int = 640, seconds: float = 600) -> None:
        """Start it.

        Args:
            folder: all of the host that may be written to. disks: images in that folder, in the guest ``/dev/ubda``,
                ``/dev/ubdb`` … megabytes: its memory. seconds: how long it may live.
        """
        if strangers := [
            disk for disk in disks if folder.resolve() not in disk.resolve().parents or not disk.is_file()
        ]:
            raise GuestError(f"not in the guest's folder: {strangers}")
        self._jobs: dict[int, Job] = {}
        self._numbers = count(1)
        self._ready = threading.Event()
        self._log = folder / f"guest-{os.urandom(3).hex()}.log"
        start = self._log.with_suffix(".sh")
        start.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{Path(__file__).with_name('inside.py')}'\n")
        start.chmod(0o755)
        (theirs_in, self._line), (heard, theirs_out) = os.pipe(), os.pipe()
        command = [
            "unshare", *_NAMESPACES, sys.executable, __file__, str(folder), str(megabytes), str(seconds),
            str(theirs_in), str(theirs_out), KERNEL, f"mem={megabytes}M", "uml_dir=/dev/shm/", f"umid={self._log.stem}",
            "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={start}",
            "con=null", "con0=fd:0,fd:1", "ssl=null", f"ssl0=fd:{theirs_in},fd:{theirs_out}",
            *(f"ubd{chr(ord('a') + number)}={disk.resolve()}" for number, disk in enumerate(disks)),
        ]  # fmt: skip
        try:
            with self._log.open("wb") as log:
                # Its stdin is the leash: it ends when we do.
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=(theirs_in, theirs_out), cwd="/",
                    env={**os.environ, "PATH": _PATH, "TMPDIR": "/dev/shm", **_wide(folder)}, start_new_session=True,
                )  # fmt: skip
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self._listener = threading.Thread(target=self._listen, args=(heard,), daemon=True)
        self._listener.start()
        if not self._ready.wait(BOOT) or not self._listener.is_alive():
            self.kill()
            raise GuestError(f"the guest did not start: {self.log()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def log(self) -> str:
        """The last that its kernel said."""
        return self._log.read_text(errors="replace")[-3000:]

    @property
    def pid(self) -> int:
        """The host's process that all of it has come from."""
        return self._process.pid

    def start(self, *command: str | Path, **environment: str) -> Job:
        """Start a command in it, of the same code that is tested here."""
        job = Job(self, next(self._numbers))
        self._jobs[job.number] = job
        same = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        self.ask(job=job.number, command=list(map(str, command)), environment=same | environment)
        return job

    def run(self, *command: str | Path, seconds: float = 60, code: int | None = 0) -> Done:
        """Run a command to its end; it has to exit with this code, if one is given."""
        done = self.start(*command).wait(seconds)
        if code is not None and done.code != code:
            raise GuestError(f"{' '.join(map(str, command))}: exit {done.code}: {done.errors[-3000:]}")
        return done

    def load(self, *modules: str) -> None:
        """Load modules of its kernel."""
        self.run(sys.executable, Path(__file__).with_name("inside.py"), *modules)

    def mount(self, disk: str, where: str, kind: str, options: str = "rw") -> str:
        """Mount one of its disks (`a`, `b` …)."""
        self.run("mkdir", "-p", where)
        self.load(kind)
        self.run("mount", "-t", kind, "-o", options, f"/dev/ubd{disk}", where)
        return where

    def ask(self, **what: Any) -> None:
        """Say something to its first process."""
        try:
            os.write(self._line, json.dumps(what).encode() + b"\n")
        except OSError as error:
            raise GuestError(f"the guest is gone: {self.log()}") from error

    def kill(self) -> None:
        """End all of it at once, as a power cut does; returns when its last process is gone."""
        if self._line < 0:
            return
        self._process.kill()  # unshare; the first process of its namespaces dies with it, and all others with that one
        self._process.communicate(timeout=DEATH)
        self._listener.join(DEATH)  # the other end of the line is open in every process of the guest
        os.close(self._line)
        self._line = -1
        if self._listener.is_alive():
            raise GuestError("something of the guest is still there")

    def _listen(self, heard: int) -> None:
        with open(heard, "rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # cut off in the middle of it
                news = json.loads(line)
                if "ready" in news:
                    self._ready.set()
                elif (job := self._jobs.get(news["job"])) is not None:
                    job.tell(news)
        self._ready.set()
        for job in list(self._jobs.values()):
            job.tell({"gone": True})


# The first process of the guest's namespaces

_RDONLY: Final = 1  # MOUNT_ATTR_RDONLY
_RECURSIVE: Final = 0x8000  # AT_RECURSIVE
_MOUNT_SETATTR: Final = 442
_BIND: Final = 0x1000  # MS_BIND
_HERE: Final = -100  # AT_FDCWD
_DETACH: Final = 2  # MNT_DETACH


def _checked(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def hold(folder: str, megabytes: int, seconds: float, line: tuple[int, int], command: list[str]) -> None:
    """Make the host read-only but for a folder, start the guest, and end it when its time or its owner has gone."""
    libc = ctypes.CDLL(None, use_errno=True)

    def set_read_only(where: str, reach: int, *, on: bool) -> None:
        wanted = (ctypes.c_uint64 * 4)(_RDONLY if on else 0, 0 if on else _RDONLY, 0, 0)
        result = libc.syscall(_MOUNT_SETATTR, _HERE, where.encode(), reach, wanted, ctypes.sizeof(wanted))
        _checked(result, f"mount_setattr {where}")

    _checked(libc.mount(folder.encode(), folder.encode(), None, _BIND, None), f"bind {folder}")
    set_read_only("/", _RECURSIVE, on=True)
    set_read_only(folder, 0, on=False)
    # What is mounted beside its folder is of other tests, which unmount it one day: it must not be held here until the end.
    beside = f"/{Path(folder).parts[1]}/"
    for point in reversed([line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]):
        where = point.encode().decode("unicode_escape")
        if where.startswith(beside) and not f"{folder}/".startswith(f"{where}/"):
            libc.umount2(where.encode("latin-1"), _DETACH)
    # Where its memory is kept, as a file: nobody else's, and no more of it than the guest was given.
    room = f"size={megabytes + 16}m".encode()
    _checked(libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, room), "tmpfs")
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    own = {"LD_PRELOAD": os.environ[_PRELOAD]} if _PRELOAD in os.environ else {}
    guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=line, env={**os.environ, **own})
    limit = time.monotonic() + seconds
    while guest.poll() is None and time.monotonic() < limit and not select.select([0], [], [], 0.2)[0]:
        pass


if __name__ == "__main__":
    _, place, memory, lifetime, incoming, outgoing, *kernel = sys.argv
    hold(place, int(memory), float(lifetime), (int(incoming), int(outgoing)), kernel)
