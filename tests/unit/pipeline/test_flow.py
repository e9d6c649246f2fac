from __future__ import annotations

import errno
import os
import signal
from dataclasses import replace

import pytest

from ingest import engine
from ingest.model.item import Kind
from ingest.model.options import CopyOptions, Duplicates, Partial
from ingest.model.states import ItemState, SessionState
from ingest.pipeline.plan import Transfer
from ingest.session.report import failure, report
from ingest.session.rows import Copy
from ingest.workers.messages import Adopt, Discard, Prove, Publish, Stage
from ingest.workers.supervisor import Died

CLIP = b"CLIP00001.MP4"
OTHER = b"\xee" * 32


# The straight way


def test_an_item_is_staged_named_and_finalized(desk, item, digest):
    d = desk()
    d.start(item(1))
    stage = d.only(Stage)
    assert (stage.source, stage.roots, stage.items, stage.paths, stage.sizes) == (0, (0,), [1], [CLIP], [10])
    assert stage.staging[0][0].startswith(b".ingest/staging/" + d.session.facts.short.encode() + b"/")

    d.staged(stage)
    publish = d.only(Publish)
    assert (publish.root, publish.staging, publish.paths) == (0, stage.staging[0], [b"CARD/" + CLIP])
    d.published(publish)

    assert d.state(1) == "finalized"
    copy = d.copy(1)
    assert (copy.blake3, copy.verify_method, copy.publish_method, copy.attempts) == (
        digest(1),
        "evicted",
        "noreplace",
        1,
    )
    d.close_books()


def test_nothing_is_given_a_name_before_its_row_says_validated(desk, item):
    d = desk(roots=2)
    checked = []

    def look(request) -> None:
        if isinstance(request, Publish):
            rows = d.session.copies()
            for number, staging, path in zip(request.items, request.staging, request.paths, strict=True):
                row = rows[number, request.root]
                assert (row.state, row.staging, row.path) == (ItemState.VALIDATED, staging, path)
                assert row.blake3 is not None
                checked.append((number, request.root))

    d.crew.on_submit = look
    d.start(*[item(number) for number in range(1, 6)])
    d.run()

    assert sorted(checked) == [(number, root) for number in range(1, 6) for root in (0, 1)]
    d.close_books()


def test_nothing_is_told_to_the_manifest_before_it_is_committed(desk, item):
    d = desk()
    d.start(item(1))
    d.staged(d.only(Stage))
    d.answer(d.only(Publish), published=(["noreplace"], {}), tick=False)
    assert d.records == []

    d.ledger.commit()

    ((root, number, record),) = d.records
    assert (root, number, record.state) == (0, 1, ItemState.FINALIZED)


def test_what_the_scan_ended_is_written_down_for_every_root(desk, item):
    d = desk(roots=2)
    d.start(
        item(1, state=ItemState.EXCLUDED, reason="litter"),
        item(2, state=ItemState.FAILED, reason="permission", errno=errno.EACCES),
        item(3, state=ItemState.SKIPPED, reason="symlink"),
    )

    assert not d.crew.sent
    assert {(c.item, c.root, str(c.state), c.reason, c.errno) for c in d.session.copies().values()} == {
        (number, root, state, reason, code)
        for root in (0, 1)
        for number, state, reason, code in [
            (1, "excluded", "litter", 0), (2, "failed", "permission", errno.EACCES), (3, "skipped", "symlink", 0),
        ]
    }  # fmt: skip
    d.close_books()


def test_a_location_is_known_once_the_file_has_its_name(desk, item, digest):
    from ingest.catalog.holdings import managed_at

    d = desk()
    d.start(item(1))
    d.staged(d.only(Stage))
    key = d.session.facts.roots[0].key
    with d.session.database.read() as connection:
        assert managed_at(connection, key, [b"CARD/" + CLIP]) == {}
    d.run()
    d.tick()

    with d.session.database.read() as connection:
        assert managed_at(connection, key, [b"CARD/" + CLIP])[b"CARD/" + CLIP].blake3 == digest(1)


# What stands there already


@pytest.fixture
def standing(desk, item):
    """A desk with one item of ten bytes, for which a file of ten bytes stands on these roots."""

    def make(*on: int, roots: int = 1, **options: object):
        d = desk(roots=roots, options=CopyOptions(**options))
        for root in on:
            d.session.roots[root].put(b"CARD/" + CLIP, b"0123456789")
        d.start(item(1))
        return d

    return make


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


