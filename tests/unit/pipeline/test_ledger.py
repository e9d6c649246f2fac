from __future__ import annotations

import errno

import pytest
from sqlalchemy import select

from ingest.catalog.holdings import managed_at
from ingest.db.schema import sessions
from ingest.errors import JournalError
from ingest.model.states import IllegalTransitionError, ItemState
from ingest.pipeline.ledger import Ledger
from ingest.pipeline.plan import Transfer
from ingest.session.rows import Copy


@pytest.fixture
def kept(begin, item):
    """A ledger over a session with three items and two roots, and what it fed."""

    class Kept:
        def __init__(self) -> None:
            self.session = begin(2)
            self.session.add(*[item(number) for number in (1, 2, 3)])
            self.fed = []
            self.ledger = self.open()

        def open(self) -> Ledger:
            facts = self.session.facts
            return Ledger(self.session.journal, facts.sources, facts.roots, lambda *fed: self.fed.append(fed))

        def transfer(self, number: int, state: ItemState = ItemState.VALIDATED, **more) -> Transfer:
            copies = {
                r: Copy(number, r, state, b"CARD/%d" % number, blake3=b"\1" * 32, verify_method="evicted")
                for r in (0, 1)
            }
            return Transfer(item(number, **more), copies)

    return Kept()


def test_what_is_put_is_there_after_the_commit_and_not_before(kept):
    copy = Copy(1, 0, ItemState.VALIDATED, b"CARD/1")
    kept.ledger.put(copy)
    assert kept.session.copies() == {}

    kept.ledger.commit()

    assert kept.session.copies() == {(1, 0): copy}


def test_an_end_is_fed_on_once_it_is_durable(kept):
    transfer = kept.transfer(1)
    kept.ledger.end(transfer, transfer.copies[0], ItemState.FINALIZED)
    assert kept.fed == []

    kept.ledger.commit()
    kept.ledger.commit()

    ((root, number, record),) = kept.fed
    assert (root, number, record.item, record.state, record.path) == (0, 1, 1, ItemState.FINALIZED, b"CARD/1")
    assert record.source_path == kept.session.sources[0].name + b"/CLIP00001.MP4"


def test_ends_are_numbered_per_root_without_a_gap(kept):
    for number in (1, 2, 3):
        transfer = kept.transfer(number)
        for root in (0, 1) if number != 2 else (1,):
            kept.ledger.end(transfer, transfer.copies[root], ItemState.FINALIZED)
    kept.ledger.commit()

    assert [(root, number, record.item) for root, number, record in kept.fed] == [
        (0, 1, 1), (1, 1, 1), (1, 2, 2), (0, 2, 3), (1, 3, 3),
    ]  # fmt: skip


def test_a_later_run_numbers_on(kept):
    transfer = kept.transfer(1)
    kept.ledger.end(transfer, transfer.copies[0], ItemState.FINALIZED)
    kept.ledger.commit()

    later, transfer = kept.open(), kept.transfer(2)
    later.end(transfer, transfer.copies[0], ItemState.FINALIZED)
    later.commit()

    assert [number for _, number, _ in kept.fed] == [1, 2]


def test_an_item_is_closed_as_the_worst_of_its_copies_with_its_cause(kept):
    transfer = kept.transfer(1)
    kept.ledger.end(transfer, transfer.copies[0], ItemState.FINALIZED)
    bad = transfer.copies[1]
    bad.errno = errno.EIO
    kept.ledger.end(transfer, bad, ItemState.FAILED, "io")
    kept.ledger.close(transfer)
    kept.ledger.commit()

    found = kept.session.items()[1]
    assert (found.state, found.reason, found.errno) == (ItemState.FAILED, "io", errno.EIO)
    assert (kept.ledger.items_ended, kept.ledger.counts["failed"]) == (1, 1)


def test_an_item_that_arrived_has_no_reason(kept):
    transfer = kept.transfer(1)
    for root in (0, 1):
        kept.ledger.end(transfer, transfer.copies[root], ItemState.FINALIZED, "renamed")
    kept.ledger.close(transfer)
    kept.ledger.commit()

    assert kept.session.items()[1].reason is None


@pytest.mark.parametrize(
    ("before", "state", "method", "held"),
    [
        (ItemState.VALIDATED, ItemState.FINALIZED, "evicted", True),
        (ItemState.DISCOVERED, ItemState.DUPLICATE, "evicted", True),
        (ItemState.DISCOVERED, ItemState.DUPLICATE, None, False),
        (ItemState.VALIDATED, ItemState.FAILED, "evicted", False),
        (ItemState.COPYING, ItemState.CHANGED, None, False),
    ],
)
def test_only_what_was_proven_there_becomes_a_location(kept, before, state, method, held):
    transfer = kept.transfer(1, before)
    transfer.copies[0].verify_method = method
    kept.ledger.end(transfer, transfer.copies[0], state)
    kept.ledger.commit()

    with kept.session.database.read() as connection:
        found = managed_at(connection, kept.session.facts.roots[0].key, [b"CARD/1"])
    assert bool(found) is held


def test_a_location_remembers_the_time_the_file_has_there(kept):
    transfer = kept.transfer(1)
    transfer.copies[0].kept_mtime = 12345
    kept.ledger.end(transfer, transfer.copies[0], ItemState.FINALIZED)
    kept.ledger.commit()

    with kept.session.database.read() as connection:
        assert managed_at(connection, kept.session.facts.roots[0].key, [b"CARD/1"])[b"CARD/1"].mtime_ns == 12345


def test_an_end_that_the_table_does_not_know_is_a_bug(kept):
    transfer = kept.transfer(1, ItemState.COPYING)

    with pytest.raises(IllegalTransitionError):
        kept.ledger.end(transfer, transfer.copies[0], ItemState.FINALIZED)


def test_counters_add_up(kept):
    kept.ledger.count(bytes_read=5, seconds_copy=0.25)
    kept.ledger.count(bytes_read=7)
    kept.ledger.commit()
    kept.ledger.count(seconds_copy=0.5)
    kept.ledger.commit()

    with kept.session.database.read() as connection:
        row = connection.execute(select(sessions).where(sessions.c.key == kept.session.facts.key)).one()
    assert (row.bytes_read, row.seconds_copy) == (12, 0.75)


def test_a_commit_that_fails_keeps_everything_back(kept, monkeypatch):
    transfer = kept.transfer(1)
    kept.ledger.end(transfer, transfer.copies[0], ItemState.FINALIZED)
    with kept.session.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE locations RENAME TO away")

    with pytest.raises(JournalError):
        kept.ledger.commit()
    assert kept.fed == []
    assert kept.session.copies() == {}

    with kept.session.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO locations")
    kept.ledger.commit()
    assert len(kept.fed) == 1


def test_nothing_to_write_is_no_transaction(kept, monkeypatch):
    monkeypatch.setattr(kept.session.database, "write", lambda: pytest.fail("nothing had to be written"))
    kept.ledger.commit()
