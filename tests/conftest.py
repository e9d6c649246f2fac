"""Fixtures that every layer of tests shares."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Ingest:
    """The real command line in a subprocess, with a journal of its own."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "INGEST_HOME": str(self.home)}

    def command(self, *arguments: str | bytes | Path) -> list[str | bytes]:
        return [sys.executable, "-m", "ingest", *(a if isinstance(a, bytes) else str(a) for a in arguments)]

    def run(self, *arguments: str | bytes | Path, timeout: float = 120, **options) -> subprocess.CompletedProcess[str]:
        """Run to the end; the caller looks at the exit code."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )

    def start(self, *arguments: str | bytes | Path, **options) -> subprocess.Popen[str]:
        """Start and return at once; for tests that interrupt it."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    home = tmp_path / "home"
    home.mkdir()
    return Ingest(home)


# Megabytes of a small disk, a little above what each file system's maker asks for at least; the images have holes.
_MAKERS = {
    "xfs": (320, ["mkfs.xfs", "-q", "-f"]),
    "btrfs": (320, ["mkfs.btrfs", "-q", "-f"]),
    "ext4": (128, ["mkfs.ext4", "-q", "-F", "-m", "0"]),
}


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Make a small disk: `make_disk("xfs")` is its mount point. Unmounted whatever happens; needs root."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("loop mounts need root on Linux")
    points: list[Path] = []

    def make(kind: str) -> Path:
        megabytes, maker = _MAKERS[kind]
        if shutil.which(maker[0]) is None:
            pytest.skip(f"{maker[0]} is not installed")
        image, point = tmp_path / f"disk{len(points)}.img", tmp_path / f"disk{len(points)}"
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        point.mkdir()
        for command in ([*maker, image], ["mount", "-o", "loop", image, point]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode:
                pytest.skip(f"no {kind} on a loop device here: {done.stderr.strip()}")
        points.append(point)
        return point

    try:
        yield make
    finally:
        for point in reversed(points):
            if subprocess.run(["umount", point], capture_output=True, timeout=60, check=False).returncode:
                # Somebody still has a file open there; the loop device goes with the last one.
                subprocess.run(["umount", "--lazy", point], timeout=60, check=True)
        assert not [point for point in points if os.path.ismount(point)]


# What a small disk of each kind is made with. Images are sparse: xfs takes no less than 300 MB.
MAKERS = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"],
    "btrfs": ["mkfs.btrfs", "-q"],
    "vfat": ["mkfs.vfat"],
    "exfat": ["mkfs.exfat", "-q"],
}


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture(scope="module")
def disk_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """A folder on a file system of a kind: `disk_of("xfs")`, `disk_of("tmpfs")`, or `disk_of("here")`, the
    repository's own. Skips, with the reason, where it cannot be had; all are gone when the module's tests are over.
    """
    points: list[Path] = []
    loops: list[str] = []
    folders: list[Path] = []

    def make(kind: str) -> Path:
        if kind == "here":
            (REPOSITORY / "target").mkdir(exist_ok=True)
            folders.append(Path(tempfile.mkdtemp(prefix="tests-", dir=REPOSITORY / "target")))
            return folders[-1]
        if not hasattr(os, "geteuid") or os.geteuid() != 0 or sys.platform != "linux":
            pytest.skip("mounting needs root on Linux")
        point = tmp_path_factory.mktemp(kind)
        if kind == "tmpfs":
            _run("mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", point)
        else:
            if shutil.which(MAKERS[kind][0]) is None:
                pytest.skip(f"needs {MAKERS[kind][0]}")
            image = tmp_path_factory.mktemp("images") / f"{kind}.img"
            with image.open("wb") as stream:
                stream.truncate(512 << 20)
            _run(*MAKERS[kind], image)
            loops.append(_run("losetup", "--find", "--show", image))
            _run("mount", loops[-1], point)
        points.append(point)
        return point

    yield make
    for point in reversed(points):
        subprocess.run(["umount", point], check=True)
        assert not os.path.ismount(point)
    for loop in loops:
        subprocess.run(["losetup", "--detach", loop], check=True)
    for folder in folders:
        shutil.rmtree(folder)
