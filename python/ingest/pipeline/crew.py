"""The crew: how many workers a run has, what they are told, and what there is for them to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ingest.storage.tuning import Tuning, tune
from ingest.workers.messages import Place, Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.engine import Root
    from ingest.pipeline.context import Context
    from ingest.pipeline.survey import Outlook
    from ingest.storage.volumes import Volume

    Counters: TypeAlias = Callable[[], tuple[int, int, int]]


def tuned(context: Context, outlook: Outlook) -> Tuning:
    """What suits the volumes that take part, and what is to be done."""
    standing = {number: one.volume for number, one in context.standing}
    volumes = [standing.get(number) for number in range(len(context.facts.roots))]
    return tune(context.work.options, context.work.volumes, volumes, outlook.amount)


def crew(context: Context, tuning: Tuning) -> tuple[Setup, int]:
    """How many workers, and what they are told."""
    work = context.work
    sources = [_place(root, volume) for root, volume in zip(work.sources, work.volumes, strict=True)]
    roots = [
        # One that is away is never asked for anything.
        _place(one.root, one.volume) if one else Place(place.path, place.device, place.inode, served=False)
        for place, one in zip(context.facts.roots, work.destinations, strict=True)
    ]
    together = frozenset(root for root, may in enumerate(tuning.together) if may)
    keys = tuple(place.uuid.encode("ascii") for place in context.facts.roots)
    volumes = tuple(volume.identity(root.dev) for root, volume in zip(work.sources, work.volumes, strict=True))
    setup = Setup(
        tuple(sources), tuple(roots), tuning.buffer, tuning.threads, together, tuning.keep_cache, context.hashes,
        str(work.sharing.strategy), context.trails_at, keys, volumes, tuning.disks, work.options.verify_source,
    )  # fmt: skip
    return setup, tuning.workers


def workload(outlook: Outlook, counters: Counters, *, twice: bool = False) -> tuple[int, Callable[[], int]]:
    """The bytes to be written, read back and compared, and how many of them are done, by the workers' own count.

    Where nothing is written, because every copy shares its source's bytes, what is read shows the pace instead. Sources
    that are read `twice` are read back like a further copy.
    """
    absent = outlook.absent.values()
    once = max((one.size for one in absent), default=0)
    compared = outlook.asked + sum(one.compared for one in absent)
    copied = sum(one.size for one in absent)
    proven = copied + (once if twice else 0)
    written = copied - sum(one.shared for one in absent)
    sharing = copied > 0 and not written

    def done() -> int:
        read, copied, verified = counters()
        return (read if sharing else copied) + verified

    once = max((one.size for one in absent), default=0)
    return (once if sharing else written) + proven + compared, done


def _place(root: Root, volume: Volume) -> Place:
    return Place(root.path, root.dev, root.ino, volume.served)
