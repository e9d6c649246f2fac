"""Fixtures that every layer of tests shares."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

import nursery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parents[1]

pytest.register_assert_rewrite("faults")  # a failure there is told as one in a test is

# How long an example takes is the machine's affair: nothing is judged by it.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# How long a fuzz goes on: `INGEST_FUZZ=5000` makes up so many examples for each test that is marked `fuzz`,
# `INGEST_FUZZ=600s` goes on with each for so many seconds.
FUZZ = os.environ.get("INGEST_FUZZ", "25")
SECONDS = float(FUZZ[:-1]) if FUZZ.endswith("s") else 0.0
settings.register_profile(
    # What is made up has to do with a card and a session of this run: another could not replay it.
    "fuzz", deadline=None, max_examples=50 if SECONDS else int(FUZZ), database=None,
    derandomize=not SECONDS,  # a few examples are the same ones each time: news is for the long runs
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
EXECUTIONS: pytest.StashKey[dict[str, int]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[EXECUTIONS] = {}
    # Who is started in the background of a script, or by nohup, ignores them, and so would whatever is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SECONDS and item.get_closest_marker("fuzz"):
            item.add_marker(pytest.mark.timeout(2 * SECONDS + 300))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Go on with a fuzz until its time is over, and count how often it was tried."""
    if not pyfuncitem.get_closest_marker("fuzz"):
        return None
    handle, tried = pyfuncitem.obj.hypothesis, count()
    inner = handle.inner_test

    @wraps(inner)
    def counted(*arguments: object, **named: object) -> object:
        next(tried)
        return inner(*arguments, **named)

    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    limit = time.monotonic() + SECONDS
    handle.inner_test = counted
    try:
        pyfuncitem.obj(**arguments)
        while time.monotonic() < limit:
            pyfuncitem.obj(**arguments)
    finally:
        handle.inner_test = inner
        pyfuncitem.config.stash[EXECUTIONS][pyfuncitem.nodeid] = next(tried)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if SECONDS and (told := config.stash[EXECUTIONS]):
        terminalreporter.section("fuzz: how often each was tried")
        for test, number in told.items():
            terminalreporter.line(f"{number:>10,}  {test}")


@dataclass(frozen=True)
class Ingest:
    """The real command line in a subprocess, with a journal of its own. `extra`: of its environment."""

    home: Path
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **dict(self.extra), "INGEST_HOME": str(self.home)}

    def command(self, *arguments: str | bytes | Path) -> list[str | bytes]:
        return [sys.executable, "-m", "ingest", *(a if isinstance(a, bytes) else str(a) for a in arguments)]

    def run(self, *arguments: str | bytes | Path, timeout: float = 120, **options) -> subprocess.CompletedProcess[str]:
        """Run to the end; the caller looks at the exit code."""
        return nursery.run(self.command(*arguments), env=self.environment, text=True, timeout=timeout, **options)

    def start(self, *arguments: str | bytes | Path, **options) -> subprocess.Popen[str]:
        """Start and return at once; for tests that interrupt it."""
        return nursery.start(self.command(*arguments), env=self.environment, text=True, **options)


@pytest.fixture(scope="session")
def ingest_in() -> Callable[[Path], Ingest]:
    """The command line with its journal in a folder: for tests that have several under way."""

    def make(folder: Path) -> Ingest:
        home = folder / "home"
        home.mkdir()
        return Ingest(home)

    return make


@pytest.fixture
def ingest(tmp_path: Path, ingest_in: Callable[[Path], Ingest]) -> Ingest:
    return ingest_in(tmp_path)


# Megabytes of a small disk, a little above what each file system's maker asks for at least; the images have holes.
_MAKERS = {
    "xfs": (320, ["mkfs.xfs", "-q", "-f"]),
    "btrfs": (320, ["mkfs.btrfs", "-q", "-f"]),
    "ext4": (128, ["mkfs.ext4", "-q", "-F", "-m", "0"]),
    "vfat": (320, ["mkfs.vfat"]),
    "exfat": (320, ["mkfs.exfat"]),
}


def _mount(kind: str, image: Path, point: Path) -> None:
    """A new file system in an image, mounted; skips, with the reason, where that cannot be."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("loop mounts need root on Linux")
    commands: list[list[str | Path]] = [["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", point]]
    if kind != "tmpfs":
        megabytes, maker = _MAKERS[kind]
        if shutil.which(maker[0]) is None:
            pytest.skip(f"{maker[0]} is not installed")
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        commands = [[*maker, image], ["mount", "-o", "loop", image, point]]
        if (
            kind == "exfat"
            and "\texfat\n" not in Path("/proc/filesystems").read_text()
            and shutil.which("mount.exfat-fuse")
        ):
            # As it was before the kernel knew it. The loop device goes with its last user.
            mount = 'loop=$(losetup --find --show "$1") && mount.exfat-fuse "$loop" "$2" && losetup --detach "$loop"'
            commands[1] = ["sh", "-c", mount, "sh", image, point]
    point.mkdir()
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            pytest.skip(f"no {kind} on a loop device here: {done.stderr.strip()}")


@contextmanager
def _disks(folder: Path) -> Iterator[Callable[[str], Path]]:
    """Small disks in a folder, unmounted whatever happens."""
    points: list[Path] = []
    folders: list[Path] = []
    numbers = count()

    def make(kind: str) -> Path:
        if kind == "here":
            (REPOSITORY / "target").mkdir(exist_ok=True)
            folders.append(Path(tempfile.mkdtemp(prefix="tests-", dir=REPOSITORY / "target")))
            return folders[-1]
        point = folder / f"{kind}-{next(numbers)}"
        _mount(kind, point.with_suffix(".img"), point)
        points.append(point)
        return point

    try:
        yield make
    finally:
        for point in reversed(points):
            if subprocess.run(["umount", point], capture_output=True, timeout=60, check=False).returncode:
                # Somebody still has a file open there; the loop device goes with the last one.
                subprocess.run(["umount", "--lazy", point], timeout=60, check=True)
        for made in folders:
            shutil.rmtree(made)
        assert not [point for point in points if os.path.ismount(point)]


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Make a small disk: `make_disk("xfs")` is its mount point; needs root. `make_disk("here")` is a folder on the disk
    that the repository is on.
    """
    with _disks(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def keep_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """`make_disk` for fixtures that all tests of a module look at."""
    with _disks(tmp_path_factory.mktemp("disks")) as make:
        yield make
