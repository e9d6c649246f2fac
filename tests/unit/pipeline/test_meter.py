from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model.states import SessionState
from ingest.monitor import OneAtATime, Silent
from ingest.pipeline import meter as metering
from ingest.pipeline.meter import CALM, EVERY, WINDOW, Meter


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


class Pages:
    """What the workers' pages say."""

    def __init__(self) -> None:
        self.written = self.proven = 0

    def __call__(self) -> int:
        return self.written + self.proven


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(metering, "time", made)
    return made


@pytest.fixture
def watcher():
    return Watcher()


@pytest.fixture
def pages():
    return Pages()


@pytest.fixture
def copying(clock, watcher, pages):
    """A meter of a session that has begun to copy."""

    def begin(files: int, work: int) -> Meter:
        meter = Meter(watcher)
        meter.enter(SessionState.COPYING)
        meter.plan(files, work, pages)
        return meter

    return begin


def test_the_heartbeat_is_more_than_two_a_second_and_no_flood(copying, clock, watcher):
    meter = copying(1, 1000)

    for _ in range(1000):
        clock.now += 0.01
        meter.show(0, ())

    assert 2 * 10 <= len(watcher.told) <= 10 / EVERY + 1


def test_progress_says_where_the_session_stands(copying, clock, watcher, pages):
    meter = copying(4, 1000)
    clock.now += 2
    pages.written, pages.proven = 100, 50
    meter.show(2, (b"a.mp4", b"b.mp4"))

    (told,) = watcher.told
    assert (told.phase, told.files_done, told.files) == ("copying", 2, 4)
    assert (told.work_done, told.work, told.current) == (150, 1000, (b"a.mp4", b"b.mp4"))
    assert told.rate == pytest.approx(75)
    assert told.eta == pytest.approx(850 / 75)


def test_nothing_done_has_no_end_in_sight(copying, clock, watcher):
    meter = copying(4, 1000)
    clock.now += 2
    meter.show(0, ())

    assert (watcher.told[0].rate, watcher.told[0].eta) == (0.0, None)


def test_nothing_is_foretold_from_the_first_moments(copying, clock, watcher, pages):
    meter = copying(4, 10_000)
    clock.now += CALM / 2
    pages.written = 1000
    meter.show(0, ())
    clock.now += CALM
    pages.written = 2000
    meter.show(0, ())

    assert [told.eta is None for told in watcher.told] == [True, False]


def test_what_would_take_for_ever_has_no_end_in_sight(copying, clock, watcher, pages):
    meter = copying(1, 1 << 60)
    clock.now += 2
    pages.written = 1
    meter.show(0, ())

    assert (watcher.told[0].rate, watcher.told[0].eta) == (0.5, None)


def test_the_rate_is_that_of_the_last_seconds(copying, clock, watcher, pages):
    meter = copying(1, 1 << 40)
    for second in range(60):
        clock.now += 1
        pages.written = 1_000_000 * min(second, 30)
        meter.show(0, ())

    assert watcher.told[29].rate == pytest.approx(1_000_000, rel=0.2)
    assert watcher.told[-1].rate == 0.0
    assert WINDOW < 30


def test_a_scan_counts_up(clock, watcher, item):
    meter = Meter(watcher)
    meter.enter(SessionState.SCANNING)
    for number in range(1, 4):
        clock.now += 1
        meter.found([item(number, size=100)])

    assert [(p.files, p.work, p.work_done) for p in watcher.told] == [(1, 100, 0), (2, 200, 0), (3, 300, 0)]
    assert watcher.told[0].phase == "scanning"
    assert all(p.eta is None and p.rate == 0.0 for p in watcher.told)


def test_what_is_read_to_plan_is_told_and_stays_done(clock, watcher, pages, item):
    meter = Meter(watcher)
    meter.found([item(1, size=1000)])
    meter.enter(SessionState.PLANNING)
    looked = Pages()
    meter.look(looked)
    clock.now += 2
    looked.written, looked.proven = 100, 20
    meter.show(0, (b"doubtful.mp4",))
    looked.proven = 60
    meter.enter(SessionState.COPYING)
    meter.plan(1, 40, pages)
    clock.now += 2
    pages.written = 30
    meter.show(0, ())

    before, after = watcher.told
    assert (before.phase, before.work_done, before.work, before.rate, before.eta) == ("planning", 120, 1000, 60, None)
    assert before.current == (b"doubtful.mp4",)
    assert (after.work_done, after.work, after.rate, after.eta) == (190, 200, 15, pytest.approx(10 / 15))


def test_a_session_that_is_taken_up_begins_where_it_stood(clock, watcher):
    meter = Meter(watcher)
    meter.known(10, 7, 500)
    clock.now += 1
    meter.show(0, ())

    (told,) = watcher.told
    assert (told.files_done, told.files, told.work_done, told.work) == (7, 10, 0, 500)


def test_before_anything_is_known_nothing_is_claimed(clock, watcher):
    meter = Meter(watcher)
    clock.now += 1
    meter.show(0, ())

    (told,) = watcher.told
    assert (told.files, told.work, told.work_done, told.rate, told.eta) == (0, 0, 0, 0.0, None)


def test_a_session_with_nothing_to_copy_is_done(copying, clock, watcher):
    meter = copying(3, 0)
    clock.now += 1
    meter.end(3, whole=True)

    (told,) = watcher.told
    assert (told.files_done, told.files, told.work_done, told.work) == (3, 3, 0, 0)


