"""Bytes that do not read back, and faults that may pass: tried again, and judged only when their place has answered."""

from __future__ import annotations

import errno

from ingest.model.states import ItemState
from ingest.pipeline.plan import Transfer
from ingest.session.report import failure
from ingest.session.rows import Copy
from ingest.workers.messages import Publish, Stage

# Bytes that do not read back, and other faults


def test_a_copy_that_reads_back_otherwise_is_made_once_more(desk, item, wrong):
    d = desk()
    d.start(item(1))
    first = d.only(Stage)
    d.staged(first, copies={(1, 0): wrong("mismatch", ranges=((0, 512),))})
    second = d.only(Stage)
    assert second.staging != first.staging

    d.run()

    assert (d.state(1), d.copy(1).attempts) == ("finalized", 2)
    d.close_books()


def test_a_second_mismatch_ends_it_and_names_the_bytes(desk, item, wrong):
    d = desk()
    d.start(item(1))
    for _ in range(2):
        d.staged(d.only(Stage), copies={(1, 0): wrong("mismatch", ranges=((4096, 8192),))})

    assert (d.state(1), d.copy(1).reason) == ("failed", "corrupt_destination")
    assert any("[4096, 8192)" in warning for warning in d.warnings)
    assert not d.crew.all(Publish)
    d.close_books()


def test_a_bad_destination_does_not_spoil_the_good_one(desk, item, wrong):
    d = desk(roots=2)
    d.start(item(1))
    d.staged(d.only(Stage), copies={(1, 1): wrong("mismatch")})
    assert d.only(Publish).root == 0
    again = d.only(Stage)
    assert again.roots == (1,)
    d.staged(again, copies={(1, 1): wrong("mismatch")})
    d.run()

    assert (d.copy(1, 0).state, d.copy(1, 1).state) == (ItemState.FINALIZED, ItemState.FAILED)
    assert (d.state(1), d.session.items()[1].reason) == ("failed", "corrupt_destination")
    d.close_books()


def test_a_source_that_changed_ends_every_copy(desk, item, wrong):
    d = desk(roots=2)
    d.start(item(1), item(2))
    d.staged(d.only(Stage), source={1: wrong("changed")})
    d.run()

    assert (d.state(1), d.state(2)) == ("changed", "finalized")
    assert {d.copy(1, 0).state, d.copy(1, 1).state} == {ItemState.CHANGED}
    d.close_books()


def test_a_source_that_stutters_is_read_again(desk, item, wrong):
    d = desk()
    d.start(item(1))
    d.staged(d.only(Stage), source={1: wrong()})
    d.run()

    assert (d.state(1), d.copy(1).attempts) == ("finalized", 2)


def test_a_source_that_fails_four_times_has_failed(desk, item, wrong):
    d = desk()
    d.start(item(1))
    for _ in range(4):
        d.staged(d.only(Stage), source={1: wrong()})
        assert d.state(1) == "discovered"
        d.later()

    assert (d.state(1), d.copy(1).reason, d.copy(1).errno, d.copy(1).operation) == ("failed", "io", errno.EIO, "read")
    d.close_books()


def test_times_that_a_disk_does_not_keep_are_told_once_and_stop_nothing(desk, item):
    d = desk()
    d.start(item(1), item(2))
    stage = d.only(Stage)
    d.answer(
        stage,
        staged=(
            b"\1" * 64,
            [10] * 2,
            [1] * 2,
            [2] * 2,
            {},
            [(["evicted"] * 2, [4] * 2, [0] * 2, ["copy"] * 2, {})],
            (1, 1, 1),
            {},
            [],
            {},
            {},
            [],
        ),
    )
    d.run()

    assert (d.state(1), d.state(2)) == ("finalized", "finalized")
    assert len([w for w in d.warnings if "times" in w]) == 1


def test_a_root_that_cannot_be_asked_is_a_fault_of_that_copy(desk, item, tree):
    d = desk(roots=2)
    (d.session.roots[1].path / "CARD").symlink_to(tree("outside").path)
    d.start(item(1))
    d.run()

    assert (d.copy(1, 1).state, d.copy(1, 1).reason) == (ItemState.FAILED, "outside_root")
    assert d.copy(1, 0).state is ItemState.FINALIZED
    assert d.state(1) == "failed"
    d.close_books()


