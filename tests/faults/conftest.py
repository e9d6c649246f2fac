"""The rig of the fault tests: cards, mounts, a failing file system, processes to stop or kill, and the checker.

The checker is the point. Whatever was done to a session, what it acknowledged (in the journal, in a manifest) must
be there byte for byte, and what is there under a final name must be something the card held. Every test reports at
its end how many acknowledgements were checked; a check that found none is a failure.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from dataclasses import dataclass, field, replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self, TypeVar

import blake3
import pytest

import nursery
from processes import children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

PATIENCE = 30.0  # seconds, for anything that is waited for
ARRIVED = ("finalized", "duplicate")
T = TypeVar("T")
TALLY: pytest.StashKey[dict[str, Counter[str]]] = pytest.StashKey()
TIMES: pytest.StashKey[defaultdict[str, list[float]]] = pytest.StashKey()
COLD: pytest.StashKey[list[ColdRead]] = pytest.StashKey()
METHODS = ("direct", "evicted", "reread")
TOLD: pytest.StashKey[Told] = pytest.StashKey()


# What was checked


class Told(list[str]):
    """Lines that are shown at the end of the run; INGEST_CAMPAIGN_LOG names a file that gets each as it comes."""

    def append(self, line: str) -> None:
        super().append(line)
        if log := os.environ.get("INGEST_CAMPAIGN_LOG"):
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = {}
    config.stash[TIMES] = defaultdict(list)
    config.stash[COLD] = []
    config.stash[TOLD] = Told()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if told := config.stash[TALLY]:
        terminalreporter.section("fault runs: what was checked")
        for test, counted in sorted(told.items()):
            terminalreporter.line(f"{test}: " + ", ".join(f"{number} {what}" for what, number in counted.items()))
        total = sum(told.values(), Counter())
        terminalreporter.line("total: " + ", ".join(f"{number} {what}" for what, number in total.items()))
    for what, taken in config.stash[TIMES].items():
        figures = f"median {median(taken):.1f} s, longest {max(taken):.1f} s"
        terminalreporter.line(f"{what}: {len(taken)} times, {figures}")
    if reads := config.stash[COLD]:
        terminalreporter.section("read back: bytes by how they are said to have been read, and what the device gave")
        rows = [
            ("file system", *METHODS, "device gave", "share of direct and evicted that it gave"),
            *_cold_rows(reads),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            terminalreporter.line("  ".join(cells).rstrip())
    for line in config.stash[TOLD]:
        terminalreporter.line(line)


def _cold_rows(reads: list[ColdRead]) -> Iterator[tuple[str, ...]]:
    """One row for each file system, in the order that they were read in."""
    for kind in dict.fromkeys(read.kind for read in reads):
        these = [read for read in reads if read.kind == kind]
        by = {method: sum(read.by[method] for read in these) for method in METHODS}
        claimed = by["direct"] + by["evicted"]
        came = sum(min(read.given, read.claimed) for read in these)
        given = f"{sum(read.given for read in these):,}"
        yield kind, *(f"{by[method]:,}" for method in METHODS), given, f"{came / claimed:.1%}" if claimed else "-"


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> defaultdict[str, list[float]]:
    """How long things took (seconds), by what it was; shown at the end of the run."""
    return request.config.stash[TIMES]


@dataclass(frozen=True)
class ColdRead:
    """Something that was read back: bytes by verify method, and how many bytes the device gave meanwhile."""

    kind: str
    by: dict[str, int]
    given: int

    @property
    def claimed(self) -> int:
        """Bytes that are said to have come from the device."""
        return self.by["direct"] + self.by["evicted"]


@pytest.fixture
def cold(request: pytest.FixtureRequest) -> Callable[[str, dict[str, int], int], ColdRead]:
    """Take note of something that was read back; a table is shown at the end of the run."""

    def note(kind: str, by: dict[str, int], given: int) -> ColdRead:
        read = ColdRead(kind, dict.fromkeys(METHODS, 0) | by, given)
        request.config.stash[COLD].append(read)
        return read

    return note


@pytest.fixture(scope="session")
def told(request: pytest.FixtureRequest) -> Told:
    """Where a campaign tells of each of its runs."""
    return request.config.stash[TOLD]


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Counter[str]:
    """What this test checked, shown at the end of the run."""
    name = request.node.nodeid.rpartition("/")[2]
    return request.config.stash[TALLY].setdefault(name, Counter())


def until(found: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Poll until something is true, and return it."""
    limit = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < limit, f"waited {seconds} s in vain: {what}"
        time.sleep(0.0005)
    return value


