"""Fixtures of the acceptance tests: cards to bring home, archives to bring them to, and the command line's answers."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import nursery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# A camera's clock: an odd number of nanoseconds, so that a time that was rounded anywhere shows.
FIRST_MTIME = 1_699_999_999_123_456_789
STEP = 61_000_000_007


@dataclass(frozen=True)
class Told:
    """What one command with --json said: its exit code, its one document, its stderr."""

    code: int
    document: Any
    errors: str

    @property
    def error(self) -> dict[str, Any]:
        return self.document["error"]


@dataclass(frozen=True)
class Entry:
    """What a snapshot notes of one name; two equal ones are the very same untouched thing."""

    mode: int
    size: int
    mtime_ns: int
    inode: int
    content: bytes


def plant(folder: Path, tree: Mapping[str | bytes, bytes | None], *, later: int = 0) -> Path:
    """Make files (bytes) and folders (None), with times that are all different, and so many seconds later than usual."""
    base = os.fsencode(folder)
    os.makedirs(base, exist_ok=True)
    for name, content in tree.items():
        path = base + b"/" + os.fsencode(name)
        os.makedirs(path if content is None else os.path.dirname(path), exist_ok=True)
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
    planted = sorted((path for path, _ in walked(base)), reverse=True)
    for number, path in enumerate(planted):
        moment = FIRST_MTIME + number * STEP + later * 1_000_000_000
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    return folder


def walked(base: bytes) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    with os.scandir(base) as entries:
        for entry in entries:
            yield entry.path, entry
            if entry.is_dir(follow_symlinks=False):
                yield from walked(entry.path)


def snapshot(folder: Path) -> dict[bytes, Entry]:
    """Everything below a folder and the folder itself: types and modes, sizes, times, inodes, bytes."""
    base = os.fsencode(folder)

    def look(path: bytes) -> Entry:
        facts = os.lstat(path)
        content = b""
        if stat.S_ISREG(facts.st_mode):
            with open(path, "rb") as file:
                content = file.read()
        elif stat.S_ISLNK(facts.st_mode):
            content = os.readlink(path)
        size = 0 if stat.S_ISDIR(facts.st_mode) else facts.st_size
        return Entry(facts.st_mode, size, facts.st_mtime_ns, facts.st_ino, content)

    return {b"": look(base), **{path[len(base) + 1 :]: look(path) for path, _ in walked(base)}}


def media(folder: Path) -> dict[bytes, tuple[bytes | None, int]]:
    """Files (their bytes) and folders (None) below a folder with their mtimes; our own `.ingest` left out."""
    return {
        path: (None if stat.S_ISDIR(entry.mode) else entry.content, entry.mtime_ns)
        for path, entry in snapshot(folder).items()
        if path and path.split(b"/")[0] != b".ingest"
    }


@pytest.fixture(name="plant")
def plant_fixture() -> Callable[..., Path]:
    """Make a tree: `plant(folder, {"DCIM/a.jpg": b"...", "EMPTY": None})`, with the same times for the same names."""
    return plant


@pytest.fixture(name="snapshot")
def snapshot_fixture() -> Callable[[Path], dict[bytes, Entry]]:
    """Note everything below a folder, to be compared later: `snapshot(folder)`."""
    return snapshot


@pytest.fixture(name="media")
def media_fixture() -> Callable[[Path], dict[bytes, tuple[bytes | None, int]]]:
    """Bytes and times of what is below a folder, without `.ingest`: `media(folder)`."""
    return media


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A small card as cameras write them: clips, stills, a sidecar, dot-files, empty folders."""
    return plant(
        tmp_path / "EOS_DIGITAL",
        {
            "DCIM/100EOSR5/IMG_0001.CR3": bytes(range(256)) * 300,
            "DCIM/100EOSR5/IMG_0001.JPG": b"\xff\xd8 jpeg \xff\xd9" * 40,
            "DCIM/100EOSR5/MVI_0002.MP4": b"ftypmp42" * 20_000,
            "DCIM/100EOSR5/MVI_0002.XMP": b"<x:xmpmeta/>",
            "DCIM/EOSMISC": None,
            "MISC/AUTPRINT.MRK": b"",
            ".cameraid": b"R5-0042\n",
            "PRIVATE/EMPTY/EMPTIER": None,
        },
    )


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An empty folder to be an archive."""
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A second one."""
    folder = tmp_path / "backup"
    folder.mkdir()
    return folder


def told_by(command: list[str | bytes], environment: Mapping[str, str], **options: Any) -> Told:
    done = nursery.run(command, env=environment, timeout=120, **options)
    errors = done.stderr.decode("utf-8", "backslashreplace")
    assert "Traceback" not in errors, errors
    # `loads` refuses a second document behind the first, and bytes that are not UTF-8.
    return Told(done.returncode, json.loads(done.stdout.decode("utf-8")), errors)


@pytest.fixture
def tell(ingest) -> Callable[..., Told]:
    """Run a command with --json: `tell("copy", card, archive)`; `by=` takes another command line than the fixture's."""

    def run(*arguments: str | bytes | Path, by: Any = None, **options: Any) -> Told:
        command = by or ingest
        return told_by([*command.command(*arguments), "--json"], command.environment, **options)

    return run


# What many tests begin with is done once, and put back where it was made for each that follows