# What may pass


def test_what_failed_waits_for_its_moment(desk, item, wrong):
    d = desk()
    d.start(item(1), item(2))
    d.staged(d.only(Stage), source={1: wrong()})

    d.later(0.5)
    assert not d.crew.all(Stage)
    assert d.board.busy

    d.later(1.5)
    assert d.only(Stage).items == [1]
    d.run()
    assert (d.state(1), d.state(2)) == ("finalized", "finalized")
    d.close_books()


def test_nothing_is_judged_before_its_place_has_answered(desk, item, wrong):
    d = desk(roots=2)
    d.start(item(1))
    d.guard.doubt = {1}  # the first root
    d.staged(d.only(Stage), copies={(1, 0): wrong("io", errno.ETIMEDOUT, "write"), (1, 1): wrong("io", errno.EIO)})
    d.later(100)
    assert d.only(Stage).roots == (1,), "the other root is none the worse for it"
    assert d.guard.blamed == [1, 2]

    d.staged(d.only(Stage))
    d.published(d.only(Publish))
    assert d.state(1) == "discovered"
    d.guard.doubt = set()
    d.later(100)
    d.run()
    assert d.state(1) == "finalized"
    d.close_books()


def test_who_stops_waits_for_nothing(desk, item, wrong):
    d = desk()
    d.start(item(1))
    d.guard.doubt = {0}
    d.staged(d.only(Stage), source={1: wrong()})
    d.board.stopping = True
    d.later(2)

    assert not d.board.busy
    assert d.state(1) == "discovered"


def test_what_failed_while_its_place_was_silent_for_a_moment_is_not_judged_by_it(desk, item, wrong):
    d = desk()
    d.start(item(1), item(2))
    d.guard.silent.add(0)
    d.staged(d.only(Stage), source={1: wrong("changed", 0), 2: wrong("io", errno.ENOENT, "open")})
    d.later()
    d.guard.silent.clear()

    assert {d.state(1), d.state(2)} == {"discovered"}
    d.run()  # they are there, whole
    assert {d.state(1), d.state(2)} == {"finalized"}
    d.close_books()


def test_the_last_try_does_not_count_if_its_place_was_silent(desk, item, wrong):
    d = desk()
    d.start(item(1))
    for _ in range(3):
        d.staged(d.only(Stage), source={1: wrong()})
        d.later()
    d.guard.silent.add(0)
    d.staged(d.only(Stage), source={1: wrong()})
    d.later()
    d.guard.silent.clear()

    assert d.state(1) == "discovered"
    d.run()
    assert d.state(1) == "finalized"


def test_a_path_that_cannot_be_looked_at_for_a_moment_waits_and_is_copied_once(desk, item):
    d = desk()
    transfer = Transfer(item(1), {0: Copy(1, 0, ItemState.DISCOVERED)}, path=b"CARD/a")
    d.session.add(item(1))
    transfer.troubles[0] = OSError(errno.EIO, "why")
    d.flow.admit([transfer])
    d.tick()
    assert not d.crew.pending

    d.later()

    assert d.only(Stage).items == [1]
    d.run()
    assert d.state(1) == "finalized"
    d.close_books()


def test_the_bytes_that_could_not_be_read_are_told_with_the_failure(desk, item, wrong):
    d = desk()
    d.start(item(1))
    for _ in range(4):
        d.staged(d.only(Stage), source={1: wrong(ranges=((4096, 8192), (12288, 12290)))})
        d.later()

    assert d.state(1) == "failed"
    (record,) = [record for _, _, record in d.records]
    assert record.operation == "read"
    told = failure(d.session.items()[1], d.copy(1), b"/card")
    assert (told.operation, told.ranges) == ("read", ((4096, 8192), (12288, 12290)))
    assert any("no answer for bytes [4096, 8192), [12288, 12290)" in text for text in d.warnings)
    d.close_books()
