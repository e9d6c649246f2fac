"""A network share that can be lost: a server of our own behind a cable of our own, mounted by sshfs.

Client and server are two network namespaces joined by a pair of interfaces; only the mount itself is the host's, in
a folder of the test's. So no interface, address, route or rule of the host is ever touched, and any number of shares
live side by side with the same addresses. Whatever is signalled was found in one of the two namespaces, or was
started here.

==========  =================================================================================================
`cut`       the server's end of the cable is pulled: packets vanish, the interface has no carrier
`hole`      the server's packet filter swallows everything, silently
`kill`      the server and all its sessions end (SIGKILL): connections are reset, new ones refused
`freeze`    they are stopped (SIGSTOP): the kernel still acknowledges every packet, nobody answers
==========  =================================================================================================
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 20.0  # seconds, for anything that is done to the rig itself
FAULTS: Final = ("cut", "hole", "kill", "freeze")
OPTIONS: Final = {
    # As sshfs is mounted by hand: nothing but the kernel's patience with a connection ends a wait.
    "plain": ["ConnectTimeout=5"],
    # As it is mounted by those who have lost one: silence of 3 s ends the connection, and a new one is tried.
    "reconnect": ["reconnect", "ServerAliveInterval=1", "ServerAliveCountMax=3", "ConnectTimeout=2"],
}
CLIENT, SERVER = "10.77.0.1", "10.77.0.2"  # in namespaces of their own: the host's network may have the same
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
# A mount that does not come back by itself within so long (seconds) is mounted anew, as its user would.
_GRACE = 5.0


class RigError(Exception):
    """The rig itself did not do what it should: this says nothing about what is tested."""


def missing() -> str | None:
    """What this machine lacks for a share, None if nothing."""
    if os.geteuid() != 0:
        return "needs root: network namespaces and mounts"
    programs = ("sshfs", "sshd", "ssh", "ssh-keygen", "ip", "iptables", "tc", "umount")
    if lacking := [name for name in programs if shutil.which(name, path=_PATH) is None]:
        return f"needs {', '.join(lacking)}"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "needs /dev/fuse"
    name = f"ingest-{os.getpid()}-{token_hex(3)}"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "add", "net0", "type", "veth", "peer", "name", "net1")
        _run("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "net0", *_bucket("8mbit"))
        _run("ip", "netns", "exec", name, "iptables", "-w", "-I", "INPUT", "-j", "DROP")
    except RigError as error:
        return f"needs network namespaces, veth, tbf, iptables: {error}"
    finally:
        _run("ip", "netns", "del", name, check=False)
    return None


def _bucket(rate: str) -> list[str]:
    return ["root", "tbf", "rate", rate, "burst", "128k", "latency", "50ms"]


def _run(*command: str | Path, check: bool = True) -> str:
    program = shutil.which(command[0], path=_PATH) or str(command[0])
    done = subprocess.run(
        [program, *map(str, command[1:])], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    if check and done.returncode:
        raise RigError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


def _until(found: Callable[[], object], what: Callable[[], str]) -> None:
    limit = time.monotonic() + PATIENCE
    while not found():
        if time.monotonic() > limit:
            raise RigError(what())
        time.sleep(0.02)


def mounted(point: Path) -> bool:
    """Asked of the mount table: a look at the folder itself may hang."""
    return any(line.split()[4] == str(point) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class NetMount:
    """A share: `served` is what the server holds, `mount` is where it is seen through the network."""

    OPTIONS: ClassVar[dict[str, list[str]]] = OPTIONS

    def __init__(self, folder: Path, options: str = "plain", rate: str = "160mbit") -> None:
        """Build it all, in a folder that is to be made.

        Args:
            options: a key of `OPTIONS`. rate: of either direction, as tc writes it.
        """
        self.served, self.mount, self._own = (folder / name for name in ("served", "share", "rig"))
        for place in (self.served, self.mount, self._own):
            place.mkdir(parents=True)
        self._options = self.OPTIONS[options]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._undo: Callable[[], object] | None = None
        self._sshfs: subprocess.Popen[bytes] | None = None
        name = f"ingest-{os.getpid()}-{token_hex(3)}"
        self._client, self._server = f"{name}-client", f"{name}-server"
        self.spaces = (self._client, self._server)
        self._spaces: list[str] = []  # those that are there
        try:
            self._lay_cable(rate)
            self._write_config()
            self.serve()
            self.connect()
        except BaseException:
            self.close()
            raise

    # Building

    def _lay_cable(self, rate: str) -> None:
        for space in self.spaces:
            _run("ip", "netns", "add", space)
            self._spaces.append(space)
        pair = ["link", "add", "net0", "type", "veth", "peer", "name", "net0", "netns", self._server]
        _run("ip", "-n", self._client, *pair)
        for space, address in ((self._client, CLIENT), (self._server, SERVER)):
            _run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "net0")
            for device in ("lo", "net0"):
                _run("ip", "-n", space, "link", "set", device, "up")
            _run("ip", "netns", "exec", space, "tc", "qdisc", "add", "dev", "net0", *_bucket(rate))

    def _write_config(self) -> None:
        for name in ("host", "user"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._own / name)
        (self._own / "config").write_text(
            f"ListenAddress {SERVER}\nHostKey {self._own}/host\nAuthorizedKeysFile {self._own}/user.pub\nPidFile none\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nStrictModes no\nUsePAM no\nUseDNS no\n"
            "Subsystem sftp internal-sftp\nForceCommand internal-sftp\n"
        )

    def _start(self, log: str, *command: str) -> subprocess.Popen[bytes]:
        with (self._own / log).open("ab") as stream:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, cwd="/",
                env={**os.environ, "PATH": _PATH},
            )  # fmt: skip
        self._processes.append(process)
        return process

    def _told(self, log: str) -> str:
        return (self._own / log).read_text(errors="replace")[-1000:]

    def serve(self) -> None:
        """Start the server."""
        # sshd wants a folder in /run, and the host's is not ours: `ip netns exec` has made a mount namespace, too.
        script = 'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$(command -v sshd)" -D -e -f "$0"'
        command = ("ip", "netns", "exec", self._server, "sh", "-c", script, f"{self._own}/config")
        server = self._start("sshd.log", *command)
        port = f"{22:04X} 00000000:0000 0A"  # listening
        listening = ("ip", "netns", "exec", self._server, "cat", "/proc/net/tcp")
        _until(lambda: server.poll() is not None or port in _run(*listening), lambda: self._told("sshd.log"))
        if server.poll() is not None:
            raise RigError(f"sshd did not start: {self._told('sshd.log')}")

    def connect(self) -> None:
        """Mount it."""
        options = [
            f"IdentityFile={self._own}/user", "StrictHostKeyChecking=no", f"UserKnownHostsFile={self._own}/known",
            "LogLevel=ERROR", f"ssh_command=ip netns exec {self._client} ssh", *self._options,
        ]  # fmt: skip
        where = f"{pwd.getpwuid(os.geteuid()).pw_name}@{SERVER}:{self.served}"
        command = ("sshfs", "-f", "-F", "/dev/null", where, str(self.mount), "-o", ",".join(options))
        sshfs = self._sshfs = self._start("sshfs.log", *command)
        _until(lambda: sshfs.poll() is not None or mounted(self.mount), lambda: self._told("sshfs.log"))
        if sshfs.poll() is not None or not self.answers(PATIENCE):
            raise RigError(f"sshfs did not mount: {self._told('sshfs.log')}")

    # Losing it

    def lose(self, fault: str) -> None:
        """Lose the share by one of the `FAULTS`."""
        match fault:
            case "cut":
                _run("ip", "-n", self._server, "link", "set", "net0", "down")
                self._undo = lambda: _run("ip", "-n", self._server, "link", "set", "net0", "up")
            case "hole":
                filtering = ("ip", "netns", "exec", self._server, "iptables", "-w")
                _run(*filtering, "-I", "INPUT", "-j", "DROP")
                self._undo = lambda: _run(*filtering, "-F", "INPUT")
            case "kill":
                self._signal(self._server, signal.SIGKILL)
                self._undo = self.serve
            case "freeze":
                self._signal(self._server, signal.SIGSTOP)
                self._undo = lambda: self._signal(self._server, signal.SIGCONT)
            case _:
                raise RigError(f"no fault is called {fault}")

    def back(self) -> None:
        """Undo what was done, and have the share served again: by the mount itself, or by a new one."""
        if self._undo:
            self._undo()
            self._undo = None
        if not self.answers(_GRACE):
            self.unmount()
            self.connect()

    def answers(self, seconds: float) -> bool:
        """Whether the mount answers within so long: asked by another process, since whoever asks may hang."""
        limit = time.monotonic() + seconds
        while mounted(self.mount) and (left := limit - time.monotonic()) > 0:
            asker = self._start("asked.log", "stat", "--file-system", str(self.mount))
            with suppress(subprocess.TimeoutExpired):
                # A mount that went away meanwhile leaves a folder, which answers.
                if asker.wait(left) == 0 and mounted(self.mount):
                    return True
            asker.kill()
            time.sleep(0.05)
        return False

    def unmount(self) -> None:
        """Take the mount away, whatever hangs in it: without sshfs every call that waits in it ends."""
        self._signal(self._client, signal.SIGKILL)
        if self._sshfs is not None:
            self._sshfs.kill()
            self._sshfs.wait(PATIENCE)

        def gone() -> bool:
            _run("umount", "--lazy", "--no-canonicalize", self.mount, check=False)
            return not mounted(self.mount)

        _until(gone, lambda: f"{self.mount} is still mounted")

    # The end

    def _signal(self, space: str, number: int) -> None:
        """Signal every process in one of our two namespaces; wait for the end of those that are killed."""
        if space not in self._spaces:
            raise RigError(f"{space} is not ours")
        pids = [int(pid) for pid in _run("ip", "netns", "pids", space).split()]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGKILL:
            _until(lambda: not any(map(_runs, pids)), lambda: f"still there: {list(filter(_runs, pids))}")

    def close(self) -> None:
        """Everything goes, in whatever state it is: each step is taken, even if one before it failed."""
        with ExitStack() as steps:  # the last one first
            for process in self._processes:
                steps.callback(process.wait, PATIENCE)
                steps.callback(process.kill)
            for space in self._spaces:
                steps.callback(_run, "ip", "netns", "del", space)
                steps.callback(self._signal, space, signal.SIGKILL)
            if self._client in self._spaces:
                steps.callback(self.unmount)
