"""Real mounts for tests of what storage is: a server of our own behind sshfs, FUSE under any name, overlay, bind, exFAT."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.storage.volumes import mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 20.0


def until(told: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + PATIENCE
    while not told():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_mounted(point: Path) -> bool:
    """By the mount table: a mount that does not answer must not be asked."""
    return any(mount.point == os.fsencode(point) for mount in mounts())


@dataclass
class Stage:
    """What was mounted and started for one test; taken away again in turn, whatever happens."""

    above: Path
    points: list[Path] = field(default_factory=list)
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def point(self, name: str) -> Path:
        made = self.above / name
        made.mkdir()
        return made

    def mount(self, name: str, *arguments: str | Path) -> Path:
        """A mount by mount(8); skips, with its words, where there is none."""
        point = self.point(name)
        done = subprocess.run(["mount", *arguments, point], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            pytest.skip(f"{name} cannot be mounted here: {done.stderr.strip()}")
        self.points.append(point)
        return point

    def serve(self, point: Path, command: list[str | Path]) -> Path:
        """A mount by a daemon that stays in the foreground."""
        daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.servers.append(daemon)
        deadline = time.monotonic() + PATIENCE
        while not is_mounted(point):
            if daemon.poll() is not None or time.monotonic() > deadline:
                daemon.kill()
                pytest.skip(
                    f"{command[0]} does not mount here: {daemon.communicate()[1].decode(errors='replace').strip()}"
                )
            time.sleep(0.02)
        self.points.append(point)
        return point

    def clear(self) -> None:
        for point in reversed(self.points):
            subprocess.run(["umount", "--lazy", point], capture_output=True, timeout=60, check=False)
        for server in reversed(self.servers):
            server.kill()
            server.communicate(timeout=60)
        assert not [point for point in self.points if is_mounted(point)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs root on Linux")
    made = Stage(tmp_path)
    try:
        yield made
    finally:
        made.clear()


@pytest.fixture
def bind(stage: Stage) -> Callable[[Path], Path]:
    """A folder under a second path."""
    return lambda folder: stage.mount("bound", "--bind", folder)


@pytest.fixture
def overlay(stage: Stage) -> Path:
    lower, upper, work = (stage.point(name) for name in ("lower", "upper", "work"))
    return stage.mount("overlay", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay")


@pytest.fixture
def fuse(stage: Stage) -> Callable[..., Path]:
    """An empty FUSE file system: `fuse("sshfs", "me@nas:/films")` has the type fuse.sshfs; `hang=True` never answers."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("FUSE cannot be used here")
    pytest.importorskip("mfusepy", exc_type=ImportError)
    script = Path(__file__).with_name("plainfs.py")

    def make(subtype: str, origin: str = "somewhere", *, hang: bool = False) -> Path:
        point = stage.point(f"fuse{len(stage.points)}")
        return stage.serve(point, [sys.executable, script, point, origin, subtype, *(["hang"] if hang else [])])

    return make


@pytest.fixture
def exfat(stage: Stage) -> Path:
    """exFAT by its FUSE driver, on a loop device: ignores case, knows no links."""
    for program in ("mkfs.exfat", "mount.exfat-fuse", "losetup"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    image = stage.above / "exfat.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.exfat", image], capture_output=True, check=True, timeout=60)
    looped = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, check=False, timeout=60
    )
    if looped.returncode:
        pytest.skip(f"no loop device here: {looped.stderr.strip()}")
    device = looped.stdout.strip()
    try:
        point = stage.point("exfat")
        done = subprocess.run(
            ["mount.exfat-fuse", device, point], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode or not is_mounted(point):
            pytest.skip(f"exfat-fuse does not mount here: {(done.stderr + done.stdout).strip()}")
        stage.points.append(point)
        return point
    finally:
        # It goes when the file system lets go of it.
        subprocess.run(["losetup", "--detach", device], check=True, timeout=60)


@pytest.fixture
def sshfs(stage: Stage) -> Callable[..., Path]:
    """A folder behind a server of our own on 127.0.0.1, mounted by sshfs: `sshfs(folder)`, further options after it."""
    sshd = shutil.which("sshd") or next((path for path in ("/usr/sbin/sshd",) if os.access(path, os.X_OK)), None)
    for program, found in (
        ("sshd", sshd),
        ("sshfs", shutil.which("sshfs")),
        ("ssh-keygen", shutil.which("ssh-keygen")),
    ):
        if found is None:
            pytest.skip(f"{program} is not installed")
    keys = stage.point("ssh")
    keys.chmod(0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True, timeout=60)
    shutil.copy(keys / "user.pub", keys / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (keys / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/authorized\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        "Subsystem sftp internal-sftp\n"
    )
    with suppress(FileExistsError):
        os.mkdir("/run/sshd", 0o755)  # where this sshd keeps its empty folder
    server = subprocess.Popen([str(sshd), "-D", "-e", "-f", keys / "config"], stderr=subprocess.PIPE)
    stage.servers.append(server)

    def answers() -> bool:
        assert server.poll() is None, server.communicate()[1]
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    until(answers, "sshd does not answer")

    def make(folder: Path, *further: str) -> Path:
        point = stage.point(f"share{len(stage.points)}")
        options = [
            f"IdentityFile={keys}/user", "StrictHostKeyChecking=no", f"UserKnownHostsFile={keys}/known", "BatchMode=yes",
            f"port={port}", *further,
        ]  # fmt: skip
        command: list[str | Path] = ["sshfs", "-f", f"127.0.0.1:{folder}", point]
        return stage.serve(point, [*command, *(part for option in options for part in ("-o", option))])

    return make
