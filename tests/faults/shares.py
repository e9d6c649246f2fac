"""Shares of the kernel's own network file systems, NFS and CIFS, that can be lost: for use in a guest (guest.py).

Made as netmount.py makes its own, with a real server (the kernel's NFS server, Samba) in a network namespace and its
client in another one; the four faults are the same. A guest has one NFS server, and so one share at a time.

What cannot be stopped is a server that is part of the kernel. So between the NFS server and its clients stands a relay
(relay.py), which can: a frozen relay takes in what the client sends, and acknowledges it, and nobody answers.

No share is mounted anew when it comes back: it is the kernel that reconnects, after its own time.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

from faults import inside, netmount

FILTER: Final = "iptables-legacy"
PROGRAMS: Final = (
    "rpc.nfsd", "rpc.mountd", "nfsdcld", "exportfs", "mount.nfs", "smbd", "mount.cifs", "ip", FILTER, "tc", "nsenter",
)  # fmt: skip
MODULES: Final = {
    "nfs": ("nfs", "nfsv4", "nfsd", "lockd"),
    "cifs": (
        "cifs", "hmac", "md5", "md4", "sha256_generic", "sha512_generic", "cmac", "aes_generic", "ccm", "gcm", "ecb", "ctr",
        "ghash-generic", "cbc", "seqiv",
    ),
    "network": ("veth", "sch_tbf", "iptable_filter"),
}  # fmt: skip
DISK: Final = "/dev/ubdb"  # what the server keeps it on
NFS, PIPES = Path("/var/lib/nfs"), Path("/run/rpc_pipefs")
PORT, RELAYED = 2049, 2050
RELAY: Final = Path(__file__).with_name("relay.py")
RATE: Final = "48mbit"  # what a guest's one processor can keep up with, so that a moment is not over when it is seen
# Until the kernel has found its server again: TCP asks less and less often, at last every two minutes.
AGAIN: Final = 180.0


def missing() -> str | None:
    """What this machine lacks for such shares in a guest, None if nothing."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=inside.PATH) is None]
    return f"needs {', '.join(lacking)}" if lacking else None


class KernelShare(netmount.NetMount):
    """What NFS and CIFS have in common: `served` is a disk of its own.

    `outage`: how many seconds the kernel took to find its server again, the last time that it was back.
    """

    outage: float | None = None

    def _write_config(self) -> None:
        netmount._run("mount", "-t", "ext4", DISK, self.served)

    def _in(self, space: str, *command: str | Path) -> str:
        """Run in one of the two networks, but with everybody's mounts, which `ip netns exec` would not."""
        return netmount._run("nsenter", f"--net=/run/netns/{space}", *command)

    def lose(self, fault: str) -> None:
        if fault != "hole":
            super().lose(fault)
            return
        # The guest's kernel was built without what the newer iptables needs for IPv4.
        self._in(self._server, FILTER, "-w", "-I", "INPUT", "-j", "DROP")
        self._undo = lambda: self._in(self._server, FILTER, "-w", "-F", "INPUT")

    def back(self) -> None:
        """Undo what was done, and wait until the kernel has found its server again."""
        healed = time.monotonic()
        if self._undo:
            self._undo()
            self._undo = None
        if not self.answers(AGAIN):
            raise netmount.RigError(f"{self.mount} did not come back in {AGAIN} s")
        self.outage = time.monotonic() - healed

    def unmount(self) -> None:
        netmount._run("umount", "--lazy", "--force", "--no-canonicalize", self.mount, check=False)

    def _listening(self, port: int) -> bool:
        return f":{port:04X} 00000000:0000 0A" in self._in(self._server, "cat", "/proc/net/tcp")


