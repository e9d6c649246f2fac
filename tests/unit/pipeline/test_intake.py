from __future__ import annotations

import threading
import time

import pytest

from ingest.model.states import ItemState
from ingest.pipeline import intake as taking
from ingest.pipeline.intake import Intake, Planned, Sight
from ingest.session.rows import Copy

PATIENCE = 30.0
SIGHT = Sight(lambda _source, _size: "read")


class Planner:
    """Notes what it is asked to place; nothing stands anywhere, but at these paths."""

    def __init__(self) -> None:
        self.placed: list[int] = []
        self.taken: set[bytes] = set()

    def place(self, transfers) -> None:
        self.placed += [transfer.item.number for transfer in transfers]

    def targets(self, rows) -> list[bytes]:
        self.placed += [row[0] for row in rows]
        return [b"CARD/" + row[2] for row in rows]

    def free(self, paths, _roots) -> list[bool]:
        return [path not in self.taken for path in paths]


@pytest.fixture
def planner():
    return Planner()


def drain(intake):
    found = []
    limit = time.monotonic() + PATIENCE
    while not intake.exhausted:
        assert time.monotonic() < limit
        planned = intake.take()
        plain = [lot.loosen(at) for lot in planned.lots for at in lot.rest()]
        found += sorted([*plain, *planned.transfers], key=lambda transfer: transfer.item.number)
        threading.Event().wait(0.001)
    return found


def test_lots_hold_as_many_files_as_was_asked_for(session, item, planner):
    session.add(*[item(number) for number in range(1, 1301)])
    intake = Intake(session.journal, planner, [0], 1, Sight(SIGHT.mode, (400, 1 << 40)))
    lots, limit = [], time.monotonic() + PATIENCE
    while not intake.exhausted and time.monotonic() < limit:
        lots += intake.take().lots
        threading.Event().wait(0.001)

    # A lot is cut from one page.
    assert [len(lot.items) for lot in lots] == [400, 400, 200, 300]


def test_items_come_in_order_and_planned(session, item, planner, monkeypatch):
    monkeypatch.setattr(taking, "PAGE", 10)
    session.add(*[item(number) for number in range(1, 96)])

    transfers = drain(Intake(session.journal, planner, [0], 1, SIGHT))

    assert [t.item.number for t in transfers] == planner.placed == list(range(1, 96))
    assert all(t.copies[0].state is ItemState.DISCOVERED for t in transfers)


def test_an_empty_session_is_exhausted(session, planner):
    assert drain(Intake(session.journal, planner, [0], 1, SIGHT)) == []


def test_only_so_much_is_planned_ahead(session, item, planner, monkeypatch):
    monkeypatch.setattr(taking, "PAGE", 1)
    session.add(*[item(number) for number in range(1, 50)])
    intake = Intake(session.journal, planner, [0], 1, SIGHT)
    limit = time.monotonic() + PATIENCE
    while intake._queue.qsize() < taking.AHEAD and time.monotonic() < limit:
        threading.Event().wait(0.001)

    assert len(planner.placed) <= taking.AHEAD + 1
    assert intake.ready
    intake.stop()


def test_stopping_ends_it_even_while_it_waits_for_room(session, item, planner, monkeypatch):
    monkeypatch.setattr(taking, "PAGE", 1)
    session.add(*[item(number) for number in range(1, 50)])
    intake = Intake(session.journal, planner, [0], 1, SIGHT)

    intake.stop()
    intake._thread.join(PATIENCE)

    assert not intake._thread.is_alive()
    assert intake.take() == Planned()
    assert intake.exhausted


def test_what_it_meets_is_raised_where_it_is_taken(session, item):
    class Broken:
        def targets(self, _rows) -> list[bytes]:
            raise OSError(5, "Input/output error")

    session.add(item(1))
    intake = Intake(session.journal, Broken(), [0], 1, SIGHT)

    with pytest.raises(OSError, match="Input/output"):
        drain(intake)
    assert intake.exhausted


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], {0: "discovered", 1: "discovered"}),
        ([ItemState.PLANNED], {0: "discovered", 1: "discovered"}),
        ([ItemState.VALIDATED, ItemState.COPYING], {0: "validated", 1: "discovered"}),
        ([ItemState.FINALIZED], {1: "discovered"}),
        ([ItemState.FINALIZED, ItemState.FAILED], {}),
    ],
)
def test_what_is_left_of_an_item_is_what_earlier_runs_did_not_finish(begin, item, planner, states, expected):
    session = begin(2)
    session.add(item(1))
    session.put(*[
        Copy(1, root, state, b"p", b"staged", attempts=3, reason="old", sequence=1 if state.ended else None)
        for root, state in enumerate(states)
    ])  # fmt: skip

    (transfer,) = drain(Intake(session.journal, planner, [0, 1], 2, SIGHT))

    assert {root: str(copy.state) for root, copy in transfer.copies.items()} == expected
    assert [end[0] for end in transfer.ends] == [state for state in states if state.ended]
    for root, copy in transfer.copies.items():
        if copy.state is ItemState.DISCOVERED:
            assert (copy.staging, copy.reason, copy.path) == (None, None, None)
            assert copy.attempts == (3 if root < len(states) else 0)


