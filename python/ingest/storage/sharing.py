"""Sharing: which copies can be clones or hard links of their source, and which have to be written.

Both stay within one file system. What the user asked for and no destination can do is refused before anything is
written down; what some cannot do is said. Whether a destination can is not read from a table of file systems: it is
tried there, with a small file of our own. The last word is the kernel's, file by file: what it refuses is copied, and
journal and manifest tell which strategy each copy got.

`auto` writes every copy's bytes, on the source's own file system too: a block that goes bad is bad in all files that
share it, and of two copies one shall survive.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ingest.errors import IngestError, UsageError, from_os_error, shown
from ingest.model.options import Strategy
from ingest.storage.features import SHARED, cannot_share
from ingest.storage.volumes import volume_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.engine import Root
    from ingest.storage.volumes import Volume


@dataclass(frozen=True, slots=True)
class Sharing:
    """What copies share with their sources.

    Attributes:
        strategy: `copy`, `reflink` or `hardlink`; never `auto`.
        pairs: source and destination, by their numbers, between which files can be shared.
        obstacles: why others cannot, by the same numbers.
    """

    strategy: Strategy = Strategy.COPY
    pairs: frozenset[tuple[int, int]] = frozenset()
    obstacles: dict[tuple[int, int], str] = field(default_factory=dict)


def look(asked: Strategy, sources: Sequence[Volume], roots: Sequence[Volume | None]) -> Sharing:
    """What the mount table says; None stands for a root that takes no part."""
    if asked not in SHARED:
        return Sharing()
    obstacles = {
        (number, place): _obstacle(asked, source, root)
        for number, source in enumerate(sources)
        for place, root in enumerate(roots)
        if root is not None
    }
    pairs = frozenset(pair for pair, why in obstacles.items() if why is None)
    return Sharing(asked, pairs, {pair: why for pair, why in obstacles.items() if why is not None})


def _obstacle(asked: Strategy, source: Volume, root: Volume) -> str | None:
    one = source.same_as(root)
    if one is None:
        return "this system does not tell what lies on one file system"
    if not one:
        return "it is on another file system than the source"
    if asked is Strategy.HARDLINK and source.mount != root.mount:
        return "it is reached through another mount than the source, and no hard link leads from one to another"
    return None


def probed(sharing: Sharing, roots: Sequence[Root | None], *, resumed: bool = False) -> Sharing:
    """The same, after every destination that may share was tried.

    Args:
        resumed: a destination that cannot be written is an obstacle like others: the session goes on without it.

    Raises:
        IngestError: a destination cannot be written.
    """
    obstacles = dict(sharing.obstacles)
    for number in sorted({place for _, place in sharing.pairs}):
        root = roots[number]
        try:
            why = "it is away" if root is None else cannot_share(root, sharing.strategy)
        except IngestError as error:
            if not resumed:
                raise
            why = error.cause
        if why is not None:
            obstacles |= {pair: why for pair in sharing.pairs if pair[1] == number}
    return replace(sharing, pairs=sharing.pairs - obstacles.keys(), obstacles=obstacles)


def require(sharing: Sharing, roots: Sequence[bytes]) -> None:
    """Require that what was asked for can be done for some destination.

    Args:
        roots: the destinations' paths.

    Raises:
        UsageError: it cannot for any.
    """
    if sharing.strategy is Strategy.COPY or sharing.pairs or not sharing.obstacles:
        return
    (_, number), why = next(iter(sharing.obstacles.items()))
    raise UsageError(
        f"it can hold no {SHARED[sharing.strategy]} of the source: {why}", path=roots[number],
        operation=f"--strategy {sharing.strategy}", advice="Write the bytes of every copy: --strategy copy",
    )  # fmt: skip


def require_on(asked: Strategy, sources: Sequence[Volume], roots: Sequence[bytes]) -> None:
    """As `require`, by the mount table alone: before anything is written, for folders that may not be there yet.

    Raises:
        UsageError: as above. IngestError: a folder cannot be looked at.
    """
    if asked in SHARED:
        require(look(asked, sources, [_volume_above(path) for path in roots]), roots)


def _volume_above(path: bytes) -> Volume:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    try:
        return volume_of(path)
    except OSError as error:
        raise from_os_error(error, "open", path) from error


def cautions(sharing: Sharing, sources: Sequence[bytes], roots: Sequence[bytes]) -> list[str]:
    """What is copied although something else was asked for: one sentence per destination, by the paths given."""
    told = []
    for number, path in enumerate(roots):
        refused = {source: why for (source, place), why in sharing.obstacles.items() if place == number}
        for source, why in refused.items():
            whole = len(refused) == len(sources)
            if whole and source != min(refused):
                continue
            what = "" if whole else f" from {shown(sources[source])}"
            told.append(f"{shown(path)}: copies{what} are written, not {_WORD[sharing.strategy]}: {why}")
    return told


_WORD: Final = {Strategy.REFLINK: "cloned", Strategy.HARDLINK: "linked"}


def how(asked: Strategy, sharing: Sharing, sources: Sequence[Volume], roots: Sequence[Volume]) -> str:
    """One sentence that tells the strategy, and why."""
    if sharing.pairs:
        where = "on the source's file system; elsewhere bytes are written" if sharing.obstacles else "everywhere"
        return f"strategy {sharing.strategy}: asked for, and tried before anything is copied; {where}"
    if asked is not Strategy.AUTO:
        return "strategy copy: asked for"
    if look(Strategy.REFLINK, sources, roots).pairs:
        return "strategy copy: on one file system, too, a copy has bytes of its own unless --strategy says otherwise"
    return "strategy copy: another file system than the source's"