class NfsShare(KernelShare):
    """NFS 4.2, from the kernel's server by way of a relay."""

    OPTIONS: ClassVar = {
        "nfs-soft": ["soft", "timeo=30", "retrans=2"],
        "nfs-hard": ["hard"],  # as it is mounted by those who give no options
    }

    def _write_config(self) -> None:
        super()._write_config()
        for place in (NFS / "nfsdcld", PIPES):
            place.mkdir(parents=True, exist_ok=True)
        for name in ("etab", "rmtab"):
            (NFS / name).touch()
        # Both show the network of whoever mounts them.
        self._in(self._server, "mount", "-t", "rpc_pipefs", "rpc_pipefs", PIPES)
        self._in(self._server, "mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
        options = "rw,no_root_squash,insecure,fsid=0,sync,no_subtree_check"
        self._in(self._server, "exportfs", "-o", options, f"*:{self.served}")
        enter = ("nsenter", f"--net=/run/netns/{self._server}")
        self._start("mountd.log", *enter, "rpc.mountd", "-F", "-N", "2", "-N", "3")
        # Who had something open: a server that cannot remember that lets nobody take it up again.
        keeper = self._start("nfsdcld.log", *enter, "nfsdcld", "--foreground", "--pipefsdir", str(PIPES))
        netmount._until(lambda: _watches(keeper.pid), lambda: self._told("nfsdcld.log"))

    def serve(self) -> None:
        # A new server gives the clients of the one before it this long to take up what they had open.
        self._in(self._server, "rpc.nfsd", "-N", "3", "-G", "10", "-L", "10", "-p", str(PORT), "4")
        netmount._until(lambda: self._listening(PORT), lambda: "the NFS server does not listen")
        relay = (sys.executable, str(RELAY), netmount.SERVER, str(RELAYED), str(PORT))
        self._relay = self._start("relay.log", "nsenter", f"--net=/run/netns/{self._server}", *relay)
        netmount._until(lambda: self._listening(RELAYED), lambda: self._told("relay.log"))

    def connect(self) -> None:
        options = ",".join(["vers=4.2", f"port={RELAYED}", *self._options])
        self._in(self._client, "mount", "-t", "nfs4", "-o", options, f"{netmount.SERVER}:/", self.mount)

    def lose(self, fault: str) -> None:
        match fault:
            case "kill":
                self._relay.kill()
                self._relay.wait(netmount.PATIENCE)
                Path("/proc/fs/nfsd/threads").write_text("0")
                self._undo = self.serve
            case "freeze":
                self._relay.send_signal(signal.SIGSTOP)
                self._undo = lambda: self._relay.send_signal(signal.SIGCONT)
            case _:
                super().lose(fault)


def _watches(pid: int) -> bool:
    """It waits for something to appear in a folder."""
    with suppress(FileNotFoundError):  # it has just closed one
        return any("inotify" in os.readlink(opened) for opened in Path(f"/proc/{pid}/fd").iterdir())
    return False


class CifsShare(KernelShare):
    """SMB 3.1.1, from Samba."""

    OPTIONS: ClassVar = {
        "cifs-soft": ["soft"],  # as it is mounted by those who give no options
        "cifs-hard": ["hard", "echo_interval=4"],
    }

    def _write_config(self) -> None:
        super()._write_config()
        place = self._own / "samba"
        place.mkdir()
        kept = ("pid directory", "lock directory", "state directory", "cache directory", "private dir", "ncalrpc dir")
        (place / "smb.conf").write_text(
            "[global]\nserver role = standalone server\nsmb ports = 445\nmap to guest = Bad User\n"
            f"guest account = root\nlog file = {place}/log\ndisable netbios = yes\nload printers = no\n"
            + "".join(f"{name} = {place}\n" for name in kept)
            + f"[share]\npath = {self.served}\nguest ok = yes\nguest only = yes\nread only = no\nforce user = root\n"
        )

    def serve(self) -> None:
        (self._own / "samba/smbd.pid").unlink(missing_ok=True)
        enter = ("nsenter", f"--net=/run/netns/{self._server}")
        self._start(
            "smbd.log", *enter, "smbd", "--foreground", "--no-process-group", "-s", f"{self._own}/samba/smb.conf"
        )
        netmount._until(lambda: self._listening(445), lambda: self._told("smbd.log"))

    def connect(self) -> None:
        options = ",".join(["guest", "vers=3.1.1", *self._options])
        self._in(self._client, "mount", "-t", "cifs", "-o", options, f"//{netmount.SERVER}/share", self.mount)


def share(folder: Path, options: str) -> KernelShare:
    """Make a share; `options` names its kind, too."""
    inside.load(*MODULES["network"], *MODULES[options.partition("-")[0]])
    return (NfsShare if options.startswith("nfs") else CifsShare)(folder, options, RATE)
