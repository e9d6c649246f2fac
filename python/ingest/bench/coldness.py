"""Cold sources: their pages dropped before each run, and the kernel asked whether they are gone.

Asking costs a call for each file, so of a tree of many files a sample is asked about: the largest, and others evenly
spread over the rest. What is claimed is what was seen, never that there is a call to drop pages: on tmpfs memory is all
there is, an overlay's pages are another file's, and a page that somebody maps stays.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.bench.workloads import files_below

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# So many files are asked about, beside the largest.
SAMPLE: Final = 64
# Pages that were just written may sit in a list of one processor's, and leave at the second call.
TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen right before runs: files that were asked about, those with pages in memory, those of unknown state."""

    asked: int = 0
    warm: int = 0
    unknown: int = 0

    @property
    def cold(self) -> bool | None:
        """Whether no page was seen; None where that cannot be told."""
        if self.warm:
            return False
        return None if self.unknown or not self.asked else True

    def __str__(self) -> str:
        """For people."""
        if self.warm:
            return f"NOT cold: {self.warm:,} of {self.asked:,} looks at a file found it in memory"
        if self.cold is None:
            return "perhaps not cold: nothing here tells whether it is in memory"
        return f"cold: {self.asked:,} looks at files found none in memory"

    @classmethod
    def all_of(cls, every: Iterable[Seen]) -> Seen:
        """All looks together."""
        looks = list(every)
        return cls(sum(one.asked for one in looks), sum(one.warm for one in looks), sum(one.unknown for one in looks))


class Card:
    """A tree that is to be cold, and the sample of its files that is asked about."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files = files_below(folder)
        largest = sorted(files, key=lambda path: path.stat().st_size)[-1:]
        step = max(1, -(-len(files) // SAMPLE))
        chosen = dict.fromkeys([*largest, *files[::step]])
        self._sample = [os.fsencode(path.relative_to(folder)) for path in chosen]

    def chill(self) -> Seen:
        """Drop the pages of all its files, and look."""
        seen = Seen()
        for _ in range(TRIES):
            chill(self._folder)
            seen = self.look()
            if not seen.warm:
                break
        return seen

    def look(self) -> Seen:
        """What of the sample is in memory now.

        Raises:
            OSError: a file cannot be opened.
        """
        told = engine.pages_in_memory(engine.Root(os.fsencode(self._folder)), self._sample)
        for one in told:
            if isinstance(one, OSError):
                raise one
        return Seen(len(told), sum(bool(one) for one in told), sum(one is None for one in told))


def chill(folder: Path) -> None:
    """Drop the pages of every file below a folder; what is not flushed stays."""
    if not hasattr(os, "posix_fadvise"):
        return  # such a system has no way to ask, nor to tell
    for where, _, names in os.walk(folder):
        directory = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in names:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
        finally:
            os.close(directory)
