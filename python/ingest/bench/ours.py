"""The program itself as a contender: `ingest copy` as somebody types it, a whole process, proof included."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from ingest.bench.commands import timed
from ingest.bench.contenders import Contender
from ingest.bench.results import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.bench.contenders import Course
    from ingest.bench.results import Step

NAME = "ingest"


@dataclass(frozen=True, slots=True)
class Choice:
    """Options of `ingest copy`; None leaves the choice to the program. `destinations`: archives from one read.

    The fields after it are of the figures' evidence only (benches/choices.py), not of `ingest bench`.
    """

    read_mode: str | None = None
    buffer: int | None = None
    workers: int | None = None
    destinations: int = 1
    threads: int | None = None
    flush: str | None = None
    cache: str | None = None

    @property
    def name(self) -> str:
        """For tables and documents: the same options have the same name."""
        told = [NAME]
        if self.read_mode is not None:
            told.append(self.read_mode)
        if self.buffer is not None:
            told.append(shown_size(self.buffer))
        if self.workers is not None:
            told.append(f"{self.workers} worker{'s' * (self.workers != 1)}")
        if self.threads is not None:
            told.append(f"{self.threads} thread{'s' * (self.threads != 1)}")
        told += [
            f"{word} {value}" for word, value in (("flush", self.flush), ("cache", self.cache)) if value is not None
        ]
        if self.destinations != 1:
            told.append(f"{self.destinations} destinations")
        return " ".join(told)

    def arguments(self) -> list[str]:
        """For the command line."""
        given = {
            "--read-mode": self.read_mode, "--buffer": self.buffer, "--workers": self.workers, "--threads": self.threads,
            "--flush": self.flush, "--cache": self.cache,
        }  # fmt: skip
        return [part for option, value in given.items() if value is not None for part in (option, str(value))]


def shown_size(size: int) -> str:
    """A power of two as it is written for `--buffer`."""
    return f"{size >> 20}MiB" if size >= 1 << 20 else f"{size >> 10}KiB"


def choices(
    read_modes: Sequence[str], buffers: Sequence[int], workers: Sequence[int], destinations: Sequence[int]
) -> list[Choice]:
    """Every combination; where nothing is asked for, the program's own choice."""
    every = product(read_modes or (None,), buffers or (None,), workers or (None,), destinations or (1,))
    return list(dict.fromkeys(Choice(*each) for each in every))


def contender(choice: Choice) -> Contender:
    """`ingest copy` with these options."""
    return Contender(choice.name, Kind.INGEST, partial(_copy, choice))


def _copy(choice: Choice, course: Course) -> tuple[Step, ...]:
    first, *others = [course.target(f"archive{number}") for number in range(choice.destinations)]
    also = [part for other in others for part in ("--also", other)]
    command = [
        sys.executable, "-m", "ingest", "copy", course.card, first, *also, *choice.arguments(), "--quiet", "--new-root",
    ]  # fmt: skip
    return (timed("copy", command, folder=course.folder, environment={"INGEST_HOME": str(course.folder / "home")}),)
