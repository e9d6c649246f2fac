"""Roots and sources that cannot go on, full, read-only or gone: each waits by itself, and fails nothing."""

from __future__ import annotations

import errno

from ingest.model.states import ItemState, SessionState
from ingest.workers.messages import Publish, Stage
from ingest.workers.supervisor import Died

# By a worker's answer


def test_a_full_disk_pauses_that_disk_only(desk, item, wrong):
    d = desk(roots=2)
    d.start(item(1), item(2))
    d.staged(d.only(Stage), copies={(1, 1): wrong("io", errno.ENOSPC, "write")})
    d.run()

    assert d.board.root_states == [SessionState.COPYING, SessionState.PAUSED_SPACE]
    assert {(c.item, c.root): str(c.state) for c in d.session.copies().values() if c.root == 0} == {
        (1, 0): "finalized", (2, 0): "finalized",
    }  # fmt: skip
    assert d.copy(2, 1).state is ItemState.FINALIZED, "what was proven gets its name even on a full disk"
    assert (1, 1) not in d.session.copies()
    assert d.state(1) == "discovered"
    assert len(d.board.problems) == 1
    d.close_books()


def test_a_second_try_on_a_full_disk_waits_for_room_and_does_not_blame_the_source(desk, item, wrong):
    d = desk(roots=2)
    d.start(item(1))
    d.staged(d.only(Stage), copies={(1, 1): wrong("mismatch")})

    again = next(request for request in d.crew.all(Stage) if request.roots == (1,))
    d.staged(again, copies={(1, 1): wrong("io", errno.ENOSPC, "write")})
    d.run()

    assert d.board.root_states[1] is SessionState.PAUSED_SPACE
    assert (d.copy(1, 0).state, d.state(1)) == (ItemState.FINALIZED, "discovered")
    d.close_books()


def test_a_disk_that_became_read_only_waits(desk, item, wrong):
    d = desk(roots=2)
    d.start(item(1))
    d.staged(d.only(Stage), copies={(1, 1): wrong("io", errno.EROFS, "open")})
    d.run()

    assert d.board.root_states == [SessionState.COPYING, SessionState.PAUSED_NETWORK]
    assert (d.copy(1, 0).state, d.state(1)) == (ItemState.FINALIZED, "discovered")
    d.close_books()


def test_a_root_that_is_gone_waits_and_the_other_goes_on(desk, item, wrong, away):
    d = desk(roots=2)
    d.start(*[item(number) for number in range(1, 4)])
    d.staged(
        d.only(Stage),
        copies={(number, 1): wrong("io", errno.ENOTCONN, "write") for number in (1, 2, 3)},
        gone=away(root=1),
    )
    d.run()

    assert d.board.root_states[1] is SessionState.PAUSED_NETWORK
    assert all(d.copy(number, 0).state is ItemState.FINALIZED for number in (1, 2, 3))
    assert all(d.state(number) == "discovered" for number in (1, 2, 3))
    assert not [r for r in d.crew.sent if isinstance(r, Publish) and r.root == 1]
    d.close_books()


def test_what_was_proven_on_a_root_that_is_gone_keeps_its_staging_file(desk, item, away, wrong):
    d = desk(roots=2)
    d.start(item(1), item(2))
    stage = d.only(Stage)
    d.staged(stage, copies={(2, 1): wrong("io", errno.ENOTCONN, "write")}, gone=away(root=1))
    d.run()

    assert (d.copy(1, 1).state, d.copy(1, 1).staging) == (ItemState.VALIDATED, stage.staging[1][0])
    assert stage.staging[1][0] not in d.discarded()
    d.close_books()


def test_a_publish_that_is_refused_by_a_lost_root_leaves_it_proven(desk, item, away):
    d = desk()
    d.start(item(1))
    d.staged(d.only(Stage))
    d.answer(d.only(Publish), error=(errno.ESTALE, "another folder has taken its place"), gone=away(root=0))
    d.run()

    assert d.copy(1).state is ItemState.VALIDATED
    assert d.discarded() == set()
    d.close_books()


