"""The figures of README.md: the engine against `cp`, side by side in one run.

    python benches/figures.py [--size full|small] [--runs N] [--disk FOLDER] [--memory FOLDER]

Rounds are interleaved (A B A B …, in an order drawn anew for each round); what is quoted is the median and the
median of the ratios round by round. Below size `full` the figures mean nothing and only prove that this runs.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import tempfile
from functools import partial
from pathlib import Path

from peers import MIB, SIZES, Bench, b3sum, chilled, cp, stage


def interleaved(contenders, runs: int) -> dict[str, list[float]]:
    """Seconds of each contender, round by round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(runs + 1):
        order = list(contenders.items())
        random.shuffle(order)
        for name, measure in order:
            spent = measure()
            if number:
                seconds[name].append(spent)
    return seconds


def touch_memory(folder: Path, size: int) -> None:
    """Let this machine be given the memory that is measured in: its first touch can be slower than a disk."""
    block = bytes(8 * MIB)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(0, size, len(block)):
            file.write(block)


def table(title: str, seconds: dict[str, list[float]], peer: str, bars: dict[str, float]) -> bool:
    """Print one comparison; whether every bar was met."""
    print(f"\n{title}\n")
    print("| contender | median s | min | max | ratio to " + peer + " | bar |\n|---|---|---|---|---|---|")
    met = True
    for name, spent in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(spent, seconds[peer], strict=True))
        bar = bars.get(name)
        met = met and (bar is None or ratio <= bar)
        told = "" if bar is None else f"{bar:.2f}{' met' if ratio <= bar else ' MISSED'}"
        print(
            f"| {name} | {statistics.median(spent):.3f} | {min(spent):.3f} | {max(spent):.3f} | {ratio:.2f} | {told} |"
        )
    return met


def main() -> bool:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", choices=SIZES, default="full")
    arguments.add_argument("--runs", type=int, default=7)
    arguments.add_argument("--disk", type=Path, default=Path.cwd())
    arguments.add_argument("--memory", type=Path, default=Path("/dev/shm"))
    chosen = arguments.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    )
    print(f"one file of {SIZES[chosen.size] // MIB} MiB, {chosen.runs} interleaved rounds")
    met = []
    touch_memory(chosen.memory, 3 * SIZES[chosen.size])
    with tempfile.TemporaryDirectory(dir=chosen.memory, prefix="ingest-bench-") as folder:
        bench = Bench(Path(folder), SIZES[chosen.size])
        bench.prepare()
        contenders = {
            "cp": partial(cp, bench, flush=False),
            "read, 1 MiB": partial(stage, bench, "read", MIB, flush=False),
            "read, 64 KiB": partial(stage, bench, "read", MIB >> 4, flush=False),
            "mmap, 1 MiB": partial(stage, bench, "mmap", MIB, flush=False),
        }
        if b3sum(bench) is not None:
            contenders["b3sum alone"] = partial(b3sum, bench)
        seconds = interleaved(contenders, chosen.runs)
        met.append(table("Copy and hash, in memory (no flush, no read-back)", seconds, "cp", {"read, 1 MiB": 1.4}))
    with tempfile.TemporaryDirectory(dir=chosen.disk, prefix=".ingest-bench-") as folder:
        bench = Bench(Path(folder), SIZES[chosen.size])
        bench.prepare()
        contenders = {
            "cp + sync": chilled(bench, partial(cp, bench, flush=True)),
            "read, 1 MiB": chilled(bench, partial(stage, bench, "read", MIB, flush=True)),
            "read, 64 KiB": chilled(bench, partial(stage, bench, "read", MIB >> 4, flush=True)),
            "mmap, 1 MiB": chilled(bench, partial(stage, bench, "mmap", MIB, flush=True)),
        }
        seconds = interleaved(contenders, chosen.runs)
        bars = {"read, 1 MiB": 1.15, "mmap, 1 MiB": 1.15}
        met.append(table("Copy, hash and flush on disk, cold source (no read-back)", seconds, "cp + sync", bars))
    # A small run proves that this works, and nothing else.
    return all(met) or chosen.size != "full"


if __name__ == "__main__":
    raise SystemExit(0 if main() else 9)
