"""A contender, where it works, and the race: who is measured, in which order, how often."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.bench.bay import flush, remove
from ingest.bench.coldness import Card
from ingest.bench.results import Kind, Result, Run, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Course:
    """Where one run takes place.

    Attributes:
        card: the tree to be copied, which is there. folder: fresh and empty, for everything else; removed when the clock has stopped.
        cold: the card is read from the device, not from memory.
        kept: the folder stays until the whole race is over, and each run has one of its own: where thousands of files
            were just removed, a file system takes several times as long to make new ones.
    """

    card: Path
    folder: Path
    cold: bool = True
    kept: bool = False

    def target(self, name: str = "target") -> Path:
        """A fresh folder to copy to."""
        path = self.folder / name
        path.mkdir()
        return path


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who copies the card of a course; `measure` gives the steps by the clock."""

    name: str
    kind: Kind
    measure: Callable[[Course], tuple[Step, ...]]


def once(contender: Contender, course: Course, card: Card) -> Run:
    """One run: the card made cold before the clock, and looked at; everything else removed after it."""
    course.folder.mkdir()
    try:
        seen = card.chill() if course.cold else card.look()
        run = Run(contender.measure(course), seen)
    finally:
        if not course.kept:
            remove(course.folder)
    flush(course.card)
    return run


def race(
    contenders: Sequence[Contender], course: Course, runs: int, *, warm_up: bool, tell: Callable[[str], None]
) -> tuple[Result, ...]:
    """So many rounds of all of them, each round in an order of its own; in the result they stand as given.

    Args:
        course: its folder is not there yet. warm_up: one round more, before the others, that does not count.
        tell: told of each run.
    """
    card = Card(course.card)
    measured: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(0 if warm_up else 1, runs + 1):
        order = list(contenders)
        random.shuffle(order)
        for place, contender in enumerate(order):
            own = course.folder.with_name(f"{course.folder.name}-{number}-{place}") if course.kept else course.folder
            run = once(contender, replace(course, folder=own), card)
            tell(f"{f'round {number} of {runs}' if number else 'warm-up'}: {contender.name} {run.seconds:.3f} s")
            if number:
                measured[contender.name].append(run)
    return tuple(Result(one.name, one.kind, tuple(measured[one.name])) for one in contenders)
