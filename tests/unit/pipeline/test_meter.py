from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model.states import SessionState
from ingest.monitor import Silent
from ingest.pipeline import meter as metering
from ingest.pipeline.meter import EVERY, WINDOW, Meter


class Watcher(Silent):
    def __init__(self) -> None:
        self.told = []

    def progress(self, progress) -> None:
        self.told.append(progress)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(metering, "time", made)
    return made


@pytest.fixture
def watcher():
    return Watcher()


def test_the_heartbeat_is_more_than_two_a_second_and_no_flood(clock, watcher):
    meter = Meter(watcher, SessionState.COPYING, 1, 1000)

    for _ in range(1000):
        clock.now += 0.01
        meter.show(1, 1, 0, ())

    assert 2 * 10 <= len(watcher.told) <= 10 / EVERY + 1


def test_progress_says_where_the_session_stands(clock, watcher):
    meter = Meter(watcher, SessionState.COPYING, 4, 1000)
    clock.now += 1
    meter.show(100, 50, 2, (b"a.mp4",))

    (told,) = watcher.told
    assert (told.phase, told.files_done, told.files) == ("copying", 2, 4)
    assert (told.work_done, told.work, told.current) == (150, 1000, (b"a.mp4",))
    assert told.rate == pytest.approx(150)
    assert told.eta == pytest.approx(850 / 150)


def test_nothing_done_has_no_end_in_sight(clock, watcher):
    meter = Meter(watcher, SessionState.COPYING, 4, 1000)
    clock.now += 1
    meter.show(0, 0, 0, ())

    assert (watcher.told[0].rate, watcher.told[0].eta) == (0.0, None)


def test_the_rate_is_that_of_the_last_seconds(clock, watcher):
    meter = Meter(watcher, SessionState.COPYING, 1, 1 << 40)
    for second in range(60):
        clock.now += 1
        meter.show(1_000_000 * min(second, 30), 0, 0, ())

    assert watcher.told[29].rate == pytest.approx(1_000_000, rel=0.2)
    assert watcher.told[-1].rate == 0.0
    assert WINDOW < 30


def test_a_scan_counts_up(clock, watcher, item):
    meter = Meter(watcher, SessionState.SCANNING)
    for number in range(1, 4):
        clock.now += 1
        meter.found([item(number, size=100)])

    assert [(p.files, p.work, p.work_done) for p in watcher.told] == [(1, 100, 0), (2, 200, 0), (3, 300, 0)]
    assert watcher.told[0].phase == "scanning"


def test_a_copy_that_is_made_again_does_not_turn_progress_back(clock, watcher):
    meter = Meter(watcher, SessionState.COPYING, 1, 100)
    for written, proven in ((50, 0), (50, 50), (120, 60), (0, 0)):
        clock.now += 1
        meter.show(written, proven, 0, ())

    assert [p.work_done for p in watcher.told] == [50, 100, 180, 180]
    assert all(p.work_done <= p.work for p in watcher.told)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.integers(0, 9)), max_size=60),
       st.integers(0, 1 << 50))  # fmt: skip
def test_progress_never_falls_and_never_passes_its_total(steps, work):
    clock, watcher = Clock(), Watcher()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metering, "time", clock)
        meter = Meter(watcher, SessionState.COPYING, 3, work)
        for seconds, written, proven, files in steps:
            clock.now += seconds
            meter.show(written, proven, files, ())

    told = watcher.told
    for before, after in pairwise(told):
        assert after.work_done >= before.work_done
        assert after.work >= before.work
    for progress in told:
        assert 0 <= progress.work_done <= progress.work
        assert progress.files_done <= progress.files
        assert progress.rate >= 0
        assert progress.eta is None or progress.eta >= 0