def test_a_copy_that_is_made_again_does_not_turn_progress_back(copying, clock, watcher, pages):
    meter = copying(1, 200)
    for pages.written, pages.proven in ((50, 0), (50, 50), (120, 60), (0, 0), (100, 70), (150, 80)):
        clock.now += 1
        meter.show(0, ())

    assert [p.work_done for p in watcher.told] == [50, 100, 180, 180, 180, 230]
    assert [p.work for p in watcher.told] == [200, 200, 200, 200, 200, 230]
    assert watcher.told[-1].eta is None, "the bytes are used up, and the file is not done"


def test_the_end_puts_the_total_right(copying, clock, watcher, pages):
    meter = copying(2, 1000)
    clock.now += 1
    pages.written, pages.proven = 300, 300  # the other file failed
    meter.show(1, (b"a",))
    meter.end(2, whole=True)

    told = watcher.told[-1]
    assert (told.files_done, told.work_done, told.work, told.current) == (2, 600, 600, ())


def test_the_end_of_a_session_that_stops_leaves_what_is_left(copying, watcher, pages):
    meter = copying(2, 1000)
    pages.written = 300
    meter.end(0, whole=False)

    assert (watcher.told[-1].work_done, watcher.told[-1].work) == (300, 1000)


def test_the_end_is_told_at_once(copying, watcher, pages):
    meter = copying(1, 20)
    pages.written = pages.proven = 10
    meter.end(1, whole=True)

    assert [(p.work_done, p.work, p.eta) for p in watcher.told] == [(20, 20, 0.0)]


deaths = st.integers(-1 << 40, 0)
steps = st.tuples(st.floats(0, 20), st.integers(0, 1 << 50) | deaths, st.integers(0, 1 << 50) | deaths, st.integers(0, 9),
                  st.sampled_from(["show", "show", "show", "beat"]))  # fmt: skip


@given(st.lists(steps, max_size=60), st.integers(0, 1 << 50), st.booleans())
def test_progress_never_falls_and_never_passes_its_total(steps, work, whole):
    """Counters may do what they like: they fall when a worker dies, and rise beyond the plan when it is made up for."""
    clock, watcher, pages = Clock(), Watcher(), Pages()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metering, "time", clock)
        meter = Meter(watcher)
        meter.enter(SessionState.COPYING)
        meter.plan(3, work, pages)
        for seconds, written, proven, files, how in steps:
            clock.now += seconds
            pages.written = max(0, pages.written + written)
            pages.proven = max(0, pages.proven + proven)
            if how == "show":
                meter.show(files, ())
            else:
                meter._tell()
        before_the_end = len(watcher.told)
        meter.end(3, whole=whole)

    told = watcher.told
    for before, after in pairwise(told):
        assert after.work_done >= before.work_done
        assert after.files_done >= before.files_done
        assert after.files >= before.files
    for before, after in pairwise(told[:before_the_end]):
        assert after.work >= before.work
    for progress in told:
        assert 0 <= progress.work_done <= progress.work
        assert progress.files_done <= progress.files
        assert progress.rate >= 0
        assert progress.eta is None or progress.eta >= 0
    if whole:
        assert told[-1].work_done == told[-1].work
    assert told[-1].work_done >= pages.written + pages.proven


# The pulse


def until(so) -> None:
    limit = time.monotonic() + 20
    while not so():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_while_the_session_waits_progress_is_still_told_and_true(watcher, pages):
    with Meter(OneAtATime(watcher)) as meter:
        meter.enter(SessionState.COPYING)
        meter.plan(1, 1000, pages)
        pages.written = 100
        until(lambda: any(p.work_done == 100 for p in watcher.told))
        pages.written = 200
        until(lambda: any(p.work_done == 200 for p in watcher.told))

    assert watcher.told[-1].phase == "copying"


def test_a_terminal_that_takes_nothing_does_not_hold_up_the_session(watcher, pages):
    stuck, release = threading.Event(), threading.Event()

    class Stopped(Watcher):
        def progress(self, _progress) -> None:
            stuck.set()
            release.wait(20)

    with Meter(OneAtATime(Stopped())) as meter:
        meter.enter(SessionState.COPYING)
        meter.plan(3, 100, pages)
        assert stuck.wait(20)
        began = time.monotonic()
        for files in range(3):
            meter.show(files, ())
        assert time.monotonic() - began < 5
        release.set()


def test_the_pulse_ends_with_the_meter(watcher):
    with Meter(watcher):
        until(lambda: watcher.told)
    told = len(watcher.told)

    assert "meter" not in {thread.name for thread in threading.enumerate()}
    assert len(watcher.told) == told


def test_the_pulse_ends_with_an_error_too(watcher):
    with pytest.raises(ZeroDivisionError), Meter(watcher):
        raise ZeroDivisionError

    assert "meter" not in {thread.name for thread in threading.enumerate()}


def test_a_monitor_is_called_by_one_thread_at_a_time():
    inside, together = 0, 0

    class Slow(Silent):
        def progress(self, progress) -> None:
            self.visit(progress)

        def warning(self, text) -> None:
            self.visit(text)

        def visit(self, _what) -> None:
            nonlocal inside, together
            inside += 1
            together = max(together, inside)
            time.sleep(0.001)
            inside -= 1

    monitor = OneAtATime(Slow())
    threads = [threading.Thread(target=lambda: [monitor.progress(None) for _ in range(20)]) for _ in range(2)]
    threads.append(threading.Thread(target=lambda: [monitor.warning("") for _ in range(20)]))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert together == 1
