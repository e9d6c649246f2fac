"""The engine beside `cp` and `b3sum`, for pytest-benchmark: `pytest benches`, INGEST_BENCH_SIZE=small|full."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from peers import MIB, SIZES, Bench, b3sum, cp, stage

SIZE = SIZES[os.environ.get("INGEST_BENCH_SIZE", "small")]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("bench"), SIZE)
    made.prepare()
    yield made
    made.remove("source.bin")


@pytest.mark.benchmark(group="disk, cold, flushed")
def test_cp_and_sync(benchmark, bench):
    benchmark.pedantic(cp, (bench,), {"flush": True}, setup=bench.chill, rounds=3)


@pytest.mark.benchmark(group="disk, cold, flushed")
@pytest.mark.parametrize("buffer", [64 << 10, 256 << 10, MIB, 4 * MIB], ids=["64KiB", "256KiB", "1MiB", "4MiB"])
@pytest.mark.parametrize("mode", ["read", "mmap", "direct"])
def test_stage_with_its_read_back(benchmark, bench, mode, buffer):
    benchmark.pedantic(stage, (bench, mode, buffer), {"flush": True}, setup=bench.chill, rounds=3)


@pytest.mark.benchmark(group="hash")
def test_b3sum(benchmark, bench):
    if b3sum(bench) is None:
        pytest.skip("b3sum is not installed")
    benchmark.pedantic(b3sum, (bench,), rounds=3)
