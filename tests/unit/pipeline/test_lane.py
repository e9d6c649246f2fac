from __future__ import annotations

import errno

import pytest

from ingest.model.columns import runs
from ingest.model.states import ItemState, SessionState
from ingest.workers.messages import Adopt, Discard, Prove, Publish, Stage


@pytest.fixture
def lots(desk, item):
    """A desk with so many plain items on their way."""

    def start(many: int = 5, **options: object):
        d = desk(**options)
        d.start(*[item(number) for number in range(1, many + 1)])
        return d

    return start


def ends(d) -> dict[int, str]:
    d.tick()
    return {number: str(each.state) for number, each in d.session.items().items()}


def all_finalized(d) -> bool:
    return set(ends(d).values()) == {"finalized"}


def test_plain_items_are_never_taken_one_by_one(lots):
    d = lots(5, roots=2)
    stage = d.only(Stage)
    assert (stage.items, stage.roots) == ([1, 2, 3, 4, 5], (0, 1))
    assert not d.board.alive
    d.staged(stage)
    assert [(request.root, request.items) for request in d.crew.all(Publish)] == [(0, stage.items), (1, stage.items)]
    d.run()

    assert not d.board.alive
    assert all_finalized(d)
    d.close_books()


def test_rows_of_a_lot_are_those_of_items_that_went_alone(desk, item):
    together, alone = desk(), desk()
    together.start(item(1), item(2))
    alone.session.add(item(1), item(2))
    from ingest.pipeline.plan import Transfer
    from ingest.session.rows import Copy

    transfers = [Transfer(item(n), {0: Copy(n, 0, ItemState.DISCOVERED)}) for n in (1, 2)]
    alone.planner.place(transfers)
    alone.flow.admit(transfers)
    alone.tick()
    for d in (together, alone):
        d.run()
        d.tick()

    def told(d):
        rows = d.session.copies()
        return {
            key: (
                row.state, row.path, row.blake3, row.attempts, row.read_mode, row.verify_method, row.publish_method, row.worker,
                row.started_at, row.copied_at, row.validated_at, row.sequence, row.kept_mtime, row.reason, row.operation, row.errno,
                row.strategy,
            )
            for key, row in rows.items()
        }  # fmt: skip

    assert told(together) == told(alone)

    def recorded(d):
        return [
            (root, number, record.item, record.path, record.size, record.mtime_ns, record.kind, record.state, record.blake3,
             record.attempts, record.verify_method, record.publish_method, record.read_mode, record.started_ns, record.strategy)
            for root, number, record in d.records
        ]  # fmt: skip

    assert recorded(together) == recorded(alone)


def test_one_that_fails_at_its_source_leaves_the_rest_as_it_is(lots, wrong):
    d = lots(5)
    d.staged(d.only(Stage), source={3: wrong("changed", 0)})
    publish = d.only(Publish)
    assert publish.items == [1, 2, 4, 5]
    d.run()

    assert ends(d) == {1: "finalized", 2: "finalized", 3: "changed", 4: "finalized", 5: "finalized"}
    d.close_books()


def test_when_every_one_fails_nothing_of_the_lot_is_left(lots, wrong):
    d = lots(3)
    d.staged(d.only(Stage), source={number: wrong("changed", 0) for number in (1, 2, 3)})
    d.run()

    assert not d.crew.all(Publish)
    assert set(ends(d).values()) == {"changed"}
    d.close_books()


def test_a_fault_at_one_root_is_mended_there_and_holds_up_nobody(lots, wrong):
    d = lots(3, roots=2)
    d.staged(d.only(Stage), copies={(2, 1): wrong("mismatch")})
    assert sorted((r.root, tuple(r.items)) for r in d.crew.all(Publish)) == [(0, (1, 3)), (0, (2,)), (1, (1, 3))]
    again = d.only(Stage)
    assert (again.items, again.roots) == ([2], (1,))
    d.run()

    assert all_finalized(d)
    assert d.copy(2, 1).attempts == 2
    d.close_books()


def test_a_name_that_was_taken_meanwhile_is_looked_into_at_that_root_alone(lots, wrong, digest):
    d = lots(3, roots=2)
    d.staged(d.only(Stage))
    first, second = d.crew.all(Publish)
    d.published(first, faults={2: wrong("io", errno.EEXIST, "rename")})
    prove = d.only(Prove)
    assert (prove.root, prove.items) == (0, [2])
    d.proved(prove, {2: b"\xee" * 32})
    d.published(second)
    d.run()

    assert (d.copy(2, 0).path, d.copy(2, 1).path) == (b"CARD/CLIP00002_1.MP4", b"CARD/CLIP00002.MP4")
    assert all_finalized(d)
    d.close_books()