@dataclass(frozen=True)
class Stage:
    """A place where one test after the other works, and what first commands made of it.

    Attributes:
        place: the same path for all, since journals and manifests tell absolute paths.
        acts: what a command said, and a copy of what stood at the place then; by the command and what stood there before.
    """

    place: Path
    copies: Path
    acts: dict[tuple[object, ...], tuple[Told, Path]] = field(default_factory=dict)

    def scene(self) -> tuple[object, ...]:
        """All that is there: names, types, bytes, and the times of files."""
        return tuple(
            (path, entry.mode, entry.content, None if stat.S_ISDIR(entry.mode) else entry.mtime_ns)
            for path, entry in sorted(snapshot(self.place).items())
        )

    def clear(self) -> None:
        if self.place.exists():
            shutil.rmtree(self.place)
        self.place.mkdir()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = tmp_path_factory.mktemp("stage")
    return Stage(folder / "place", folder / "copies")


@pytest.fixture
def same_place(stage: Stage) -> Path:
    """An empty folder whose path is the same for each test: a module that uses `once` has it for its `tmp_path`."""
    stage.clear()
    return stage.place


@pytest.fixture
def once(stage: Stage, tell) -> Callable[..., Told]:
    """As `tell`, for the command that a test begins with: where a test before has given the same one with the same files
    at the same place, what came of it is put there again. Bytes, modes and times are as they were, inodes are not.
    """

    def run(*arguments: str | bytes | Path) -> Told:
        key = (arguments, stage.scene())
        if key in stage.acts:
            told, copy = stage.acts[key]
            shutil.copytree(copy, stage.place, symlinks=True, dirs_exist_ok=True)
            return told
        told, copy = tell(*arguments), stage.copies / str(len(stage.acts))
        stage.acts[key] = told, shutil.copytree(stage.place, copy, symlinks=True)
        return told

    return run


@dataclass(frozen=True)
class Desk:
    """A folder with a journal of its own, and the command line as somebody uses it there."""

    folder: Path
    prefix: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "INGEST_HOME": str(self.home)}

    def command(self, *arguments: str | bytes | Path) -> list[str | bytes]:
        return [
            *self.prefix,
            sys.executable,
            "-m",
            "ingest",
            *(a if isinstance(a, bytes) else str(a) for a in arguments),
        ]

    def tell(self, *arguments: str | bytes | Path, **options: Any) -> Told:
        return told_by([*self.command(*arguments), "--json"], self.environment, **self.options, **options)

    def run(self, *arguments: str | bytes | Path) -> subprocess.CompletedProcess[str]:
        return nursery.run(self.command(*arguments), env=self.environment, text=True, timeout=120, **self.options)

    def plant(self, name: str, tree: Mapping[str | bytes, bytes | None]) -> Path:
        planted = plant(self.folder / name, tree)
        if "user" in self.options:
            for path in (os.fsencode(planted), *(path for path, _ in walked(os.fsencode(planted)))):
                os.chown(path, self.options["user"], self.options["group"], follow_symlinks=False)
        return planted


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Made once for each file; whoever uses it leaves it as it was."""
    return Desk(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def rows(tell) -> Callable[..., list[dict[str, Any]]]:
    """Ask an archive's manifests: `rows(archive, "SELECT ...")`."""

    def ask(root: Path, sql: str) -> list[dict[str, Any]]:
        told = tell("query", sql, "--root", root)
        assert told.code == 0, told.errors
        return told.document

    return ask


@dataclass(frozen=True)
class Way:
    """How an ordinary user's commands are started."""

    prefix: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def desk(self, folder: Path) -> Desk:
        return Desk(folder, self.prefix, {"cwd": folder, **self.options})


def ways() -> Iterator[Way]:
    if os.geteuid() != 0:
        yield Way()
        return
    nobody = pwd.getpwnam("nobody")
    yield Way(options={"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []})
    if shutil.which("setpriv") is not None:
        # The interpreter may lie where only root may go. Without capabilities root is held to modes like anyone.
        yield Way(("setpriv", "--inh-caps=-all", "--bounding-set=-all"))


def able(desk: Desk) -> bool:
    try:
        return desk.run("--version").returncode == 0
    except PermissionError:
        return False


@contextmanager
def strangers_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ingest-acceptance-"))
    os.chmod(folder, 0o755)
    try:
        yield folder
    finally:
        for here, _, _ in os.walk(folder):
            for name in os.listdir(here):
                if not os.path.islink(os.path.join(here, name)):
                    os.chmod(os.path.join(here, name), 0o700)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def strangers_way() -> Way | None:
    """The first way in which an ordinary user can run ingest here."""
    with strangers_folder() as folder:
        return next((way for way in ways() if able(way.desk(folder))), None)


@pytest.fixture
def stranger(strangers_way) -> Iterator[Desk]:
    """An ordinary user's desk. Where root runs the tests: nobody's, or that of root without its capabilities."""
    if strangers_way is None:
        pytest.skip("root runs the tests, and nobody else here can run ingest")
    with strangers_folder() as folder:
        desk = strangers_way.desk(folder)
        desk.plant("home", {})
        yield desk


@pytest.fixture
def bind(tmp_path: Path) -> Iterator[Callable[[Path, str], Path]]:
    """Give a folder a second path by a bind mount: `bind(folder, "name")`. Needs root."""
    if os.geteuid() != 0:
        pytest.skip("bind mounts need root")
    mounted: list[Path] = []

    def mount(folder: Path, name: str) -> Path:
        point = tmp_path / name
        point.mkdir()
        done = subprocess.run(["mount", "--bind", folder, point], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no bind mounts here: {done.stderr.strip()}")
        mounted.append(point)
        return point

    yield mount
    for point in reversed(mounted):
        subprocess.run(["umount", point], check=True)


@pytest.fixture
def strace() -> str:
    """The program, where it is installed and may trace."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed")
    if subprocess.run([found, "-f", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    return found
