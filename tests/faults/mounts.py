"""Mounts that are made for a test: small disks, cards, layers and second paths, all in one folder, by root.

They can be filled, turned read-only, pulled out and plugged in again, broken down, or copied block by block.
"""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

from faults.watching import PATIENCE, until


def missing() -> str | None:
    """What this machine lacks for mounts, None if nothing."""
    if os.geteuid() != 0:
        return "needs root: mounts"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "needs the right to mount, which this container does not have"
    return None


def _raise(error: OSError) -> None:
    raise error


class Mounts:
    """Small disks. Nothing is ever filled, or shut down, that is not known to be one of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._points: list[Path] = []
        self._loops: list[str] = []

    def _run(self, *command: str | Path) -> str:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def tmpfs(self, point: Path, options: str) -> Path:
        point.mkdir(parents=True, exist_ok=True)
        self._run("mount", "-t", "tmpfs", "-o", options, "tmpfs", point)
        return self._mounted(point)

    def image(self, name: str, megabytes: int) -> str:
        """A disk: a loop device with ext4 on it, not mounted."""
        file = self._folder / f"{name}.img"
        with file.open("wb") as stream:
            stream.truncate(megabytes << 20)
        self._run("mkfs.ext4", "-q", "-F", "-m", "0", file)
        self._loops.append(self._run("losetup", "--find", "--show", file))
        return self._loops[-1]

    def clone(self, device: str, name: str, *, same_uuid: bool = False) -> str:
        """A disk that was copied block by block, not mounted; with a UUID of its own, unless it is to keep that too."""
        file = self._folder / f"{name}.img"
        self._run("sync")
        self._run("cp", "--sparse=always", self._run("losetup", "--noheadings", "--output", "BACK-FILE", device), file)
        # It was copied while it was mounted: its log is played, as mounting would do it.
        subprocess.run(["e2fsck", "-fy", str(file)], capture_output=True, timeout=PATIENCE, check=False)
        if not same_uuid:
            self._run("tune2fs", "-U", "random", file)
        self._loops.append(self._run("losetup", "--find", "--show", file))
        return self._loops[-1]

    def exfat(self, name: str, megabytes: int) -> Path:
        """A card: exFAT on a loop device, played by its FUSE daemon."""
        file, point = self._folder / f"{name}.img", self._folder / name
        with file.open("wb") as stream:
            stream.truncate(megabytes << 20)
        self._run("mkfs.exfat", file)
        self._loops.append(self._run("losetup", "--find", "--show", file))
        point.mkdir()
        self._run("mount.exfat-fuse", self._loops[-1], point)
        return self._mounted(point)

    def bind(self, folder: Path, point: Path) -> Path:
        """One folder under a second path."""
        point.mkdir(parents=True, exist_ok=True)
        self._run("mount", "--bind", folder, point)
        self._points.append(point)
        return point

    def overlay(self, lower: Path, upper: Path, point: Path) -> Path:
        """A folder that shows `lower`, and keeps its changes below `upper`."""
        for folder in (upper / "upper", upper / "work", point):
            folder.mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={lower},upperdir={upper / 'upper'},workdir={upper / 'work'}"
        self._run("mount", "-t", "overlay", "-o", layers, "overlay", point)
        return self._mounted(point)

    def mount(self, device: str, point: Path, options: str = "rw") -> Path:
        point.mkdir(parents=True, exist_ok=True)
        self._run("mount", "-o", options, device, point)
        return self._mounted(point)

    def _mounted(self, point: Path) -> Path:
        assert os.path.ismount(point), f"{point} is no mount point"
        self._points.append(point)
        return point

    def remount(self, point: Path, options: str) -> bool:
        """False while somebody writes to it."""
        assert os.path.ismount(point)
        command = ["mount", "-o", f"remount,{options}", str(point)]
        return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode == 0

    def vanish(self, point: Path) -> None:
        """Pull it out: the path leads to the folder underneath at once."""
        assert os.path.ismount(point)
        self._run("umount", "--lazy", point)
        assert not os.path.ismount(point)
        self._points.remove(point)

    def come_back(self, device: Any, point: Path) -> None:
        """Plug it in again. As long as the kernel has not let go of what broke down, a mount would be that once more."""

        def sound() -> bool:
            self.mount(device, point)
            try:
                for folder, _, names in os.walk(point, onerror=_raise):
                    for name in names:
                        with Path(folder, name).open("rb") as file:
                            file.read(1)
            except OSError:
                self.vanish(point)
                return False
            return True

        until(sound, f"{point} to be sound again")

    def break_down(self, point: Path) -> None:
        """The device is gone: everything that is still open on it answers EIO. Only for our own loop devices."""
        assert os.path.ismount(point)
        line = next(line.split() for line in Path("/proc/self/mounts").read_text().splitlines() if f" {point} " in line)
        assert line[0] in self._loops, line
        import fcntl

        folder = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, 0x8004587D, (2).to_bytes(4, "little"))  # EXT4_IOC_SHUTDOWN, the log not flushed
        finally:
            os.close(folder)

    def fill(self, point: Path, *, inodes: bool = False) -> list[Path]:
        """Another writer takes all the room there is: bytes, or names."""
        assert os.path.ismount(point)
        facts = os.statvfs(point)
        assert facts.f_blocks * facts.f_frsize <= 1 << 30, "this is no small disk"
        made: list[Path] = []
        try:
            while True:
                made.append(point / f".filler-{len(made)}")
                with made[-1].open("xb", buffering=0) as stream:
                    while not inodes:
                        # The last bytes too: a smaller piece fits where a larger one did not.
                        for piece in (1 << 20, 4096, 1):
                            try:
                                while stream.write(bytes(piece)):
                                    pass
                            except OSError as error:
                                assert error.errno == errno.ENOSPC  # noqa: PT017 - the loop goes on with less
                        return made
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - what was wanted
            return made[:-1]

    def close(self) -> None:
        for point in reversed(self._points):
            subprocess.run(["umount", "--lazy", str(point)], capture_output=True, timeout=PATIENCE, check=False)
        for loop in self._loops:
            subprocess.run(["losetup", "--detach", loop], capture_output=True, timeout=PATIENCE, check=False)
        assert not [point for point in self._points if os.path.ismount(point)]