def test_items_that_are_done_are_passed_over(begin, item, planner):
    session = begin(2)
    session.add(item(1, state=ItemState.FINALIZED), item(2))
    session.put(*[Copy(1, root, ItemState.FINALIZED, sequence=1) for root in (0, 1)])

    assert [t.item.number for t in drain(Intake(session.journal, planner, [0, 1], 2, SIGHT))] == [2]


def test_what_the_scan_ended_is_handed_on_but_not_placed(session, item, planner):
    session.add(item(1, state=ItemState.EXCLUDED, reason="litter"), item(2))

    assert [t.item.number for t in drain(Intake(session.journal, planner, [0], 1, SIGHT))] == [1, 2]
    assert planner.placed == [2]


def test_what_is_for_a_root_that_is_away_is_left_to_a_later_run(begin, item, planner):
    session = begin(2)
    session.add(item(1), item(2), item(3))
    session.put(Copy(2, 0, ItemState.FINALIZED, sequence=1), Copy(3, 1, ItemState.VALIDATED, b"p", b"staged"))

    transfers = drain(Intake(session.journal, planner, [0], 2, SIGHT))

    assert {t.item.number: (sorted(t.copies), t.held) for t in transfers} == {
        1: ([0], True),
        2: ([], True),
        3: ([0], True),
    }


def test_an_item_that_was_hashed_already_brings_its_digest(session, item, planner):
    session.add(item(1), item(2))
    session.journal.note_digests([(item(1), b"\1" * 32)])

    assert [t.digest for t in drain(Intake(session.journal, planner, [0], 1, SIGHT))] == [b"\1" * 32, None]


def test_what_is_plain_goes_in_lots_and_a_taken_name_alone(session, item, planner):
    planner.taken = {b"CARD/B"}
    session.add(item(1, b"A"), item(2, b"B"), item(3, b"C"), item(4, b"D", size=200))
    sight = Sight(lambda _source, size: "mmap" if size > 100 else "read", limits=(10, 300))

    intake = Intake(session.journal, planner, [0], 1, sight)
    limit = time.monotonic() + PATIENCE
    while not (planned := intake.take()).lots and time.monotonic() < limit:
        threading.Event().wait(0.001)

    assert [(lot.key.mode, lot.items, lot.targets) for lot in planned.lots] == [
        ("read", [1, 3], [b"CARD/A", b"CARD/C"]),
        ("mmap", [4], [b"CARD/D"]),
    ]
    assert [transfer.item.number for transfer in planned.transfers] == [2]
    intake.stop()


def test_a_lot_is_full_at_so_many_files_or_bytes_and_a_big_file_goes_alone(session, item, planner):
    sizes = [1, 1, 1, 1, 6, 6, 50, 1]
    session.add(*[item(number, size=size) for number, size in enumerate(sizes, 1)])

    intake = Intake(session.journal, planner, [0], 1, Sight(lambda *_: "read", limits=(3, 10)))
    limit = time.monotonic() + PATIENCE
    while not (planned := intake.take()).lots and time.monotonic() < limit:
        threading.Event().wait(0.001)

    assert [lot.items for lot in planned.lots] == [[1, 2, 3], [4, 5, 6], [7], [8]]
    intake.stop()


def test_in_a_later_run_what_is_not_as_the_scan_saw_it_is_looked_at_again(session, item, planner):
    session.add(item(1), item(2))
    renewed = []

    def renew(page):
        renewed.extend(page)
        return page

    sight = Sight(lambda *_: "read", renew=renew, as_seen=lambda rows: [row[0] == 1 for row in rows])
    found = drain(Intake(session.journal, planner, [0], 1, sight))

    assert [transfer.item.number for transfer in found] == [1, 2]
    assert [each.number for each in renewed] == [2]
