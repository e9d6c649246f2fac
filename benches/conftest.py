"""The workloads of `ingest bench` for pytest-benchmark: `pytest benches`, INGEST_BENCH_SIZE=small|full."""

from __future__ import annotations

import os
from itertools import count

import pytest

from ingest.bench.bay import flush, remove
from ingest.bench.coldness import Card
from ingest.bench.contenders import Course
from ingest.bench.workloads import TREES, USUAL, plant

WORKLOADS = TREES[os.environ.get("INGEST_BENCH_SIZE", "small")]
ROUNDS = 3


@pytest.fixture(scope="module", params=USUAL)
def workload(request):
    return WORKLOADS[request.param]


@pytest.fixture
def run(benchmark, workload):
    """Measure a contender on a card: cold where that matters, the target removed outside of the clock."""

    def measured(contender, card, *, cold):
        benchmark.group = f"{workload.name}: {benchmark.group}"
        numbers = count()
        courses, source = [], Card(card)

        def setup():
            clear()
            courses.append(Course(card, card.parent / f"run{next(numbers)}", cold))
            courses[-1].folder.mkdir()
            if cold:
                benchmark.extra_info["cold"] = source.chill().cold
            return (courses[-1],), {}

        def clear():
            while courses:
                remove(courses.pop().folder)
            flush(card)

        steps = benchmark.pedantic(contender.measure, setup=setup, rounds=ROUNDS)
        # What the clock of pytest-benchmark does not tell apart; of the last round.
        benchmark.extra_info.update({step.name: step.seconds for step in steps})
        clear()

    return measured


@pytest.fixture(scope="module")
def card(workload, tmp_path_factory):
    """The workload's tree on the disk."""
    folder = tmp_path_factory.mktemp("bench")
    plant(folder / "CARD", workload)
    flush(folder)
    yield folder / "CARD"
    remove(folder)