def test_a_fault_at_the_last_root_finds_the_item_finalized_at_the_first(lots, wrong):
    d = lots(3, roots=2)
    d.staged(d.only(Stage))
    first, second = d.crew.all(Publish)
    d.published(first)
    d.published(second, faults={2: wrong("io", errno.EACCES, "rename")})
    d.run()

    assert (str(d.copy(2, 0).state), str(d.copy(2, 1).state)) == ("finalized", "failed")
    assert ends(d) == {1: "finalized", 2: "failed", 3: "finalized"}
    d.close_books()


@pytest.mark.parametrize("answered", [0, 1])
def test_a_worker_that_dies_over_names_leaves_them_to_be_looked_for(lots, answered):
    d = lots(3, roots=2)
    d.staged(d.only(Stage))
    both = d.crew.all(Publish)
    if answered:
        d.published(both[0])
    d.die(both[1])
    adopt = d.only(Adopt)
    assert (adopt.root, adopt.items, adopt.digests) == (1, [1, 2, 3], [d.copy(n, 1).blake3 for n in (1, 2, 3)])
    d.run()

    assert all_finalized(d)
    d.close_books()


def test_two_workers_that_die_over_the_names_of_both_roots(lots):
    d = lots(3, roots=2)
    d.staged(d.only(Stage))
    first, second = d.crew.all(Publish)
    d.die(first)
    d.die(second)
    d.run()

    assert all_finalized(d)
    d.close_books()


def test_a_worker_that_dies_over_a_lot_costs_the_item_it_died_over_alone(lots):
    d = lots(3)
    stage = d.only(Stage)
    d.die(stage, item=2)
    alone = next(request for request in d.crew.all(Stage) if request.items == [2])
    assert set(stage.staging[0]) == d.discarded()
    d.die(alone, item=2)
    d.run()

    assert ends(d) == {1: "finalized", 2: "failed", 3: "finalized"}
    d.close_books()


def test_a_refused_batch_is_tried_item_by_item(lots):
    d = lots(3)
    d.answer(d.only(Stage), error=(errno.EIO, "Input/output error"))
    d.run()

    assert all_finalized(d)
    assert d.copy(1).attempts == 2
    d.close_books()


def test_a_root_that_has_gone_before_the_names_keeps_what_is_proven_for_later(lots, away, again):
    d = lots(3, roots=2)
    d.staged(d.only(Stage), gone=away(root=1))
    d.run()

    rows = d.session.copies()
    assert {str(rows[n, 0].state) for n in (1, 2, 3)} == {"finalized"}
    assert {str(rows[n, 1].state) for n in (1, 2, 3)} == {"validated"}
    assert set(ends(d).values()) == {"discovered"}
    d.close_books()

    later = again(d)
    later.take_in()
    assert later.only(Adopt).items == [1, 2, 3]
    later.run()
    assert all_finalized(later)
    later.close_books()


def test_a_root_that_has_gone_before_the_batch_was_sent_gets_nothing(lots, item, away, wrong):
    d = lots(1, roots=2)
    waiting = d.only(Stage)
    d.board.pause_root(1, SessionState.PAUSED_NETWORK, "gone")
    d.staged(waiting)
    d.session.add(item(2), item(3))
    from ingest.pipeline.lot import cut

    rows = [(n, 0, item(n).path, 10, item(n).mtime_ns, "video", "discovered", None, 0, None) for n in (2, 3)]
    targets = d.planner.targets(rows)
    d.flow.lane.admit(cut(zip(rows, targets, strict=True), lambda *_: "read", (0, 1), (100, 1000), held=False))
    d.tick()
    d.run()

    assert [r.roots for r in d.crew.sent if isinstance(r, Stage) and 2 in r.items] == [(0,)]
    assert {str(row.state) for (number, root), row in d.session.copies().items() if root == 0} == {"finalized"}
    assert set(ends(d).values()) == {"discovered"}
    d.close_books()


