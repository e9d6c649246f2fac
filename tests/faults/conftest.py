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
import stat
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import blake3
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30.0  # seconds, for anything that is waited for
ARRIVED = ("finalized", "duplicate")
TALLY: pytest.StashKey[dict[str, Counter[str]]] = pytest.StashKey()


# What was checked


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = {}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if told := config.stash[TALLY]:
        terminalreporter.section("fault runs: what was checked")
        for test, counted in sorted(told.items()):
            terminalreporter.line(f"{test}: " + ", ".join(f"{number} {what}" for what, number in counted.items()))
        total = sum(told.values(), Counter())
        terminalreporter.line("total: " + ", ".join(f"{number} {what}" for what, number in total.items()))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Counter[str]:
    """What this test checked, shown at the end of the run."""
    name = request.node.nodeid.rpartition("/")[2]
    return request.config.stash[TALLY].setdefault(name, Counter())


def until[T](found: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Poll until something is true, and return it."""
    limit = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < limit, f"waited {seconds} s in vain: {what}"
        time.sleep(0.0005)
    return value


@pytest.fixture(name="until")
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


# A few files of every kind of size; several batches of work for two workers, and still read in a blink.
SMALL_CARD = {
    **{f"DCIM/100CANON/IMG_{number:04}.JPG": 4000 + 977 * number for number in range(24)},
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
                assert "no such table" in str(error)
                return []
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


class Broken(AssertionError):
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
        complete: bool = True, home: Path | None = None,
    ) -> int:  # fmt: skip
        """Check a card's copies below roots; how many acknowledgements were checked.

        Args:
            missing: paths on the card that rightly did not arrive. complete: the session is over: everything else
                must have arrived, be in a manifest, and no staging file may be left.
        """
        label = label or card.folder.name
        journal = Journal(home or self._home)
        session = journal.session(card)
        copies = journal.copies(session["key"]) if session else {}
        checked = 0
        for root in roots:
            seen = self._look(card, root, label)
            wanted = {f"{label}/{path}" for path in card.versions if path not in missing}
            told = {
                os.fsdecode(row["path"]): row["blake3"].hex()
                for row in copies.values() if row["state"] in ARRIVED and os.fsdecode(row["root_path"]) == str(root)
            }  # fmt: skip
            inside = f"{card.folder}/"
            listed = {
                row["path"]: row["blake3_hex"]
                for row in manifest_rows(root) if row["state"] in ARRIVED and row["source_path"].startswith(inside)
            }  # fmt: skip
            for source, acknowledged in (("journal", told), ("manifest", listed)):
                for path, blake in acknowledged.items():
                    checked += 1
                    if seen.get(path) != blake:
                        raise Broken(f"{source}: {path} was acknowledged, and is {seen.get(path, 'not there')}")
                if complete and wanted - set(acknowledged):
                    raise Broken(f"{source}: not acknowledged: {sorted(wanted - set(acknowledged))[:5]}")
            if complete:
                if gone := wanted - set(seen):
                    raise Broken(f"lost: {sorted(gone)[:5]}")
                if left := sorted((root / ".ingest/staging").rglob("*")):
                    raise Broken(f"staging was not cleared: {left[:5]}")
        if complete and not checked:
            raise Broken("nothing was acknowledged: this proves nothing")
        self._tally["acknowledgements checked"] += checked
        return checked

    def _look(self, card: Card, root: Path, label: str) -> dict[str, str]:
        """What stands below a root, by name: only what the card held, whole, under its own name."""
        seen = {}
        for name in names(root):
            top, _, path = name.partition("/")
            if top != label or path not in card.versions:
                raise Broken(f"a name that nothing on the card explains: {name}")
            seen[name] = digest(root / name)
            self._tally["names compared"] += 1
            if seen[name] not in card.versions[path]:
                raise Broken(f"wrong bytes under a final name: {name}")
        return seen

    def nothing(self, root: Path) -> None:
        """No name was given at all."""
        if found := list(names(root)):
            raise Broken(f"names were given: {found[:5]}")


@pytest.fixture
def check(ingest: Any, tally: Counter[str]) -> Checker:
    return Checker(ingest.home, tally)


# Processes


def children(pid: int) -> list[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return [int(c) for task in tasks for c in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except FileNotFoundError, ProcessLookupError:
        return []
