from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.pipeline.watch import DEADLINE, EVERY, FAILURES, GONE, Watch
from ingest.storage.identity import Footing
from ingest.storage.looking import Look
from ingest.workers.prober import Finding

CARD, ARCHIVE = Footing(1, 2), Footing(3, 4, "0000", "eeee")
STILL = (0.0, 0.0)  # no byte has moved anywhere


class Clock:
    """A watch over a card (0) and an archive (1), the seconds, and what is asked meanwhile."""

    def __init__(self) -> None:
        self.now = 100.0
        self.watch = Watch([CARD, ARCHIVE], self.now)
        self.asked: list[tuple[int, int]] = []
        self.down: list[tuple[int, str]] = []

    def after(self, seconds: float, *, answering: tuple[int, ...] = (0, 1), moved=STILL) -> None:
        """Let time pass, in steps of a tenth; these places answer at once, the others not at all."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            for place, look in self.watch.due(self.now):
                self.asked.append((place, look))
                if place in answering:
                    self.well(place, look)
            times = [self.now if when is None else when for when in moved]
            self.down += [(one.place, one.why) for one in self.watch.look(self.now, times)]

    def well(self, place: int, look: int) -> None:
        pinned = (CARD, ARCHIVE)[place]
        seen = Look(b"/", device=pinned.device, inode=pinned.inode, uuid=pinned.marker)
        self.watch.hear(Finding(place, look, seen), self.now)

    def ill(self, place: int, number: int = errno.EIO) -> None:
        """The look that is under way fails."""
        look = [look for asked, look in self.asked if asked == place][-1]
        self.watch.hear(Finding(place, look, Look(b"/", "why", number)), self.now)
        self.down += [(one.place, one.why) for one in self.watch.look(self.now, STILL)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_every_place_is_looked_at_every_few_seconds(clock):
    clock.after(EVERY - 0.2)
    assert not clock.asked

    clock.after(4 * EVERY)

    assert [place for place, _ in clock.asked] == [0, 1] * 4
    assert len({look for _, look in clock.asked}) == 8
    assert not clock.down


def test_a_place_that_never_answers_is_down_after_two_deadlines(clock):
    clock.after(EVERY + DEADLINE + 0.5, answering=(0,))
    assert not clock.down
    assert clock.watch.doubted(1, 100.0)

    clock.after(EVERY, answering=(0,))

    assert [place for place, _ in clock.down] == [1]
    assert not clock.watch.doubted(0, 100.0)


def test_a_late_answer_is_an_answer(clock):
    clock.after(EVERY + DEADLINE + 0.5, answering=(0,))
    clock.well(1, next(look for place, look in clock.asked if place == 1))
    assert clock.watch.certain(1, 100.0)

    clock.after(DEADLINE - 0.2, answering=(0,))

    assert not clock.down


def test_a_slow_line_is_no_dead_one(clock):
    clock.after(600, answering=(0,), moved=(0.0, None))
    assert not clock.down
    assert clock.watch.doubted(1, 100.0)

    clock.after(DEADLINE - 1, answering=(0,), moved=(0.0, clock.now))
    assert not clock.down
    clock.after(2, answering=(0,), moved=(0.0, clock.now - DEADLINE + 1))
    assert [place for place, _ in clock.down] == [1]


def test_what_moves_elsewhere_is_no_sign_of_life(clock):
    clock.after(EVERY + 2 * DEADLINE, answering=(0,), moved=(None, 0.0))
    assert [place for place, _ in clock.down] == [1]


@pytest.mark.parametrize("number", sorted(GONE))
def test_what_only_an_absent_place_says_is_believed_at_once(clock, number):
    clock.watch.blame(1, clock.now)
    clock.after(0.1, answering=())
    clock.ill(1, number)

    assert clock.down == [(1, "why")]


def test_an_error_that_may_pass_is_believed_the_second_time(clock):
    clock.after(EVERY + 0.2, answering=())
    clock.ill(1)
    assert not clock.down
    assert clock.watch.doubted(1, 100.0)

    clock.after(EVERY, answering=())
    clock.ill(1)

    assert clock.down == [(1, "why")]


def test_an_error_that_passed_is_forgotten(clock):
    for _ in range(5):
        clock.after(EVERY + 0.2, answering=(0,))
        clock.ill(1)
        failed = clock.now
        clock.after(EVERY + 0.2)
        assert clock.watch.certain(1, failed)
    assert not clock.down


def test_failures_count_only_if_the_place_fails_too(clock):
    for _ in range(50):
        clock.watch.blame(1, clock.now)
        clock.after(0.2)
    assert not clock.down

    for _ in range(FAILURES):
        clock.watch.blame(1, clock.now)
    clock.after(0.1, answering=())
    clock.ill(1)
    assert clock.down == [(1, "why")]


def test_a_place_is_looked_at_at_once_where_something_failed(clock):
    failed = clock.now
    clock.watch.blame(0, failed)
    assert not clock.watch.certain(0, failed)
    clock.after(0.1)

    assert [place for place, _ in clock.asked] == [0]
    assert clock.watch.certain(0, failed)
    assert not clock.watch.doubted(0, failed)
    assert not clock.watch.certain(1, failed)


def test_an_answer_says_nothing_about_what_failed_after_it_was_asked_for(clock):
    clock.watch.blame(1, clock.now)
    clock.after(0.1, answering=())
    failed = clock.now + 0.05
    clock.watch.blame(1, failed)
    clock.now += 0.1
    clock.well(1, clock.asked[-1][1])
    assert not clock.watch.certain(1, failed)

    clock.after(0.1)

    assert clock.watch.certain(1, failed)  # it was asked again at once


def test_a_place_that_always_answers_late_can_be_certain_all_the_same(clock):
    failed = clock.now
    clock.watch.blame(1, failed)
    for _ in range(4):
        clock.after(DEADLINE + 2, answering=(0,))
        clock.well(1, max(look for place, look in clock.asked if place == 1))

    assert not clock.down
    assert clock.watch.certain(1, failed)
    assert clock.watch.doubted(1, failed)


def test_what_fails_in_a_row_is_certain_soon_enough(clock):
    for _ in range(30):
        clock.watch.blame(0, clock.now)
        clock.after(0.3)
        assert clock.watch.certain(0, clock.now - 0.31)


@pytest.mark.parametrize(
    ("place", "found", "why"),
    [
        (0, {"device": 9, "inode": 2}, "another folder"),
        (0, {"device": 1, "inode": 9}, "another folder"),
        (1, {"device": 3, "inode": 4, "uuid": None}, "marker is gone"),
        (1, {"device": 3, "inode": 4, "uuid": "1111"}, "another archive"),
        (1, {"device": 9, "inode": 4, "uuid": None}, "a folder of the disk underneath"),
        (1, {"device": 9, "inode": 4, "uuid": None, "mounted": True}, "another disk is mounted there"),
        (1, {"device": 9, "inode": 4, "uuid": "0000"}, "mounted anew"),
        (1, {"device": 9, "inode": 4, "uuid": "0000", "fs_uuid": "ffff"}, "a clone of it"),
        (1, {"device": 3, "inode": 9, "uuid": "0000"}, "another folder"),
        (1, {"device": 9, "inode": 4, "elsewhere": b"/mnt/b"}, "; the archive is at /mnt/b now"),
    ],
)
def test_what_answers_has_to_be_the_place(clock, place, found, why):
    clock.watch.blame(place, clock.now)
    clock.after(0.1, answering=())
    clock.watch.hear(Finding(place, clock.asked[-1][1], Look(b"/", **found)), clock.now)

    ((number, said),) = [(one.place, one.why) for one in clock.watch.look(clock.now, STILL)]
    assert number == place
    assert why in said


def test_who_is_down_stays_down_and_is_told_once(clock):
    clock.after(60, answering=(0,))
    assert len(clock.down) == 1
    asked = len([place for place, _ in clock.asked if place == 1])

    clock.after(60, answering=(0,))
    clock.watch.hear(Finding(1, 99, Look(b"/", device=3, inode=4, uuid="0000")), clock.now)

    assert len(clock.down) == 1
    assert len([place for place, _ in clock.asked if place == 1]) == asked
    assert not clock.watch.certain(1, 0.0)


@given(
    st.lists(st.tuples(st.floats(0.1, 60), st.sampled_from([(0, 1), (0,), (1,), ()]), st.integers(-1, 1)), max_size=12)
)
def test_a_place_that_answers_is_never_down(steps):
    clock = Clock()
    for seconds, answering, blamed in steps:
        if blamed >= 0:
            clock.watch.blame(blamed, clock.now)
        # The card always answers; the archive when it likes.
        clock.after(seconds, answering=(0, *answering))

    assert {place for place, _ in clock.down} <= {1}
    silent = max((seconds for seconds, answering, _ in steps if 1 not in answering), default=0)
    if silent > EVERY + 2 * DEADLINE + EVERY:
        assert clock.down
