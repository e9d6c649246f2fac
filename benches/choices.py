"""What the tuning chooses for this storage, beside what it could have chosen: the evidence for `storage/tuning.py`.

Whole programs with flush and proof, cold sources, in interleaved rounds: what `ingest copy` does by itself beside the
same with one option changed. There is no bar: what wins may differ from one storage to the next, and from one hour to
the next. A choice "wins", or loses, if every round says so and the median by more than 3 %.
"""

from __future__ import annotations

import os
from statistics import median
from typing import TYPE_CHECKING

from bars import LETTERS, Finding, report, request
from ingest.bench.ours import NAME, Choice, shown_size
from ingest.bench.workloads import KIB, MIB, TREES
from ingest.model.options import Cache, CopyOptions, Flush, ReadMode
from ingest.storage.tuning import read_mode, tune
from ingest.storage.volumes import volume_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.bench.results import Race
    from ingest.bench.workloads import Workload

ROUNDS = 3
CLEAR = 0.03
READ_MODES = (ReadMode.READ, ReadMode.MMAP, ReadMode.DIRECT)
BUFFERS = (64 * KIB, 256 * KIB, MIB, 4 * MIB)
# By workload, by option, what is tried.
TRIED = {
    "big": {"read_mode": READ_MODES, "cache": tuple(Cache), "buffer": BUFFERS, "threads": (1, 2)},
    "clips": {"read_mode": READ_MODES, "cache": tuple(Cache), "buffer": BUFFERS},
    "small": {"flush": (Flush.AUTO, Flush.EACH)},
}


def choices(chosen) -> Iterator[Finding]:
    for name in chosen.workloads:
        workload = TREES[chosen.size][name]
        taken, reasons = decided(chosen.disk, workload)
        tried = [
            (option, value) for option, values in TRIED[name].items() for value in values if value != taken[option]
        ]
        others = [Choice(**{option: value}) for option, value in tried]
        asked = request(chosen, workload, choices=(Choice(), *others), runs=chosen.asked_runs or ROUNDS)
        (race,) = report(asked, "", "what the tuning says:", *(f"  {reason}" for reason in reasons)).races
        for (option, value), other in zip(tried, others, strict=True):
            what = f"{LETTERS[name]}, {option.replace('_', ' ')}: {shown(taken[option])}, chosen, beside {shown(value)}"
            yield Finding(what, figures(race, other.name), verdict(race, other.name))


def decided(disk, workload: Workload) -> tuple[dict[str, object], tuple[str, ...]]:
    """What is taken for a session on this disk, by option; and why."""
    volume, options = volume_of(os.fsencode(disk.absolute())), CopyOptions()
    tuning = tune(options, [volume], [volume])
    return {
        "read_mode": read_mode(options, volume, workload.file_bytes),
        "cache": Cache.KEEP if tuning.keep_cache else Cache.DROP,
        "buffer": tuning.buffer,
        "threads": tuning.threads,
        "flush": Flush.AUTO if options.flush is Flush.AUTO else Flush.EACH,
    }, tuning.reasons


def shown(value: object) -> str:
    return shown_size(value) if isinstance(value, int) and value >= KIB else str(value)


def figures(race: Race, other: str) -> str:
    ours, theirs = race.result(NAME), race.result(other)
    seconds = f"{ours.median:.2f} s, {theirs.median:.2f} s"
    return f"{race.ratio(ours, other):.2f} x ({seconds}; CPU {median(ours.cpu):.2f} s, {median(theirs.cpu):.2f} s)"


def verdict(race: Race, other: str) -> str:
    """Who is quicker, as far as the rounds agree."""
    ours, theirs = race.result(NAME), race.result(other)
    ratios = [one / another for one, another in zip(ours.seconds, theirs.seconds, strict=True)]
    if max(ratios) < 1 and median(ratios) < 1 - CLEAR:
        return "what is chosen wins"
    if min(ratios) > 1 and median(ratios) > 1 + CLEAR:
        return "what is chosen LOSES"
    return "no clear difference"
