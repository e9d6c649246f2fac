"""Cards and archives on real file systems, for tests of the raw extension."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ingest import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parents[2]


class Place:
    """A folder, and what tests do with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def root(self, **options: bool) -> _native.Root:
        return _native.Root(os.fsencode(self.path), **options)

    def write(self, name: str | bytes, data: bytes) -> bytes:
        """A file, its folders made; the path relative to the place, as bytes."""
        path = os.path.join(os.fsencode(self.path), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return os.fsencode(name)

    def read(self, name: str | bytes) -> bytes:
        with open(os.path.join(os.fsencode(self.path), os.fsencode(name)), "rb") as file:
            return file.read()

    def exists(self, name: str) -> bool:
        return os.path.lexists(self.path / name)

    def files(self) -> set[str]:
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*") if not path.is_dir()}


class Verdict(NamedTuple):
    """One copy, read out of the columns."""

    method: str | None
    validated: int
    mtime: int
    strategy: str | None
    fault: _native.Fault | None


class Row(NamedTuple):
    """One transfer, read out of the columns."""

    digest: bytes | None
    read: int
    started: int
    copied: int
    fault: _native.Fault | None
    copies: list[Verdict]


def rows(staged: _native.Staged) -> list[Row]:
    """The columns of an answer as one row per file, after a look at what the contract says of them."""
    digests, read, started, copied, faults, copies, spent, *_ = staged
    count = len(read)
    assert len(digests) == 32 * count
    assert len(started) == len(copied) == count
    assert all(len(column) == count for columns in copies for column in columns[:4])
    assert len(spent) == 3
    for methods, validated, mtimes, strategies, failed in copies:
        assert not failed.keys() & faults.keys(), "a source's fault is not repeated"
        gone = failed.keys() | faults.keys()
        assert all((methods[i] is None) == (strategies[i] is None) == (i in gone) for i in range(count))
        assert all(validated[i] == mtimes[i] == 0 for i in gone)
    return [
        Row(
            digests[32 * i : 32 * i + 32] if any(digests[32 * i : 32 * i + 32]) else None,
            read[i],
            started[i],
            copied[i],
            faults.get(i),
            [Verdict(*(column[i] for column in columns[:4]), columns[4].get(i)) for columns in copies],
        )
        for i in range(count)
    ]


GONE = Verdict(None, 0, 0, None, None)
"""The copy of a file whose source failed."""


class Stager:
    """``stage`` with the columns that a scan would give it; file ``i`` goes to ``staging/i`` on every archive."""

    def __call__(
        self, card: Place, archives: list[Place], *names: bytes, cross: bool = False, **options: object
    ) -> list[Row]:
        seen = [os.lstat(os.path.join(os.fsencode(card.path), name)) for name in names]
        staged = _native.stage(
            card.root(cross=cross),
            [archive.root() for archive in archives],
            list(range(len(names))),
            names,
            [stat.st_size for stat in seen],
            [stat.st_mtime_ns for stat in seen],
            [[b"staging/%d" % index for index in range(len(names))] for _ in archives],
            **options,  # type: ignore[arg-type]
        )
        return rows(staged)


@pytest.fixture(name="rows")
def _rows() -> Callable[[_native.Staged], list[Row]]:
    return rows


@pytest.fixture
def gone() -> Verdict:
    return GONE


@pytest.fixture
def stage() -> Stager:
    return Stager()


@pytest.fixture(name="place")
def _place() -> Callable[[Path], Place]:
    """A folder anywhere, made if it is missing."""

    def make(path: Path) -> Place:
        path.mkdir(parents=True, exist_ok=True)
        return Place(path)

    return make


@pytest.fixture
def card(tmp_path: Path) -> Place:
    (tmp_path / "card").mkdir()
    return Place(tmp_path / "card")


@pytest.fixture
def archive(tmp_path: Path) -> Place:
    (tmp_path / "archive").mkdir()
    return Place(tmp_path / "archive")


@pytest.fixture
def disk() -> Iterator[Place]:
    """A folder on the disk that holds the repository, whatever the temporary folder is on."""
    above = REPOSITORY / "target"
    above.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="native-", dir=above))
    yield Place(path)
    shutil.rmtree(path)


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


class Mounts:
    """File systems mounted for one test, and unmounted after it whatever happens."""

    def __init__(self, above: Path) -> None:
        self._above = above
        self._mounted: list[Path] = []

    def tmpfs(self, options: str, at: Path | None = None) -> Place:
        path = at or self._above / f"mount{len(self._mounted)}"
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
        assert os.path.ismount(path)
        self._mounted.append(path)
        return Place(path)

    def ext4(self, megabytes: int) -> Place:
        """A disk of this size in a file: unlike tmpfs one that can be read past memory."""
        path = self._above / f"mount{len(self._mounted)}"
        path.mkdir()
        image = path.with_suffix(".img")
        with image.open("wb") as stream:
            stream.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, path], check=True)
        assert os.path.ismount(path)
        self._mounted.append(path)
        return Place(path)

    def overlay(self) -> Place:
        """A folder whose files are those of a layer below it."""
        lower, upper, work, path = (self._above / name for name in ("lower", "upper", "work", "overlay"))
        for folder in (lower, upper, work, path):
            folder.mkdir()
        layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", path], check=True)
        self._mounted.append(path)
        return Place(path)

    def read_only(self, place: Place) -> None:
        subprocess.run(["mount", "-o", "remount,ro", place.path], check=True)

    def unmount_all(self) -> None:
        for path in reversed(self._mounted):
            if os.path.ismount(path):
                subprocess.run(["umount", path], check=True)
            assert not os.path.ismount(path)


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    if sys.platform != "linux" or not is_root():
        pytest.skip("mounting needs root on Linux")
    mounts = Mounts(tmp_path)
    try:
        yield mounts
    finally:
        mounts.unmount_all()


class Tracer:
    """Runs a piece of Python under strace, which can also make system calls fail."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __call__(
        self, code: str, *arguments: Path | str, trace: str, inject: tuple[str, ...] = (), about: Path | None = None
    ) -> tuple[Any, list[str]]:
        """The value that ``code`` leaves in ``result``, and the calls that were traced; only those about one path, if
        it is given.
        """
        program = f"import os, sys\nfrom ingest import _native\n{code}\nprint(repr(result))"
        expressions = [f"-etrace={trace}", *(f"-einject={failure}" for failure in inject)]
        expressions += ["-P", str(about)] if about else []
        ran = subprocess.run(
            ["strace", "-f", "-qq", "-y", "-o", self._log, *expressions, sys.executable, "-c", program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert ran.returncode == 0, ran.stderr
        # Without the process number; a call that this strace does not know is shown whatever was asked for.
        calls = [line.split(None, 1)[1] for line in self._log.read_text(errors="replace").splitlines()]
        return ast.literal_eval(ran.stdout), [call for call in calls if not call.startswith(("syscall_", "+++", "---"))]


@pytest.fixture
def traced(tmp_path: Path) -> Tracer:
    tracer = ["strace", "-qq", "-e", "trace=openat2", "true"]
    if not shutil.which("strace") or subprocess.run(tracer, check=False, capture_output=True).returncode:
        pytest.skip("needs strace, and the right to trace")
    return Tracer(tmp_path / "strace.log")
