"""A proven copy gets its name, or the next one if that is taken by now; it is final only once the name is flushed."""

from __future__ import annotations

import errno

import pytest

from ingest.model.states import ItemState
from ingest.workers.messages import Adopt, Prove, Publish, Stage

CLIP = b"CLIP00001.MP4"
OTHER = b"\xee" * 32


# A name that is taken since the plan


@pytest.fixture
def taken(desk, item, wrong):
    """A desk whose item was proven, and met somebody else's file when it was to get its name."""

    def make(roots: int = 1):
        d = desk(roots=roots)
        d.start(item(1))
        d.staged(d.only(Stage))
        for publish in d.crew.all(Publish):
            d.published(publish, faults={1: wrong("io", errno.EEXIST, "rename")} if publish.root == 0 else {})
        return d

    return make


def test_equal_bytes_under_a_name_that_was_taken_are_a_duplicate(taken):
    d = taken()
    prove = d.only(Prove)
    assert (prove.root, prove.paths) == (0, [b"CARD/" + CLIP])

    d.proved(prove)
    d.run()

    assert d.state(1) == "duplicate"
    assert d.discarded() == {d.crew.sent[0].staging[0][0]}
    d.close_books()


def test_other_bytes_under_a_name_that_was_taken_give_it_a_suffix(taken):
    d = taken()
    d.proved(d.only(Prove), {1: OTHER})
    assert d.copy(1).path == b"CARD/CLIP00001_1.MP4"
    assert d.copy(1).state is ItemState.VALIDATED

    d.published(d.only(Publish))

    assert d.state(1) == "finalized"
    assert d.discarded() == set()
    d.close_books()


def test_the_next_name_may_be_taken_too(taken, wrong):
    d = taken()
    for _ in range(3):
        d.proved(d.only(Prove), {1: OTHER})
        d.published(d.only(Publish), faults={1: wrong("io", errno.EEXIST, "rename")})
    d.proved(d.only(Prove), {1: OTHER})
    d.run()

    assert d.paths()[-1] == b"CARD/CLIP00001_4.MP4"
    d.close_books()


def test_a_name_cannot_be_taken_for_ever(taken, wrong, monkeypatch):
    monkeypatch.setattr("ingest.pipeline.naming.MOST_NAMES", 3)
    d = taken()
    while d.crew.all(Prove):
        d.proved(d.only(Prove), {1: OTHER})
        for publish in d.crew.all(Publish):
            d.published(publish, faults={1: wrong("io", errno.EEXIST, "rename")})
    d.run()

    assert (d.state(1), d.copy(1).reason) == ("failed", "taken")
    assert d.discarded()
    d.close_books()


def test_a_name_that_was_taken_since_the_plan_is_never_given_another_source_files_name(desk, item, wrong):
    d = desk()
    d.session.sources[0].put(b"CLIP00001_1.MP4")
    d.start(item(1))
    d.staged(d.only(Stage))
    d.published(d.only(Publish), faults={1: wrong("io", errno.EEXIST, "rename")})
    d.proved(d.only(Prove), {1: OTHER})

    assert d.copy(1).path == b"CARD/CLIP00001_2.MP4"


@pytest.mark.parametrize("how", ["fault", "refused", "cancelled"])
def test_a_taken_name_that_cannot_be_read_because_the_root_went_keeps_its_path(taken, wrong, away, how):
    d = taken()
    prove = d.only(Prove)
    if how == "fault":
        d.proved(prove, faults={1: wrong()}, gone=away(root=0))
    elif how == "refused":
        d.answer(prove, error=(errno.ENOENT, "gone"), gone=away(root=0))
    else:
        d.board.stopping = True
        d.proved(prove, faults={1: wrong("cancelled")})
    d.run()

    assert (d.copy(1).state, d.copy(1).path) == (ItemState.VALIDATED, b"CARD/" + CLIP)
    assert d.paths() == [b"CARD/" + CLIP]
    assert d.discarded() == set()
    d.close_books()


def test_one_root_s_taken_name_is_nothing_to_the_other(taken):
    d = taken(roots=2)
    assert d.copy(1, 1).state is ItemState.FINALIZED

    d.run()

    assert (d.copy(1, 0).state, d.state(1)) == (ItemState.DUPLICATE, "finalized")
    d.close_books()


# A name that is not flushed, or not given


def test_a_name_that_may_not_survive_a_power_cut_is_not_called_final(desk, item, wrong):
    d = desk()
    d.start(item(1))
    d.staged(d.only(Stage))
    d.published(d.only(Publish), faults={1: wrong("io", errno.EIO, "fsync_folder")})
    assert d.state(1) == "discovered"

    d.adopted(d.only(Adopt), "failed", wrong("io", errno.EIO, "fsync_folder"))

    assert (d.state(1), d.copy(1).reason, d.copy(1).operation) == ("failed", "flush", "fsync_folder")
    assert d.discarded() == set()
    d.close_books()


def test_a_name_that_was_flushed_after_all_is_final(desk, item, wrong):
    d = desk()
    d.start(item(1))
    d.staged(d.only(Stage))
    d.published(d.only(Publish), faults={1: wrong("io", errno.EIO, "fsync_folder")})
    d.adopted(d.only(Adopt), "adopted")
    d.run()

    assert d.state(1) == "finalized"
    d.close_books()


def test_a_flush_that_a_lost_root_prevents_waits(desk, item, wrong, away):
    d = desk()
    d.start(item(1))
    d.staged(d.only(Stage))
    d.published(d.only(Publish), faults={1: wrong("io", errno.EIO, "fsync_folder")}, gone=away(root=0))
    d.run()

    assert d.copy(1).state is ItemState.VALIDATED
    d.close_books()


def test_a_name_that_could_not_be_given_is_tried_from_the_start(desk, item, wrong):
    d = desk()
    d.start(item(1))
    first = d.only(Stage)
    d.staged(first)
    d.published(d.only(Publish), faults={1: wrong("io", errno.EIO, "rename")})
    d.run()

    assert (d.state(1), d.copy(1).attempts) == ("finalized", 2)
    assert first.staging[0][0] in d.discarded()
    d.close_books()
