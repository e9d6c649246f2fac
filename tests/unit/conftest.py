"""What unit tests share: a journal of their own, sessions in it, and folders with files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from ingest import engine
from ingest.catalog.holdings import remember_root
from ingest.db.engine import Database, open_database
from ingest.media.kinds import kind_of
from ingest.model.item import Item
from ingest.model.options import CopyOptions
from ingest.model.session import RootFacts, SessionFacts, SourceFacts
from ingest.model.states import ItemState
from ingest.session.journal import Journal
from ingest.session.register import open_session
from ingest.session.rows import Copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MTIME = 1_700_000_000_000_000_000


def made_item(number: int, path: bytes = b"", size: int = 10, **changes: object) -> Item:
    name = path or b"CLIP%05d.MP4" % number
    made = Item(number, 0, name, size, MTIME, kind_of(name.rpartition(b"/")[2]), ItemState.DISCOVERED)
    return replace(made, **changes)


@pytest.fixture
def item() -> Callable[..., Item]:
    """Makes an item as a scan finds it."""
    return made_item


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = open_database(home)
    yield opened
    opened.close()


@dataclass
class Tree:
    """A folder on the disk, by bytes."""

    path: Path

    @property
    def name(self) -> bytes:
        return os.fsencode(self.path)

    @property
    def root(self) -> engine.Root:
        return engine.Root(self.name)

    def put(self, name: bytes, data: bytes = b"", mtime_ns: int | None = None) -> Path:
        """A file with its folders."""
        place = self.name + b"/" + name
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(data)
        if mtime_ns is not None:
            os.utime(place, ns=(mtime_ns, mtime_ns))
        return Path(os.fsdecode(place))

    def get(self, name: bytes) -> bytes | None:
        """What a file holds, None if it is not there."""
        try:
            with open(self.name + b"/" + name, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def files(self) -> set[bytes]:
        """Every file below, but for this program's own."""
        found = set()
        for folder, folders, names in os.walk(self.name):
            if b".ingest" in folders:
                folders.remove(b".ingest")
            found |= {os.path.relpath(os.path.join(folder, name), self.name) for name in names}
        return found


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[str], Tree]:
    """Makes a folder."""

    def make(name: str) -> Tree:
        made = Tree(tmp_path / name)
        made.path.mkdir(exist_ok=True)
        return made

    return make


@pytest.fixture
def everybodys() -> Iterator[Tree]:
    """A folder that other users can reach (pytest's own are private)."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Tree(Path(folder))
        for inside, folders, _ in os.walk(folder):
            for name in folders:
                os.chmod(os.path.join(inside, name), 0o755)


@pytest.fixture
def as_nobody() -> Callable[..., str]:
    """Runs Python in a process that has no rights, root's least of all; what it printed.

    Args: imports (made before the rights are dropped, for the interpreter may be somebody's own), then the code,
    which finds the other arguments in `sys.argv[1:]`.
    """

    def run(imports: str, code: str, *arguments: str) -> str:
        drop = "os.setgroups([]); os.setgid(65534); os.setuid(65534)" if os.geteuid() == 0 else ""
        script = f"import os, sys, encodings.ascii\n{imports}\n{drop}\n{code}"
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@dataclass
class Session:
    """A session in a journal, held by this process, with real folders."""

    database: Database
    facts: SessionFacts
    journal: Journal
    sources: list[Tree]
    roots: list[Tree]

    def add(self, *found: Item) -> None:
        self.journal.add(found, [])

    def put(self, *changed: Copy) -> None:
        with self.database.write() as connection:
            self.journal.put(connection, changed)

    def end(self, number: int, state: ItemState, reason: str | None = None, errno: int = 0) -> None:
        with self.database.write() as connection:
            self.journal.end_items(connection, [(number, state, reason, errno)])

    def items(self) -> dict[int, Item]:
        return {found.number: found for page in self.journal.items() for found in page}

    def copies(self) -> dict[tuple[int, int], Copy]:
        rows = self.journal.copies_of(0, 1 << 40)
        return {(copy.item, copy.root): copy for each in rows.values() for copy in each}


def began(
    database: Database,
    sources: list[Tree],
    roots: list[Tree],
    options: CopyOptions | None = None,
    *,
    label: bytes = b"CARD",
) -> Session:
    """A new session from these folders to those."""
    facts = []
    for number, tree in enumerate(sources):
        root = tree.root
        name = label if number == 0 else label + b"-%d" % number
        facts.append(SourceFacts(number, tree.name, name, None, root.dev, root.ino, None))
    places = []
    for number, tree in enumerate(roots):
        root = tree.root
        uuid = f"00000000-0000-4000-8000-{root.ino:012x}"
        with database.write() as connection:
            key = remember_root(connection, uuid, tree.name, None)
        places.append(RootFacts(number, key, tree.name, uuid, None, root.dev, root.ino))
    opened = open_session(database, str(uuid4()), options or CopyOptions(), facts, places, "0.0.0")
    return Session(database, opened, Journal(database, opened.key), sources, roots)


@pytest.fixture
def begin(database: Database, tree: Callable[[str], Tree]) -> Callable[..., Session]:
    """Begins a session: one card, so many archives."""

    def make(roots: int = 1, sources: int = 1, options: CopyOptions | None = None) -> Session:
        cards = [tree(f"card-{number}") for number in range(sources)]
        archives = [tree(f"archive-{number}") for number in range(roots)]
        return began(database, cards, archives, options)

    return make


@pytest.fixture
def session(begin: Callable[..., Session]) -> Session:
    return begin()
