"""What a run has to do, in bytes, and how much of it the workers have done."""

from __future__ import annotations

import pytest

from ingest.pipeline.crew import workload
from ingest.pipeline.survey import Absent, Outlook

# What the workers say: read to be copied, written, read back or compared.
READ, WRITTEN, PROVEN = 1, 20, 300


def counters() -> tuple[int, int, int]:
    return READ, WRITTEN, PROVEN


@pytest.mark.parametrize(
    ("absent", "asked", "work"),
    [
        pytest.param([Absent(2, 1000)], 0, 2000, id="copied and read back"),
        pytest.param([Absent(2, 1000), Absent(1, 500)], 0, 3000, id="two archives"),
        pytest.param([Absent(twins=2)], 1000, 1000, id="known to be there: the card is read"),
        pytest.param([Absent(twins=2, compared=1000)], 1000, 2000, id="perhaps there: both are read"),
        pytest.param(
            [Absent(1, 700, twins=1, compared=300), Absent(2, 1000)], 300, 4000, id="half there on one of two"
        ),
        pytest.param([], 0, 0, id="nothing"),
    ],
)
def test_work_is_what_is_written_read_back_and_compared(absent, asked, work):
    planned, done = workload(Outlook(dict(enumerate(absent)), asked), counters)

    assert (planned, done()) == (work, WRITTEN + PROVEN)


def test_where_nothing_is_written_reading_shows_the_pace():
    planned, done = workload(Outlook({0: Absent(2, 1000, shared=1000, twins=1, compared=50)}, 50), counters)

    assert (planned, done()) == (1000 + 1000 + 100, READ + PROVEN)
