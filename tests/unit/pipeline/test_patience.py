from __future__ import annotations

import errno

from hypothesis import given
from hypothesis import strategies as st

from ingest.engine import Failed
from ingest.pipeline.patience import DELAYS, JITTER, LAST, Patience

FAULT = Failed("io", "read", errno.EIO, b"/x", "why")


def put(patience: Patience, attempts: int, item: int = 1, now: float = 0.0) -> None:
    patience.put(now, attempts, 0, item, (0,), FAULT, source=True)


def test_each_further_try_waits_longer():
    for attempts, delay in enumerate(DELAYS, 1):
        patience = Patience()
        put(patience, attempts, now=50.0)

        assert not patience.take(50.0 + delay * (1 - JITTER) - 0.01, lambda _: True)
        (one,) = patience.take(50.0 + delay * (1 + JITTER) + 0.01, lambda _: True)
        assert one.fault is FAULT
        assert not len(patience)


def test_the_last_failure_waits_only_for_the_word_on_its_place():
    patience = Patience()
    put(patience, patience.tries)

    assert patience.tries == 4
    assert len(patience.take(LAST + 0.01, lambda _: True)) == 1


def test_who_cannot_be_judged_yet_goes_on_waiting():
    patience = Patience()
    for item in range(10):
        put(patience, 1, item)

    assert {one.item for one in patience.take(9, lambda one: one.item % 2 == 0)} == set(range(0, 10, 2))
    assert len(patience) == 5
    assert {one.item for one in patience.take(9, lambda _: True)} == set(range(1, 10, 2))


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0, 5)), max_size=40), st.floats(0, 20))
def test_nobody_is_taken_early_or_lost(entries, now):
    patience = Patience()
    for item, (attempts, when) in enumerate(entries):
        put(patience, attempts, item, when)

    taken = patience.take(now, lambda _: True)

    assert all(one.due <= now for one in taken)
    assert [one.due for one in taken] == sorted(one.due for one in taken)
    rest = patience.all()
    assert all(one.due > now for one in rest)
    assert sorted(one.item for one in [*taken, *rest]) == list(range(len(entries)))
    assert not len(patience)