def test_stopping_leaves_lots_that_were_not_begun(lots):
    d = lots(3)
    stage = d.only(Stage)
    d.board.stopping = True
    d.staged(stage)
    d.run()

    assert all_finalized(d), "what was proven gets its name"
    d.close_books()


def test_a_lot_that_lacks_a_root_ends_there_and_its_items_wait(desk, item):
    d = desk(roots=2)
    d.session.add(item(1), item(2))
    from ingest.pipeline.lot import cut

    rows = [(n, 0, item(n).path, 10, item(n).mtime_ns, "video", "discovered", None, 0, None) for n in (1, 2)]
    targets = d.planner.targets(rows)
    d.board.pause_root(1, SessionState.PAUSED_NETWORK, "away")
    d.flow.lane.admit(cut(zip(rows, targets, strict=True), lambda *_: "read", (0,), (100, 1000), held=True))
    d.tick()
    d.run()

    assert {str(row.state) for row in d.session.copies().values()} == {"finalized"}
    assert set(ends(d).values()) == {"discovered"}
    d.close_books()


def test_every_method_and_every_gap_is_written_down_as_it_was(desk, item):
    d = desk()
    d.start(*[item(number) for number in (1, 2, 4, 5, 9)])
    d.staged(d.only(Stage))
    d.answer(d.only(Publish), published=(["noreplace", "link", "link", "noreplace", "unguarded"], {}))
    d.tick()

    rows = d.session.copies()
    assert {n: (rows[n, 0].publish_method, rows[n, 0].sequence) for n in (1, 2, 4, 5, 9)} == {
        1: ("noreplace", 1), 2: ("link", 2), 4: ("link", 3), 5: ("noreplace", 4), 9: ("unguarded", 5),
    }  # fmt: skip
    strategies = {1: "reflink", 2: "hardlink", 4: "reflink", 5: "hardlink", 9: "copy"}
    assert {n: rows[n, 0].strategy for n in strategies} == strategies
    assert {record.item: record.strategy for _, _, record in d.records} == strategies
    assert all_finalized(d)
    d.close_books()


def test_what_is_being_worked_on_is_told_from_lots_too(lots):
    d = lots(3)

    assert d.board.current([2, 99]) == (b"CLIP00002.MP4",)


def test_a_proven_file_that_was_dropped_is_not_staged_twice(lots, wrong):
    d = lots(2)
    d.staged(d.only(Stage), copies={(1, 0): wrong("io", errno.EIO, "write")})
    d.run()

    names = [name for request in d.crew.sent if isinstance(request, Stage) for name in request.staging[0]]
    assert len(names) == len(set(names)) == 3
    assert not [r for r in d.crew.sent if isinstance(r, Discard)]
    d.close_books()


def test_runs_are_without_gaps():
    assert list(runs([])) == []
    assert list(runs([7])) == [(0, 7, 7)]
    assert list(runs([1, 2, 3, 5, 8, 9])) == [(0, 1, 3), (3, 5, 5), (4, 8, 9)]


def test_after_a_flush_for_all_has_failed_each_has_its_own(lots, wrong):
    d = lots(3)
    first = d.only(Stage)
    assert not first.single
    d.staged(first, copies={(number, 0): wrong("io", errno.EIO, "syncfs") for number in (1, 2, 3)})
    d.later()

    again = d.only(Stage)
    assert (sorted(again.items), again.single) == ([1, 2, 3], True)
    d.staged(again, copies={(2, 0): wrong("io", errno.EIO, "fsync")})
    for _ in range(2):
        d.later()
        (alone,) = [request for request in d.crew.all(Stage) if request.items == [2]]
        d.staged(alone, copies={(2, 0): wrong("io", errno.EIO, "fsync")})
    d.run()

    assert ends(d) == {1: "finalized", 2: "failed", 3: "finalized"}
    d.close_books()


def test_lots_that_were_not_begun_when_the_user_stops_are_left_as_they_are(desk, item):
    d = desk()
    d.board.stopping = True
    d.session.add(item(1))
    from ingest.pipeline.lot import cut

    rows = [(1, 0, item(1).path, 10, item(1).mtime_ns, "video", "discovered", None, 0, None)]
    d.flow.lane.admit(
        cut(zip(rows, d.planner.targets(rows), strict=True), lambda *_: "read", (0,), (9, 99), held=False)
    )
    d.tick()

    assert not d.crew.sent
    assert not d.board.lots
    assert d.session.copies() == {}
    d.close_books()
