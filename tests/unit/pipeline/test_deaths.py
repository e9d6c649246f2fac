"""Workers that die: what they had on their hands goes to another, and an item that kills two has failed."""

from __future__ import annotations

import errno
import signal

import pytest

from ingest.model.states import ItemState
from ingest.workers.messages import Adopt, Discard, Prove, Publish, Stage

CLIP = b"CLIP00001.MP4"


def test_a_dead_worker_s_batch_goes_to_another(desk, item):
    d = desk()
    d.start(item(1), item(2))
    stage = d.only(Stage)

    d.die(stage, item=1)
    d.run()

    assert (d.state(1), d.state(2)) == ("finalized", "finalized")
    assert set(stage.staging[0]) <= d.discarded()
    assert any("was replaced" in warning for warning in d.warnings)
    d.close_books()


def test_the_item_it_died_over_goes_alone(desk, item):
    d = desk()
    d.start(*[item(number) for number in range(1, 5)])
    d.die(d.only(Stage), item=2)

    d.run()

    assert [stage.items for stage in d.crew.sent if isinstance(stage, Stage)][1:] == [[2], [1, 3, 4]]


@pytest.mark.parametrize(("stalled", "reason"), [(False, "crashed"), (True, "stalled")])
def test_an_item_that_kills_two_workers_has_failed(desk, item, stalled, reason):
    d = desk()
    d.start(item(1), item(2))
    for _ in range(2):
        (stage,) = [s for s in d.crew.all(Stage) if 1 in s.items]
        d.die(stage, item=1, stalled=stalled)
    d.run()

    assert (d.state(1), d.copy(1).reason, d.state(2)) == ("failed", reason, "finalized")
    d.close_books()


def test_a_root_at_which_workers_hang_over_names_is_left_alone_and_the_other_is_completed(desk, item):
    """One file that a kernel does not let go of holds up its whole folder, while the root answers whoever looks."""
    d = desk(roots=2)
    d.start(item(1), item(2))
    d.die(d.only(Stage), item=1, stalled=True)
    left = [discard for discard in d.crew.all(Discard) if discard.root == 1]
    other = [discard for discard in d.crew.all(Discard) if discard.root == 0]
    for discard in other:
        d.answer(discard, faults=[None] * len(discard.paths))
    asked = d.crew.all(Stage)

    d.die(*left, *asked, item=1, stalled=True)
    d.run()

    assert [str(state) for state in d.board.root_states] == ["copying", "paused(network)"]
    (problem,) = d.board.problems
    assert "names there hang" in problem
    assert all(d.copy(number, 0).state is ItemState.FINALIZED for number in (1, 2))
    assert not [request for request in d.crew.pending if getattr(request, "root", None) == 1]


def test_a_worker_that_stood_still_over_bytes_says_nothing_about_its_root(desk, item):
    d = desk(roots=2)
    d.start(item(1), item(2))

    d.die(d.only(Stage), item=1, stalled=True)

    assert not any(state.paused for state in d.board.root_states)


def test_only_the_item_that_killed_a_worker_is_blamed(desk, item):
    d = desk()
    d.start(*[item(number, size=1 << 30) for number in (1, 2)])
    first, second = d.crew.all(Stage)
    d.die(first, second, item=2)

    assert {number: d.transfer(number).deaths for number in (1, 2)} == {1: 0, 2: 1}
    d.run()
    d.close_books()


def test_a_death_between_two_items_makes_the_whole_batch_go_one_by_one(desk, item):
    d = desk()
    d.start(item(1), item(2))
    d.die(d.only(Stage), item=None)
    seen = []
    d.crew.on_submit = seen.append

    d.run()

    assert all(len(s.items) == 1 for s in [*d.crew.sent[1:], *seen] if isinstance(s, Stage))
    d.close_books()


def test_after_a_bus_error_a_file_is_read_and_not_mapped(desk, item):
    d = desk()
    d.start(item(1, size=1 << 30))
    stage = d.only(Stage)
    assert stage.mode == "mmap"

    d.die(stage, item=1, exit_code=-signal.SIGBUS)

    assert d.only(Stage).mode == "read"
    d.run()
    assert (d.state(1), d.copy(1).read_mode) == ("finalized", "read")


def test_another_death_does_not_change_how_a_file_is_read(desk, item):
    d = desk()
    d.start(item(1, size=1 << 30))
    d.die(d.only(Stage), item=1, exit_code=-signal.SIGKILL)

    assert d.only(Stage).mode == "mmap"


def test_a_name_that_a_dead_worker_may_have_given_is_looked_for(desk, item, digest):
    d = desk()
    d.start(item(1))
    stage = d.only(Stage)
    d.staged(stage)
    d.die(d.only(Publish))

    adopt = d.only(Adopt)
    assert (adopt.root, adopt.staging, adopt.paths, adopt.digests) == (
        0,
        stage.staging[0],
        [b"CARD/" + CLIP],
        [digest(1)],
    )
    assert stage.staging[0][0] not in d.discarded()
    d.run()
    assert d.state(1) == "finalized"
    d.close_books()


def test_a_proof_that_a_worker_died_over_is_asked_for_again(standing):
    d = standing(0)
    d.die(*d.crew.all(Prove), item=1)
    assert len(d.crew.all(Prove)) == 2
    d.run()

    assert d.state(1) == "duplicate"
    d.close_books()


def test_a_file_there_that_kills_two_workers_ends_it(standing):
    d = standing(0)
    source, there = sorted(d.crew.all(Prove), key=lambda p: p.root is not None)
    d.proved(source)
    d.die(there, item=1)
    d.die(d.only(Prove), item=1)
    d.run()

    assert (d.state(1), d.copy(1).reason) == ("failed", "crashed")
    d.close_books()


def test_a_source_that_kills_two_workers_while_it_is_hashed_has_failed(standing):
    d = standing(0)
    for _ in range(2):
        d.die(next(p for p in d.crew.all(Prove) if p.root is None), item=1)
    d.run()

    assert d.state(1) == "failed"
    assert d.copy(1).reason == "crashed"
    d.close_books()


def test_a_dead_worker_s_errands_are_forgotten(desk, item, wrong):
    d = desk()
    d.start(item(1))
    d.staged(d.only(Stage), copies={(1, 0): wrong("io", errno.EACCES)})
    d.more(item(2))
    d.die(*d.crew.all(Discard), *d.crew.all(Stage), item=2)
    d.run()

    assert (d.state(1), d.state(2)) == ("failed", "finalized")
    d.close_books()
