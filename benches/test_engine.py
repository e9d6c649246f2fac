"""The engine alone, in memory, beside `cp`; the clock sees its read-back too, `copy` in the extra info does not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from ingest.bench import inprocess
from ingest.bench.bay import remove
from ingest.bench.workloads import plant


@pytest.fixture(scope="module")
def card(workload):
    """The workload's tree in memory."""
    folder = Path(tempfile.mkdtemp(prefix="ingest-bench-", dir="/dev/shm"))
    plant(folder / "CARD", workload)
    yield folder / "CARD"
    remove(folder)


@pytest.mark.benchmark(group="engine, in memory")
def test_cp(run, card):
    run(inprocess.peer(), card, cold=False)


@pytest.mark.benchmark(group="engine, in memory")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("buffer", inprocess.BUFFERS, ids=["64KiB", "256KiB", "1MiB", "4MiB"])
@pytest.mark.parametrize("mode", ["read", "mmap", "direct"])
def test_stage(run, card, workload, mode, buffer, threads):
    (contender,) = inprocess.contenders(workload, [mode], [buffer], [threads])
    run(contender, card, cold=False)
