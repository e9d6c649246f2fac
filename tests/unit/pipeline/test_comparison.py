"""What stands at an item's path already: a duplicate after a look at both, and left alone if it is anything else."""

from __future__ import annotations

import errno

import pytest

from ingest.model.options import Duplicates
from ingest.model.states import ItemState
from ingest.workers.messages import Prove, Publish, Stage

CLIP = b"CLIP00001.MP4"
OTHER = b"\xee" * 32


def test_a_file_that_is_there_already_is_a_duplicate_after_a_look_at_both(standing):
    d = standing(0)
    source, there = sorted(d.crew.all(Prove), key=lambda p: p.root is not None)
    assert (source.source, source.root, source.paths) == (0, None, [CLIP])
    assert (there.source, there.root, there.paths) == (None, 0, [b"CARD/" + CLIP])

    d.proved(source)
    assert d.state(1) == "discovered"
    d.proved(there)

    assert d.state(1) == "duplicate"
    assert (d.copy(1).path, d.copy(1).verify_method, d.copy(1).blake3) == (b"CARD/" + CLIP, "evicted", d.copy(1).blake3)
    assert not d.crew.all(Stage)
    d.close_books()


@pytest.mark.parametrize("order", [1, -1])
def test_other_bytes_under_the_name_are_left_alone(standing, order):
    d = standing(0)
    for request in d.crew.all(Prove)[::order]:
        d.proved(request, {1: OTHER} if request.root == 0 else {})
    d.run()

    assert d.paths() == [b"CARD/CLIP00001_1.MP4"]
    assert d.copy(1).state is ItemState.FINALIZED
    d.close_books()


def test_a_file_of_another_size_is_not_even_looked_into(desk, item):
    d = desk()
    d.session.roots[0].put(b"CARD/" + CLIP, b"0")
    d.start(item(1))

    assert not d.crew.all(Prove)
    d.run()
    assert d.paths() == [b"CARD/CLIP00001_1.MP4"]


def test_what_is_known_of_a_file_by_the_journal_is_not_read_again(desk, item):
    first = desk()
    first.start(item(1))
    first.run()
    first.tick()
    first.session.roots[0].put(b"CARD/" + CLIP, b"0123456789", item(1).mtime_ns)

    second = desk()
    second.start(item(1))
    (source,) = second.crew.all(Prove)
    assert source.root is None
    second.proved(source)

    assert second.state(1) == "duplicate"
    second.close_books()


def test_copies_can_be_asked_for_although_they_are_there(standing):
    d = standing(0, duplicates=Duplicates.COPY)
    d.run()

    assert d.paths() == [b"CARD/CLIP00001_1.MP4"]


def test_a_root_that_lacks_the_file_gets_it_and_the_other_keeps_it(standing):
    d = standing(1, roots=2)
    d.run()

    assert (d.copy(1, 0).state, d.copy(1, 1).state) == (ItemState.FINALIZED, ItemState.DUPLICATE)
    assert d.copy(1, 0).path == d.copy(1, 1).path == b"CARD/" + CLIP
    assert d.state(1) == "finalized"
    d.close_books()


def test_a_file_there_that_cannot_be_read_is_left_alone(standing, wrong):
    d = standing(0)
    source, there = sorted(d.crew.all(Prove), key=lambda p: p.root is not None)
    d.proved(source)
    d.proved(there, faults={1: wrong("io", errno.EACCES, "open")})
    d.run()

    assert d.paths() == [b"CARD/CLIP00001_1.MP4"]
    d.close_books()


def test_a_source_that_cannot_be_hashed_is_tried_by_copying(standing, wrong):
    d = standing(0)
    for request in d.crew.all(Prove):
        d.proved(request, faults={1: wrong()} if request.root is None else {})
    d.later()

    stage = d.only(Stage)
    d.staged(stage)
    d.published(d.only(Publish), faults={1: wrong("io", errno.EEXIST, "rename")})
    d.proved(d.only(Prove))

    assert d.state(1) == "duplicate"
    assert stage.staging[0][0] in d.discarded()
    d.run()
    d.close_books()


def test_a_source_that_is_gone_before_the_comparison_was_removed(standing, wrong):
    d = standing(0)
    for request in d.crew.all(Prove):
        d.proved(request, faults={1: wrong("io", errno.ENOENT, "open")} if request.root is None else {})
    assert d.state(1) == "discovered"  # as long as nobody knows whether the source itself is there

    d.later()

    assert d.state(1) == "removed"
    d.close_books()


@pytest.mark.parametrize(("size", "later"), [(10, 1), (11, 0)])
def test_a_source_that_is_not_what_the_scan_saw_is_no_duplicate(standing, item, digest, size, later):
    d = standing(0)
    source, there = sorted(d.crew.all(Prove), key=lambda p: p.root is not None)
    d.proved(there)
    d.answer(source, proofs=[(digest(1), size, item(1).mtime_ns + later, None, None)])

    assert d.state(1) == "changed"
    d.close_books()


def test_a_refused_proof_of_one_root_leaves_the_comparison_of_the_other(standing):
    d = standing(0, 1, roots=2)
    source, *there = sorted(d.crew.all(Prove), key=lambda p: -1 if p.root is None else p.root)
    d.proved(source)
    d.proved(there[0])

    d.answer(there[1], error=(errno.EIO, "Input/output error"))
    d.run()

    assert d.session.items()[1].state.ended
    d.close_books()


def test_a_root_that_goes_away_while_comparing_does_not_rename_on_the_other(standing, wrong, away):
    for refused in (False, True):
        d = standing(0, 1, roots=2)
        source, *there = sorted(d.crew.all(Prove), key=lambda p: -1 if p.root is None else p.root)
        d.proved(source)
        if refused:
            d.answer(there[1], error=(errno.ENOENT, "gone"), gone=away(root=1))
        else:
            d.proved(there[1], faults={1: wrong("io", errno.EIO)}, gone=away(root=1))
        d.proved(there[0])
        d.run()

        assert d.copy(1, 0).state is ItemState.DUPLICATE
        assert d.copy(1, 0).path == b"CARD/" + CLIP
        assert d.paths(0) == []
        assert d.state(1) == "discovered"
        d.close_books()


def test_stopping_while_comparing_renames_nothing(standing, wrong):
    d = standing(0)
    source, there = sorted(d.crew.all(Prove), key=lambda p: p.root is not None)
    d.board.stopping = True
    d.proved(source)
    d.proved(there, faults={1: wrong("cancelled")})
    d.run()

    assert not d.paths()
    assert d.state(1) == "discovered"
    d.close_books()
