"""Real workers on real folders."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from ingest.workers.messages import Discard, Place, Publish, Request, Setup, Stage
from ingest.workers.supervisor import Answer, Died, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Far beyond what any of this takes; a test that gets here has failed.
PATIENCE = 30.0


def place(path, *, device: int | None = None) -> Place:
    facts = os.stat(path)
    return Place(os.fsencode(path), facts.st_dev if device is None else device, facts.st_ino, served=False)


@dataclass
class Floor:
    """A supervisor with its workers, a card and archives."""

    supervisor: Supervisor
    card: object
    archives: list
    events: list[Answer | Died] = field(default_factory=list)

    def until(self, enough: Callable[[], object]) -> list[Answer | Died]:
        """Poll until something is so."""
        limit = time.monotonic() + PATIENCE
        while not enough():
            assert time.monotonic() < limit, f"nothing came; so far: {self.events}"
            self.events += self.supervisor.poll(0.05)
        return self.events

    def ask(self, request: Request):
        """Send one request and wait for its reply."""
        self.supervisor.submit(request)
        return self.answer_to(request)

    def answer_to(self, request: Request):
        self.until(lambda: any(isinstance(e, Answer) and e.request.id == request.id for e in self.events))
        return next(e.reply for e in self.events if isinstance(e, Answer) and e.request.id == request.id)

    def death(self) -> Died:
        self.until(lambda: any(isinstance(e, Died) for e in self.events))
        return next(e for e in self.events if isinstance(e, Died))

    def pids(self) -> list[int]:
        return [slot.process.pid for slot in self.supervisor._slots]

    def stage(self, number: int, *names: bytes, roots: tuple[int, ...] = (0,), mode: str = "read") -> Stage:
        """A request for files that are on the card."""
        facts = [os.stat(self.card.name + b"/" + name) for name in names]
        return Stage(
            number, 0, roots, list(range(1, len(names) + 1)), list(names), [f.st_size for f in facts],
            [f.st_mtime_ns for f in facts], [[b".ingest/staging/x/" + b"%d.part" % n for n in range(1, len(names) + 1)] for _ in roots],
            mode,
        )  # fmt: skip

    def publish(self, number: int, staged: Stage, root: int = 0) -> Publish:
        column = staged.staging[staged.roots.index(root)]
        return Publish(number, root, staged.items, column, [b"CARD/" + path for path in staged.paths])

    def discard(self, number: int) -> Discard:
        """The cheapest question there is."""
        return Discard(number, 0, [b".ingest/staging/nothing"])


@pytest.fixture
def sparse() -> Callable[..., None]:
    """Makes a large file that costs nothing."""

    def make(tree, name: bytes, size: int) -> None:
        path = tree.put(name)
        os.truncate(path, size)

    return make


@pytest.fixture
def floor(tree) -> Iterator[Callable[..., Floor]]:
    """Opens a floor with so many workers."""
    opened = []

    def make(count: int = 1, roots: int = 1, **options: object) -> Floor:
        card = tree("card")
        archives = [tree(f"archive-{number}") for number in range(roots)]
        setup = Setup((place(card.path),), tuple(place(archive.path) for archive in archives), 1 << 20)
        supervisor = Supervisor(setup, count, **options)
        opened.append(supervisor)
        return Floor(supervisor, card, archives)

    yield make
    for supervisor in opened:
        supervisor.stop()
