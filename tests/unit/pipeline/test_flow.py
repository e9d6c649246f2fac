"""The flow: items are staged, proven, named and written down, in batches, and a run that stops begins nothing more."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from ingest.model.item import Kind
from ingest.model.states import ItemState
from ingest.workers.messages import Prove, Publish, Stage

CLIP = b"CLIP00001.MP4"


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