# Bytes that do not read back


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


# Roots and sources that cannot go on


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


def test_a_root_that_cannot_be_asked_is_a_fault_of_that_copy(desk, item, tree):
    d = desk(roots=2)
    (d.session.roots[1].path / "CARD").symlink_to(tree("outside").path)
    d.start(item(1))
    d.run()

    assert (d.copy(1, 1).state, d.copy(1, 1).reason) == (ItemState.FAILED, "outside_root")
    assert d.copy(1, 0).state is ItemState.FINALIZED
    assert d.state(1) == "failed"
    d.close_books()


# Workers that die


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


BIG = engine.TRAIL_LEAST


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


# Stopping


def test_stopping_holds_everything_that_is_not_proven_and_names_what_is(desk, item, wrong):
    d = desk()
    d.start(item(1), item(2), item(3))
    stage = d.only(Stage)
    d.board.stopping = True
    d.staged(stage, source={2: wrong("cancelled")}, copies={(3, 0): wrong("cancelled")})
    d.run()

    assert (d.state(1), d.state(2), d.state(3)) == ("finalized", "discovered", "discovered")
    assert len(d.crew.all(Stage)) == 0
    assert not d.flow.room
    d.close_books()


def test_what_was_not_sent_before_stopping_is_never_sent(desk, item):
    d = desk()
    d.session.add(*[item(number, size=1 << 30) for number in range(1, 10)])
    d.take_in()
    begun = {number for s in d.crew.all(Stage) for number in s.items}
    assert len(begun) < 9
    d.board.stopping = True
    d.run()

    assert {number for s in d.crew.sent if isinstance(s, Stage) for number in s.items} == begun
    assert sum(d.session.items()[n].state is ItemState.DISCOVERED for n in range(1, 10)) == 9 - len(begun)
    d.close_books()


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


# The item as a whole


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (["ok", "ok"], "finalized"),
        (["ok", "bad"], "failed"),
        (["bad", "ok"], "failed"),
        (["there", "there"], "duplicate"),
        (["ok", "there"], "finalized"),
        (["there", "bad"], "failed"),
    ],
)
def test_an_item_ends_as_the_worst_of_its_copies(desk, item, wrong, ends, expected):
    d = desk(roots=2)
    for root, end in enumerate(ends):
        if end == "there":
            d.session.roots[root].put(b"CARD/" + CLIP, b"0123456789")
    d.start(item(1))
    for prove in list(d.crew.all(Prove)):
        d.proved(prove)
    bad = {(1, root): wrong("io", errno.EACCES, "open") for root, end in enumerate(ends) if end == "bad"}
    for stage in d.crew.all(Stage):
        d.staged(stage, copies=bad)
    d.run()

    assert d.state(1) == expected
    d.close_books()


def test_many_items_travel_in_batches_and_arrive(desk, item):
    d = desk(roots=2)
    d.start(*[item(number, kind=Kind.OTHER) for number in range(1, 1501)])
    d.run()

    assert d.session.journal.count_items() == {ItemState.FINALIZED: (1500, 15_000)}
    assert max(len(s.items) for s in d.crew.sent if isinstance(s, Stage)) == 1000
    assert not d.board.alive
    d.close_books()


def test_there_is_room_for_so_many_at_once(desk, item, monkeypatch):
    monkeypatch.setattr("ingest.pipeline.flow.MOST_ALIVE", 3)
    d = desk()
    assert d.flow.room
    d.start(*[item(number) for number in range(1, 4)])
    assert not d.flow.room
    d.run()
    assert d.flow.room


def test_what_is_worked_on_is_told_by_its_path(desk, item):
    d = desk()
    d.start(item(1), item(2))

    assert d.board.current([2, 99]) == (replace(item(2)).path,)


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


def test_who_stops_waits_for_nothing(desk, item, wrong):
    d = desk()
    d.start(item(1))
    d.guard.doubt = {0}
    d.staged(d.only(Stage), source={1: wrong()})
    d.board.stopping = True
    d.later(2)

    assert not d.board.busy
    assert d.state(1) == "discovered"


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
