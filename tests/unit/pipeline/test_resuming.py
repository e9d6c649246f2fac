"""A copy that was broken off, by an earlier run or in this one: what is left of it is looked for, and gone on with."""

from __future__ import annotations

import errno
import os

import pytest

from ingest import engine
from ingest.model.options import CopyOptions, Partial
from ingest.model.states import ItemState, SessionState
from ingest.session.report import report
from ingest.session.rows import Copy
from ingest.workers.messages import Adopt, Prove, Stage

CLIP = b"CLIP00001.MP4"
BIG = engine.TRAIL_LEAST


# Taking up where an earlier run left off


@pytest.fixture
def left(desk, item, again, digest):
    """A session whose earlier run left these copies of item 1, by root."""

    def make(*states: ItemState):
        d = desk(roots=len(states))
        d.session.add(item(1))
        for root, state in enumerate(states):
            d.session.put(Copy(
                1, root, state, path=b"CARD/" + CLIP, staging=b".ingest/staging/x/1-1-1.part", blake3=digest(1), attempts=1,
                verify_method="evicted", sequence=1 if state.ended else None,
            ))  # fmt: skip
        after = again(d)
        after.take_in()
        return after

    return make


def test_what_was_proven_is_looked_for_and_finished(left, digest):
    d = left(ItemState.VALIDATED)
    adopt = d.only(Adopt)
    assert (adopt.staging, adopt.paths, adopt.digests) == (
        [b".ingest/staging/x/1-1-1.part"],
        [b"CARD/" + CLIP],
        [digest(1)],
    )
    assert not d.crew.all(Stage)

    d.adopted(adopt, "published")

    assert (d.state(1), d.copy(1).publish_method) == ("finalized", "noreplace")
    d.close_books()


def test_what_had_its_name_already_loses_its_staging_file_only(left):
    d = left(ItemState.VALIDATED)
    d.adopted(d.only(Adopt), "adopted")
    d.run()

    assert d.state(1) == "finalized"
    assert d.discarded() == {b".ingest/staging/x/1-1-1.part"}
    d.close_books()


def test_what_a_power_cut_took_is_copied_again(left):
    d = left(ItemState.VALIDATED)
    d.adopted(d.only(Adopt), "lost")
    d.run()

    assert (d.state(1), d.copy(1).attempts) == ("finalized", 2)
    d.close_books()


def test_a_name_that_others_took_meanwhile_is_left_to_them(left):
    d = left(ItemState.VALIDATED)
    d.adopted(d.only(Adopt), "taken")
    d.run()

    assert (d.state(1), d.copy(1).path) == ("finalized", b"CARD/CLIP00001_1.MP4")
    assert d.discarded() == set()
    d.close_books()


def test_an_adoption_that_fails_is_judged_like_any_fault(left, wrong):
    d = left(ItemState.VALIDATED)
    d.adopted(d.only(Adopt), "failed", wrong("io", errno.EACCES, "open"))
    d.run()

    assert (d.state(1), d.copy(1).reason) == ("failed", "permission")
    d.close_books()


def test_an_adoption_that_a_lost_root_prevents_waits(left, wrong, away):
    d = left(ItemState.VALIDATED)
    d.adopted(d.only(Adopt), "failed", wrong("io", errno.EIO, "open"), gone=away(root=0))
    d.run()

    assert d.copy(1).state is ItemState.VALIDATED
    assert d.discarded() == set()
    d.close_books()


@pytest.mark.parametrize("state", [ItemState.PLANNED, ItemState.COPYING, ItemState.COPIED, ItemState.DISCOVERED])
def test_what_was_not_proven_starts_over(left, state):
    d = left(state)

    stage = d.only(Stage)
    assert stage.staging[0][0] != b".ingest/staging/x/1-1-1.part"
    d.run()
    assert (d.state(1), d.copy(1).attempts) == ("finalized", 2)
    d.close_books()


def test_what_arrived_somewhere_is_copied_only_where_it_is_missing(left):
    d = left(ItemState.FINALIZED, ItemState.PLANNED)

    assert d.only(Stage).roots == (1,)
    d.run()
    assert d.state(1) == "finalized"
    assert [root for root, _, _ in d.records] == [1]
    d.close_books()


def test_an_item_whose_copies_had_all_ended_only_has_to_be_closed(left):
    d = left(ItemState.FINALIZED, ItemState.FAILED)

    assert not d.crew.sent
    assert d.state(1) == "failed"
    d.close_books()