def test_a_source_that_is_gone_leaves_its_items_waiting(desk, item, wrong, away):
    d = desk()
    d.start(item(1), item(2))
    d.staged(d.only(Stage), source={n: wrong("io", errno.ENOENT, "open") for n in (1, 2)}, gone=away(source=0))
    d.run()

    assert d.board.halted
    assert (d.state(1), d.state(2)) == ("discovered", "discovered")
    d.close_books()


def test_a_request_that_is_refused_because_the_source_is_gone_fails_nothing(desk, item, away, wrong):
    d = desk()
    d.start(item(1))
    d.staged(d.only(Stage), copies={(1, 0): wrong("mismatch")})
    d.answer(d.only(Stage), error=(errno.ENOENT, "no such folder"), gone=away(source=0))
    d.run()

    assert d.state(1) == "discovered"
    d.close_books()


def test_one_source_of_two_that_is_gone_does_not_hold_up_the_other(desk, item, wrong, away):
    d = desk(sources=2)
    d.start(item(1, source=0), item(2, source=1))
    first, _ = d.crew.all(Stage)
    d.staged(first, source={1: wrong("io", errno.EIO)}, gone=away(source=0))
    d.run()

    assert not d.board.halted
    assert (d.state(1), d.state(2)) == ("discovered", "finalized")
    d.close_books()


def test_what_comes_after_a_root_has_gone_is_not_even_begun_there(desk, item, away, wrong):
    d = desk(roots=2)
    d.start(item(1))
    d.staged(d.only(Stage), copies={(1, 1): wrong()}, gone=away(root=1))
    d.more(item(2))
    d.run()

    later = [r for r in d.crew.sent if isinstance(r, Stage) and 2 in r.items]
    assert [r.roots for r in later] == [(0,)]
    d.close_books()


# By the word of the sentry


def test_a_root_that_goes_down_takes_what_waits_along(desk, again, item, wrong, away):
    d = desk(roots=2)
    d.start(item(1))
    d.guard.doubt = {1, 2}
    d.staged(d.only(Stage), copies={(1, 0): wrong("io", errno.EIO, "write"), (1, 1): wrong("io", errno.EIO, "write")})
    d.flow.lose(*away(root=0))
    d.later(100)
    assert d.board.busy, "of the other root nothing is known yet"

    d.guard.doubt = set()
    d.later(100)
    d.run()
    assert d.state(1) == "discovered"
    assert d.copy(1, 1).state == "finalized"

    later = again(d)
    later.take_in()
    later.run()
    assert later.state(1) == "finalized"
    later.close_books()


def test_a_place_that_is_only_doubtful_is_looked_at_and_stays(desk, item, wrong, away):
    d = desk()
    d.start(item(1))
    d.staged(d.only(Stage), source={1: wrong()}, gone=away(source=0, number=errno.EIO))

    assert not d.board.lost_sources
    assert d.guard.blamed == [0, 0]
    d.run()
    assert d.state(1) == "finalized"


def test_a_place_that_is_gone_is_asked_nothing_more(standing, away):
    d = standing(0)
    d.crew.pending.clear()
    d.board.outbox.discard(0, b".ingest/staging/x.part")
    transfer = d.transfer(1)
    answers = []
    d.board.outbox.prove(transfer, None, 0, b"CARD/x", answers.append)
    d.flow.lose(*away(root=0))
    d.tick()

    assert d.crew.pending == []
    (told,) = answers
    assert told.reply.proofs[0][4][0] == "cancelled"


def test_who_is_left_behind_at_a_dead_place_is_to_blame_for_nothing(desk, item, away):
    d = desk(roots=2)
    d.start(item(1), item(2))
    d.flow.lose(*away(root=0))
    for _ in range(3):
        stage = d.only(Stage)
        d.crew.pending.remove(stage)
        d.flow.handle(Died(0, (stage,), 1, None, stalled=False, place=1))
        d.tick()

    assert d.only(Stage).roots == (1,)
    d.run()
    assert d.copy(1, 1).state == d.copy(2, 1).state == "finalized"
    assert not [text for text in d.warnings if "crashed" in text]
    d.close_books()
