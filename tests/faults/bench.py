"""A bench: all that one run needs, for tests that make several side by side, and for errands in a guest (errand.py)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from faults.cards import Card
from faults.checker import Checker
from faults.commands import Shell
from faults.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


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
        return replace(Card.of(folder, files), folder=seen)
