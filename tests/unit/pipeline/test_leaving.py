"""Places that go down in mid-run: nobody asks them anything more, and the others go on."""

from __future__ import annotations

import threading
import time

import pytest

from ingest.model.states import ItemState, SessionState
from ingest.pipeline.intake import Intake, Sight
from ingest.pipeline.leaving import leave
from ingest.pipeline.sources import Sources
from ingest.pipeline.watch import Down
from ingest.workers.messages import Stage
from ingest.workers.supervisor import Died


class Workers:
    """The supervisor's twin: those who have a request at a place are left behind with it."""

    def __init__(self, desk) -> None:
        self._desk = desk
        self.left: list[int] = []

    def leave(self, place: int) -> list[Died]:
        self.left.append(place)
        pending = self._desk.crew.pending
        mine = [
            r for r in pending if isinstance(r, Stage) and (r.source == place or place - 1 in r.roots)
        ]  # one source
        self._desk.crew.pending = [r for r in pending if r not in mine]
        return [Died(0, tuple(mine), None, None, stalled=False, place=place)] if mine else []


@pytest.fixture
def run(desk, item):
    """A run with items on their way, and what leaves it."""

    def make(roots: int = 2, items: int = 2):
        d = desk(roots=roots)
        d.start(*(item(number) for number in range(1, items + 1)))
        sources = Sources([tree.root for tree in d.session.sources], later=False)
        intake = Intake(d.session.journal, d.planner, range(roots), roots, Sight(lambda *_: "read"), items)
        workers = Workers(d)

        def go(*places: int) -> Intake:
            now = time.monotonic()
            downs = [Down(place, "no answer", now - 20, now) for place in places]
            heir = leave(downs, d.board, d.flow, intake, d.planner, sources, workers)
            d.tick()
            return heir

        return d, go, sources, workers

    return make


def test_a_root_that_is_left_waits_and_the_other_gets_everything(run):
    d, go, _, workers = run()

    go(1)

    assert workers.left == [1]
    assert d.board.root_states == [SessionState.PAUSED_NETWORK, SessionState.COPYING]
    assert "no answer; it last answered at" in d.board.problems[0]
    assert d.only(Stage).roots == (1,)
    d.run()
    assert {d.copy(number, 1).state for number in (1, 2)} == {ItemState.FINALIZED}
    d.close_books()


def test_a_source_that_is_left_leaves_its_items_waiting_and_is_asked_nothing_more(run):
    d, go, sources, _ = run()

    go(0)

    assert list(d.board.lost_sources) == [0]
    assert d.board.halted
    assert sources.has(0, b"anything") is False
    assert sources.renewed(page := list(d.session.items().values())) == page
    d.run()
    assert {d.state(1), d.state(2)} == {"discovered"}
    d.close_books()


def test_several_can_go_at_once(run):
    d, go, _, workers = run()

    go(1, 2)

    assert workers.left == [1, 2]
    assert d.board.halted
    assert len(d.board.problems) == 2
    d.run()
    d.close_books()


def test_a_root_at_which_something_hangs_is_left_though_it_answers(run):
    d, go, _, workers = run()
    d.board.pause_root(0, SessionState.PAUSED_NETWORK, "its manifest could not be written")
    d.board.hung.append(0)

    heir = go()

    assert workers.left == [1]
    assert d.board.hung == []
    assert list(heir._standing) == [1]
    assert d.only(Stage).roots == (1,)
    d.run()
    d.close_books()


def test_a_root_that_is_left_is_not_looked_at_for_names(run, item):
    d, go, _, _ = run()
    looked = []
    real = d.planner._roots

    class Watched:
        def __init__(self, root, number: int) -> None:
            self._root, self._number = root, number

        def __getattr__(self, name: str):
            looked.append(self._number)
            return getattr(self._root, name)

    d.planner._roots = [Watched(root, number) for number, root in enumerate(real)]
    go(1)
    d.more(item(3))
    d.run()

    assert set(looked) == {1}
    assert d.copy(3, 1).state is ItemState.FINALIZED


# The intake


def pages(intake: Intake) -> list[int]:
    """The numbers of all items that it hands on."""
    found: list[int] = []
    limit = time.monotonic() + 20
    while not intake.exhausted:
        assert time.monotonic() < limit
        planned = intake.take()
        found += [number for lot in planned.lots for number in lot.items]
        found += [transfer.item.number for transfer in planned.transfers]
        time.sleep(0.001)
    return found


def test_an_intake_that_stands_before_a_dead_root_is_replaced_by_one_that_goes_on_behind_it(desk, item):
    d = desk(roots=2)
    d.session.add(*(item(number) for number in range(1, 2501)))
    hang, hung = threading.Event(), threading.Event()
    real = d.planner.free

    def free(paths, roots):
        if 0 in roots and paths and not paths[0].endswith(b"CLIP00001.MP4"):
            hung.set()
            hang.wait(20)
        return real(paths, roots)

    d.planner.free = free
    intake = Intake(d.session.journal, d.planner, range(2), 2, Sight(lambda *_: "read", (1000, 1 << 40)))
    assert hung.wait(20)
    first: list[int] = []
    while not first:
        first = [number for lot in intake.take().lots for number in lot.items]

    heir = intake.without([0])
    rest = pages(heir)

    assert sorted(first + rest) == list(range(1, 2501))
    hang.set()
    assert intake.take().lots == []
    assert not intake.ready


def test_the_heir_of_an_exhausted_intake_is_exhausted(desk, item):
    d = desk(roots=2)
    d.start(item(1))
    intake = Intake(d.session.journal, d.planner, range(2), 2, Sight(lambda *_: "read"))
    pages(intake)

    heir = intake.without([0])

    assert heir.exhausted
    assert heir.take().lots == []