@pytest.mark.parametrize("first", ["source", "adopt"])
def test_a_source_fault_during_a_comparison_spares_copies_that_are_being_adopted(
    desk, item, again, digest, wrong, first
):
    before = desk(roots=2)
    before.session.roots[1].put(b"CARD/" + CLIP, b"0123456789")
    before.session.add(item(1))
    before.session.put(
        Copy(1, 0, ItemState.VALIDATED, b"CARD/" + CLIP, b"staged", blake3=digest(1), verify_method="evicted")
    )
    d = again(before)
    d.take_in()
    source = next(p for p in d.crew.all(Prove) if p.root is None)
    there = next(p for p in d.crew.all(Prove) if p.root == 1)
    adopt = d.only(Adopt)

    if first == "adopt":
        d.adopted(adopt, "published")
    d.proved(there)
    d.proved(source, faults={1: wrong("io", errno.ENOENT, "open")})
    if first == "source":
        d.adopted(adopt, "published")
    d.run()

    assert (d.copy(1, 0).state, d.copy(1, 1).state) == (ItemState.FINALIZED, ItemState.REMOVED)
    assert b"staged" not in d.discarded()
    d.close_books()


def test_a_source_fault_after_the_compared_root_went_spares_copies_that_are_being_adopted(
    desk, item, again, digest, wrong, away
):
    before = desk(roots=2)
    before.session.roots[1].put(b"CARD/" + CLIP, b"0123456789")
    before.session.add(item(1))
    before.session.put(
        Copy(1, 0, ItemState.VALIDATED, b"CARD/" + CLIP, b"staged", blake3=digest(1), verify_method="evicted")
    )
    d = again(before)
    d.take_in()
    source = next(p for p in d.crew.all(Prove) if p.root is None)
    there = next(p for p in d.crew.all(Prove) if p.root == 1)

    d.proved(there, faults={1: wrong()}, gone=away(root=1))
    d.proved(source, faults={1: wrong("io", errno.ENOENT, "open")})
    d.adopted(d.only(Adopt), "published")
    d.run()

    assert d.copy(1, 0).state is ItemState.FINALIZED
    assert b"staged" not in d.discarded()
    d.close_books()


# Big files that are half copied


@pytest.mark.parametrize(("partial", "size", "left"), [
    (Partial.VERIFIED, BIG, True), (Partial.VERIFIED, BIG - 1, False), (Partial.RESTART, BIG, False),
])  # fmt: skip
def test_what_a_dead_worker_has_made_of_a_big_file_is_left_to_be_gone_on_with(desk, item, partial, size, left):
    d = desk(options=CopyOptions(partial=partial))
    d.start(item(1, size=size))
    stage = d.only(Stage)

    d.die(stage, item=1)
    d.run()

    assert d.state(1) == "finalized"
    assert (stage.staging[0][0] not in d.discarded()) == left
    d.close_books()


def test_what_is_left_of_a_big_file_goes_when_it_has_failed(desk, item, wrong):
    d = desk()
    d.start(item(1, size=BIG), item(2))
    for _ in range(4):
        (stage,) = [s for s in d.crew.all(Stage) if 1 in s.items]
        d.staged(stage, source={1: wrong("io")})
        d.later()
    d.run()

    assert (d.state(1), d.state(2)) == ("failed", "finalized")
    assert stage.staging[0][0] in d.discarded()
    assert d.ledger.take_over() == [1], "its trail goes, too"
    d.close_books()


def test_the_trails_of_big_files_go_when_these_have_arrived_everywhere(desk, item, wrong):
    d = desk(roots=2)
    d.start(item(1, size=BIG), item(2, size=BIG), item(3))
    for stage in d.crew.all(Stage):
        d.staged(stage, copies={(2, 1): wrong("io", errno.ENOSPC, "write")})
    d.run()

    assert (d.state(1), d.state(2), d.state(3)) == ("finalized", "discovered", "finalized")
    assert d.ledger.take_over() == [1]
    assert d.ledger.take_over() == []


def test_what_was_gone_on_with_is_counted(desk, item):
    d = desk()
    d.start(item(1, size=BIG))
    stage = d.only(Stage)
    columns = [(["evicted"], [4], list(stage.mtimes), ["copy"], {})]

    d.answer(stage, staged=(b"\1" * 32, [1000], [1], [2], {}, columns, (1, 1, 1), {}, [], {0: BIG - 1000}, {}, []))
    d.run()

    told = report(d.session.journal, d.session.facts, SessionState.COMPLETED)
    assert (told.bytes["read"], told.bytes["copied"], told.bytes["resumed"]) == (1000, BIG, BIG - 1000)


def test_a_root_that_shows_nothing_of_its_parts_is_named_once(desk, item):
    d = desk(roots=2)
    d.start(item(1, size=BIG), item(2, size=BIG))
    stages = d.crew.all(Stage)
    for stage in stages:
        many = len(stage.items)
        columns = [(["reread"] * many, [4] * many, list(stage.mtimes), ["copy"] * many, {}) for _ in stage.roots]
        numbers = [[1] * many for _ in range(3)]
        answer = (b"\1" * 32 * many, *numbers, {}, columns, (1, 1, 1), {}, [], {}, {at: [1] for at in range(many)}, [])
        d.answer(stage, staged=answer)
    d.run()

    (warning,) = [warning for warning in d.warnings if "half-copied" in warning]
    assert warning.startswith(f"{os.fsdecode(d.session.facts.roots[1].path)}: ")