@pytest.fixture(name="until", scope="session")
def _until() -> Callable[..., Any]:
    return until


# Cards


@dataclass
class Card:
    """A source, and every content that each of its files ever had."""

    folder: Path
    versions: dict[str, set[str]] = field(default_factory=dict)

    def write(self, path: str, size: int, seed: int = 0) -> Path:
        """Make a file, or give it other content."""
        data = content(path, size, seed)
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        self.versions.setdefault(path, set()).add(blake3.blake3(data).hexdigest())
        return place

    def admit(self, path: str) -> None:
        """What this file holds now may also arrive."""
        self.versions[path].add(digest(self.folder / path))

    @property
    def size(self) -> int:
        return sum((self.folder / path).stat().st_size for path in self.versions)


def _raise(error: OSError) -> None:
    raise error


def content(name: str, size: int, seed: int = 0) -> bytes:
    """Bytes that differ from file to file and from block to block."""
    random = Random(f"{name} {seed}")
    block = random.randbytes(min(size, 1 << 18))
    whole = b"".join(number.to_bytes(8, "big") + block[8:] for number in range(size // (1 << 18) + 1))
    return whole[:size]


def digest(path: Path) -> str:
    hasher = blake3.blake3()
    hasher.update_mmap(path) if path.stat().st_size else None
    return hasher.hexdigest()


# A few files of every kind of size, small ones enough to share a flush; several batches of work for two workers, and
# still read in a blink.
SMALL_CARD = {
    **{f"DCIM/100CANON/IMG_{number:04}.JPG": 4000 + 977 * number for number in range(40)},
    **{f"DCIM/101CANON/MVI_{number:04}.MOV": 1_500_000 + 77 * number for number in range(4)},
    "PRIVATE/empty.bin": 0, "PRIVATE/index.xml": 1, "CLIP/C0001.MP4": (70 << 20) + 5,
}  # fmt: skip


@pytest.fixture
def make_card(tmp_path: Path) -> Callable[..., Card]:
    def make(files: dict[str, int] | None = None, folder: Path | None = None) -> Card:
        card = Card(folder or tmp_path / "CARD")
        for path, size in (SMALL_CARD if files is None else files).items():
            card.write(path, size)
        return card

    return make


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


# The journal, as an outsider sees it


class Journal:
    """Reads the database without the product's code."""

    def __init__(self, home: Path) -> None:
        self._file = home / "ingest.sqlite3"

    def live(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Ask while somebody works on it; empty while it cannot answer."""
        try:
            connection = sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=0)
            try:
                return connection.execute(query, values).fetchall()
            finally:
                connection.close()
        except sqlite3.OperationalError:
            return []

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Ask a copy of what is on the disk, so that nothing is recovered or checkpointed by being looked at."""
        with TemporaryDirectory() as folder:
            for suffix in ("", "-wal"):
                if (file := Path(f"{self._file}{suffix}")).exists():
                    shutil.copyfile(file, Path(folder, f"copy{suffix}"))
            connection = sqlite3.connect(Path(folder, "copy"))
            connection.row_factory = sqlite3.Row
            try:
                return connection.execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []  # it was interrupted before there were tables
            finally:
                connection.close()

    def session(self, card: Card) -> sqlite3.Row | None:
        """The newest session of a card."""
        found = self.rows(
            "SELECT s.* FROM sessions s JOIN session_sources o ON o.session = s.key WHERE o.path = ? ORDER BY s.key DESC",
            os.fsencode(card.folder),
        )
        return found[0] if found else None

    def copies(self, session: int) -> dict[tuple[int, int], sqlite3.Row]:
        """Copies by item and root, with the item's size and source path."""
        query = """SELECT c.*, i.size, i.path AS source_path, r.path AS root_path FROM copies c
                   JOIN items i ON i.session = c.session AND i.item = c.item
                   JOIN session_roots r ON r.session = c.session AND r.number = c.root WHERE c.session = ?"""
        return {(row["item"], row["root"]): row for row in self.rows(query, session)}


@pytest.fixture
def journal(ingest: Any) -> Journal:
    return Journal(ingest.home)


# The checker


class BrokenPromiseError(AssertionError):
    """A promise was broken."""


def names(root: Path) -> Iterator[str]:
    """Every file below a root but the product's own, relative."""
    for folder, folders, files in os.walk(root):
        if folder == str(root):
            folders[:] = [name for name in folders if name != ".ingest"]
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in files)


def manifest_rows(root: Path) -> list[dict[str, Any]]:
    """Every row of every part, read by pyarrow alone."""
    import pyarrow.parquet as pq

    columns = ["source_path", "path", "blake3_hex", "size", "state", "attempts"]
    parts = sorted(root.glob(".ingest/manifests/session=*/items-*.parquet"))
    return [row for part in parts for row in pq.ParquetFile(part).read(columns=columns).to_pylist()]


class Checker:
    """Compares what was acknowledged and what is there with what the card held."""

    def __init__(self, home: Path, tally: Counter[str]) -> None:
        self._home = home
        self._tally = tally

    def __call__(
        self, card: Card, *roots: Path, label: str | None = None, missing: frozenset[str] | set[str] = frozenset(),
        complete: bool = True, abandoned: bool = False, home: Path | None = None, truth: dict[Path, Path] | None = None,
        beside: frozenset[str] | set[str] = frozenset(), books: bool = True,
    ) -> int:  # fmt: skip
        """Check a card's copies below roots; how many acknowledgements were checked.

        Args:
            missing: paths on the card that rightly did not arrive. complete: the session is over: everything else
                must have arrived, be in a manifest, and no staging file may be left. abandoned: but for those of a
                session whose journal is lost, which nobody can tell from one that still runs elsewhere.
            truth: where a root's bytes lie: the folder that a server holds, which no cache stands before.
            beside: folders of a root that are another card's.
            books: the journal's word counts; else its disk damaged it, and manifests are all there is.
        """
        label = label or card.folder.name
        journal = Journal(home or self._home)
        session = journal.session(card) if books else None
        copies = journal.copies(session["key"]) if session else {}
        checked = 0
        for root in roots:
            held = (truth or {}).get(root, root)
            seen = self._look(card, held, label, beside)
            wanted = {f"{label}/{path}" for path in card.versions if path not in missing}
            told = {
                os.fsdecode(row["path"]): row["blake3"].hex()
                for row in copies.values() if row["state"] in ARRIVED and os.fsdecode(row["root_path"]) == str(root)
            }  # fmt: skip
            inside = f"{card.folder}/"
            listed = {
                row["path"]: row["blake3_hex"]
                for row in manifest_rows(held) if row["state"] in ARRIVED and row["source_path"].startswith(inside)
            }  # fmt: skip
            for source, acknowledged in (*([("journal", told)] if books else []), ("manifest", listed)):
                for path, blake in acknowledged.items():
                    checked += 1
                    if seen.get(path) != blake:
                        raise BrokenPromiseError(
                            f"{source}: {path} was acknowledged, and is {seen.get(path, 'not there')}"
                        )
                if complete and wanted - set(acknowledged):
                    raise BrokenPromiseError(f"{source}: not acknowledged: {sorted(wanted - set(acknowledged))[:5]}")
            if complete:
                if gone := wanted - set(seen):
                    raise BrokenPromiseError(f"lost: {sorted(gone)[:5]}")
                if not abandoned and (left := sorted((held / ".ingest/staging").rglob("*"))):
                    raise BrokenPromiseError(f"staging was not cleared: {left[:5]}")
        if complete and not checked:
            raise BrokenPromiseError("nothing was acknowledged: this proves nothing")
        self._tally["acknowledgements checked"] += checked
        return checked

    def _look(self, card: Card, root: Path, label: str, beside: frozenset[str] | set[str]) -> dict[str, str]:
        """What stands below a root, by name: only what the card held, whole, under its own name."""
        seen = {}
        for name in names(root):
            top, _, path = name.partition("/")
            if top in beside:
                continue
            if top != label or path not in card.versions:
                raise BrokenPromiseError(f"a name that nothing on the card explains: {name}")
            seen[name] = digest(root / name)
            self._tally["names compared"] += 1
            if seen[name] not in card.versions[path]:
                raise BrokenPromiseError(f"wrong bytes under a final name: {name}")
        return seen

    def nothing(self, root: Path) -> None:
        """No name was given at all."""
        if found := list(names(root)):
            raise BrokenPromiseError(f"names were given: {found[:5]}")


@pytest.fixture
def check(ingest: Any, tally: Counter[str]) -> Checker:
    return Checker(ingest.home, tally)


# Processes


def is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_alive(pid: int) -> bool:
    """It runs, or could: not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_frozen(pid: int) -> bool:
    """It was stopped, or has ended: it moves nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def positions(pid: int, wanted: Callable[[str], bool]) -> list[int]:
    """How far a process is in each open file of these paths."""
    found = []
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            if wanted(os.readlink(f"/proc/{pid}/fd/{descriptor}")):
                lines = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().splitlines()
                found.append(int(lines[0].split()[1]))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it was closed, or the process ended, while we looked
    return found


@dataclass
class Ended:
    """A command that has ended. `document`: its JSON."""

    code: int
    document: dict[str, Any]
    errors: str


class Running:
    """A command that moves bytes: watched from outside, and interfered with."""

    def __init__(self, process: subprocess.Popen[str], traced: bool = False) -> None:
        self.process = process
        self._traced = traced

    @property
    def supervisor(self) -> int:
        """The process of the command itself, below its tracer or its attendant if there is one."""
        if not self._traced:
            with suppress(FileNotFoundError):
                if Path(f"/proc/{self.process.pid}/comm").read_text().strip() == "ingest-attend":
                    return next(iter(children(self.process.pid)), self.process.pid)
            return self.process.pid
        return until(lambda: children(self.process.pid), "the traced command")[0]

    @staticmethod
    def alive(pids: Iterable[int]) -> list[int]:
        """Those of some processes that have not ended."""
        return [pid for pid in pids if is_alive(pid)]

    def workers(self) -> list[int]:
        return [pid for pid in children(self.supervisor) if is_worker(pid)]

    def end(self, seconds: float = 90) -> Ended:
        """Wait for it."""
        out, errors = self.process.communicate(timeout=seconds)
        return Ended(self.process.returncode, json.loads(out or "{}"), errors)

    def end_killed(self, seconds: float = 90) -> bool:
        """Wait for it; whether SIGKILL ended it. It may not end in any other way but well."""
        out, errors = self.process.communicate(timeout=seconds)
        assert self.process.returncode in (0, -signal.SIGKILL), (self.process.returncode, out, errors)
        return self.process.returncode == -signal.SIGKILL

    def kill(self) -> None:
        """kill -9, proven to have hit."""
        os.kill(self.supervisor, signal.SIGKILL)
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == -signal.SIGKILL

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """What a terminal does: the whole group gets it."""
        os.killpg(self.process.pid, number)

    def catch(self, source: Path) -> Frozen:
        """Freeze the worker that is in the middle of a file: opened, some of it moved, more of it to come."""
        size = source.stat().st_size

        def middle(pid: int) -> bool:
            reading = positions(pid, str(source).__eq__)
            moved = reading + positions(pid, lambda path: "/.ingest/staging/" in path) if reading else []
            return bool(moved) and 0 < max(moved) <= size - (4 << 20)

        def caught() -> Frozen | None:
            assert self.process.poll() is None, (
                f"it ended before {source.name} was caught: {self.process.communicate()}"
            )
            for pid in self.workers():
                if positions(pid, str(source).__eq__):
                    # From here on it moves only while nobody looks: it would be done before it was looked at twice.
                    frozen = Frozen([pid])
                    if middle(pid):
                        return frozen
                    frozen.thaw()
            return None

        with first():
            return until(caught, f"a worker in the middle of {source.name}")

    def freeze(self) -> Frozen:
        """Freeze every worker, wherever it is."""
        return Frozen(until(self.workers, "a worker"))


@contextmanager
def first() -> Iterator[None]:
    """Before all others at the processor, where that may be asked: a copy takes less time than waiting for one's turn."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


class Frozen:
    """Workers that were stopped; as a context manager they go on at its end."""

    def __init__(self, workers: list[int]) -> None:
        self.workers = workers
        for pid in workers:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGSTOP)
            until(lambda pid=pid: is_frozen(pid), "a frozen worker")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()

    def thaw(self) -> None:
        for pid in self.workers:
            with suppress(ProcessLookupError):  # killed meanwhile
                os.kill(pid, signal.SIGCONT)


class Shell:
    """The command line of one journal, as these tests use it. Whatever still runs at the end is killed."""

    def __init__(self, ingest: Any) -> None:
        self._ingest = ingest
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str | Path, home: Path | None = None) -> Running:
        ingest = replace(self._ingest, home=home) if home else self._ingest
        return self._keep(ingest.start(*arguments, "--json", start_new_session=True))

    def traced(self, *arguments: str | Path, strace: list[str], home: Path | None = None) -> Running:
        """Start under strace, which follows the supervisor's threads and leaves its workers alone."""
        if shutil.which("strace") is None:
            pytest.skip("needs strace")
        command = [
            "strace", "-f", "-b", "execve", "-qq", *strace,
            *self._ingest.command(*arguments, "--json"),
        ]  # fmt: skip
        environment = {**self._ingest.environment, **({"INGEST_HOME": str(home)} if home else {})}
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        return self._keep(process, traced=True)

    def _keep(self, process: subprocess.Popen[str], *, traced: bool = False) -> Running:
        self._started.append(process)
        return Running(process, traced)

    def run(self, *arguments: str | Path, home: Path | None = None, seconds: float = 90) -> Ended:
        """Run to the end."""
        environment = {**self._ingest.environment, **({"INGEST_HOME": str(home)} if home else {})}
        done = nursery.run(self._ingest.command(*arguments, "--json"), env=environment, text=True, timeout=seconds)
        assert "Traceback" not in done.stderr, done.stderr
        assert '"internal"' not in done.stdout, done.stdout
        found = json.loads(done.stdout or "{}")
        return Ended(done.returncode, found if isinstance(found, dict) else {"reports": found}, done.stderr)

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            if process.stdout and not process.stdout.closed:
                process.communicate(timeout=PATIENCE)


@pytest.fixture
def shell(ingest: Any) -> Iterator[Shell]:
    made = Shell(ingest)
    yield made
    made.close()


# Mounts


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


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount, which this container does not have")
    made = Mounts(tmp_path)
    yield made
    made.close()


class FaultyDisk:
    """A folder behind :mod:`faultfs`. `backing` is what the disk really holds."""

    def __init__(self, folder: Path, library: str, subtype: str) -> None:
        self.backing = folder / "backing"
        self.mount = folder / "disk"
        self._rules = folder / "rules.json"
        self._log = folder / "hits.jsonl"
        self._library = library
        self._subtype = subtype
        for place in (self.backing, self.mount):
            place.mkdir(parents=True)
        self._log.touch()
        self.rules()
        self.begin()

    def begin(self) -> None:
        """Start the daemon (again)."""
        script = Path(__file__).with_name("faultfs.py")
        command = [sys.executable, script, self.backing, self.mount, self._rules, self._log, self._subtype]
        environment = {**os.environ, "FUSE_LIBRARY_NAME": self._library}
        self._daemon = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: os.path.ismount(self.mount), "the faulty disk")

    def rules(self, *rules: dict[str, Any]) -> None:
        """What goes wrong from now on."""
        new = self._rules.with_suffix(".new")
        new.write_text(json.dumps(rules))
        new.replace(self._rules)

    def hits(self, **wanted: str) -> list[dict[str, Any]]:
        """The faults that were met, the hanging ones too."""
        lines = map(json.loads, self._log.read_text().splitlines())
        return [line for line in lines if all(line[key] == value for key, value in wanted.items())]

    def forget(self) -> None:
        """Begin a new list of hits."""
        os.truncate(self._log, 0)

    def freeze(self) -> None:
        """From now on nothing answers, as on a share whose server hangs."""
        self._daemon.send_signal(signal.SIGSTOP)
        until(lambda: is_frozen(self._daemon.pid), "a frozen daemon")

    def thaw(self) -> None:
        """It answers again, also what was asked meanwhile."""
        self._daemon.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """The daemon's end, and the mount's."""
        self.rules()
        self.thaw()  # whoever looks at a frozen mount, as umount does, hangs
        subprocess.run(["umount", "--lazy", str(self.mount)], capture_output=True, timeout=PATIENCE, check=False)
        if self._daemon.poll() is None:
            self._daemon.kill()
        self._daemon.wait(PATIENCE)


@contextmanager
def _faulty_disks() -> Iterator[Callable[[Path, str], FaultyDisk]]:
    """Make disks in folders of their own; all are unmounted at the end."""
    if find_spec("mfusepy") is None:
        pytest.skip("needs mfusepy")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
        pytest.skip("needs root and /dev/fuse")
    made: list[FaultyDisk] = []

    def make(folder: Path, library: str = "fuse3", subtype: str = "faultfs") -> FaultyDisk:
        if find_library(library) is None:
            pytest.skip(f"needs lib{library}")
        disk = FaultyDisk(folder, library, subtype)
        made.append(disk)
        return disk

    yield make
    for disk in made:
        disk.end()
        assert not os.path.ismount(disk.mount)


@pytest.fixture
def faulty_disk(tmp_path: Path) -> Iterator[Callable[..., FaultyDisk]]:
    with _faulty_disks() as make:
        yield lambda name="faulty", library="fuse3", subtype="faultfs": make(tmp_path / name, library, subtype)


@pytest.fixture(scope="module")
def keep_faulty_disk() -> Iterator[Callable[..., FaultyDisk]]:
    """For what all tests of a module use: a disk in a folder that is given."""
    with _faulty_disks() as make:
        yield make


# Shares


def beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def neighbour(name: str) -> ModuleType:
    """The same; skips where it says that it cannot work."""
    module = beside(name)
    if reason := module.missing():
        pytest.skip(reason)
    return module


@pytest.fixture(scope="session")
def netmount() -> ModuleType:
    """The module of that name, which makes shares that can be lost."""
    return neighbour("netmount")


@pytest.fixture(scope="session")
def guest() -> ModuleType:
    """The module of that name, which makes machines that can be killed."""
    return neighbour("guest")


@pytest.fixture(scope="session")
def shares() -> ModuleType:
    """The module of that name, which makes shares in such machines."""
    return neighbour("shares")


# Disks whose writes are written down


@pytest.fixture(scope="session")
def writelog() -> ModuleType:
    """The module of that name; skips where it cannot make its disks."""
    if find_spec("mfusepy") is None or find_library("fuse3") is None:
        pytest.skip("needs mfusepy and libfuse3")
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs root and /dev/fuse")
    return beside("writelog")


@dataclass
class Bench:
    """All that one run needs, when several are made side by side."""

    folder: Path
    ingest: Any
    tally: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.shell = Shell(self.ingest)
        self.journal = Journal(self.ingest.home)
        self.check = Checker(self.ingest.home, self.tally)

    def card(self, files: dict[str, int], folder: Path, seen: Path) -> Card:
        """A card that is written in one folder and seen in another."""
        card = Card(folder)
        for path, size in files.items():
            card.write(path, size)
        return replace(card, folder=seen)


@pytest.fixture(scope="session")
def make_bench(tmp_path_factory: pytest.TempPathFactory, ingest_in: Callable[[Path], Any]) -> Callable[..., Bench]:
    """In a folder of its own, or in one that is given; `extra`: what its commands have in their environment."""

    def make(folder: Path | None = None, extra: tuple[tuple[str, str], ...] = ()) -> Bench:
        folder = folder or tmp_path_factory.mktemp("bench")
        return Bench(folder, replace(ingest_in(folder), extra=extra))

    return make
