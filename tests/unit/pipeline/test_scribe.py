from __future__ import annotations

import errno
import os
import threading

import pytest

from ingest.engine import blake3
from ingest.errors import IngestError, JournalError, ManifestError, PausedError
from ingest.manifest.chain import chain
from ingest.manifest.parts import Listed, list_parts, read_part
from ingest.model.item import CopyRecord, Kind
from ingest.model.states import ItemState
from ingest.pipeline import scribe as scribing
from ingest.pipeline.scribe import PART_SECONDS, Scribe
from ingest.session.rows import Copy


def record(number: int) -> CopyRecord:
    return CopyRecord(
        number, b"/media/CARD/%d" % number, b"CARD/%d" % number, 5, 7, Kind.VIDEO, ItemState.FINALIZED, blake3(b"%d" % number),
        attempts=1, verify_method="evicted", publish_method="noreplace",
    )  # fmt: skip


@pytest.fixture
def write(session):
    """A scribe for the session, as a run would have it."""

    def make() -> Scribe:
        return Scribe(session.facts, session.facts.roots[0], session.roots[0].root, session.journal, lambda: None)

    return make


@pytest.fixture
def hung(monkeypatch):
    """Parts are never written; until this is set."""
    over = threading.Event()

    def hang(*_):
        over.wait(30)
        raise IngestError("it answers again", operation="write")

    monkeypatch.setattr(scribing, "write_part", hang)
    return over


def test_a_part_that_is_never_written_is_given_up(session, hung):
    scribe = Scribe(
        session.facts, session.facts.roots[0], session.roots[0].root, session.journal, lambda: None, patience=0.1
    )
    try:
        with pytest.raises(IngestError, match="was not written within") as refused:
            scribe.close("completed", {})
    finally:
        hung.set()

    assert refused.value.path == session.facts.roots[0].path
    assert scribe.writing


def test_a_part_that_hangs_is_noticed_while_others_go_on(session, hung):
    scribe = Scribe(
        session.facts, session.facts.roots[0], session.roots[0].root, session.journal, lambda: None, patience=0.0
    )
    try:
        scribe.write("copying", {})
        with pytest.raises(IngestError, match="was not written within"):
            scribe.poll()
    finally:
        hung.set()


@pytest.fixture
def ended(session, item):
    """Copies of these numbers have ended, and the journal has them."""

    def end(*numbers: int) -> None:
        session.add(*[item(number, size=5) for number in numbers])
        start = session.journal.last_sequence(0)
        session.put(*[
            Copy(n, 0, ItemState.FINALIZED, b"CARD/%d" % n, blake3=blake3(b"%d" % n), verify_method="evicted", sequence=start + i)
            for i, n in enumerate(numbers, 1)
        ])  # fmt: skip

    return end


def rows(session) -> list[int]:
    """What the parts on the root hold, in order."""
    import pyarrow.parquet as pq

    found = []
    for listed in list_parts(session.roots[0].root, session.facts.id):
        table = pq.read_table(session.roots[0].path / os.fsdecode(listed.path), partitioning=None)
        found += table.column("item").to_pylist()
    return found


def known(session) -> list[tuple[int, int, int, int]]:
    return [(part.number, part.first, part.last, part.rows) for part in session.journal.parts(0)]


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(scribing, "time", made)
    return made


# When


def test_a_part_is_due_when_it_is_full_or_a_minute_old(write, clock, monkeypatch):
    monkeypatch.setattr(scribing, "PART_ROWS", 3)
    scribe = write()
    assert not scribe.due
    clock.now += 10 * PART_SECONDS
    assert not scribe.due, "nothing waits"

    scribe.add(1, record(1))
    assert not scribe.due
    clock.now += PART_SECONDS
    assert scribe.due
    clock.now -= PART_SECONDS
    scribe.add(2, record(2))
    assert not scribe.due
    scribe.add(3, record(3))
    assert scribe.due
    assert len(scribe._waiting) == 3


def test_a_machine_that_burns_loses_a_minute_at_most():
    assert PART_SECONDS <= 60


def test_one_part_at_a_time(session, write, monkeypatch):
    monkeypatch.setattr(scribing, "PART_ROWS", 1)
    scribe = write()
    scribe.add(1, record(1))
    scribe.write("copying", {})
    scribe.add(2, record(2))

    assert scribe.writing
    assert not scribe.due
    scribe.wait()
    assert scribe.due


# What is written


def test_closing_writes_everything_and_how_it_ended(session, write):
    scribe = write()
    for number in (1, 2, 3):
        scribe.add(number, record(number))
    scribe.close("completed", {"discovered": 3})

    assert rows(session) == [1, 2, 3]
    assert known(session) == [(1, 1, 3, 3)]
    part = read_part(session.roots[0].root, Listed(session.facts.id, 1))
    assert (part.facts.state, part.facts.counts, part.facts.root) == (
        "completed",
        {"discovered": 3},
        session.facts.roots[0].uuid,
    )


def test_a_session_without_copies_has_a_part_too(session, write):
    write().close("completed", {})

    assert known(session) == [(1, 1, 0, 0)]
    assert rows(session) == []


def test_parts_hold_no_more_than_they_may_and_form_a_chain(session, write, monkeypatch):
    monkeypatch.setattr(scribing, "PART_ROWS", 4)
    scribe = write()
    for number in range(1, 11):
        scribe.add(number, record(number))
    scribe.close("completed", {})

    assert known(session) == [(1, 1, 4, 4), (2, 5, 8, 4), (3, 9, 10, 2)]
    assert rows(session) == list(range(1, 11))
    assert len(chain(session.roots[0].root, session.facts.id)) == 3


def test_ten_thousand_copies_fill_a_part(session, write):
    scribe = write()
    for number in range(1, 10_002):
        scribe.add(number, record(number))
    assert scribe.due
    scribe.close("completed", {})

    assert [part.rows for part in session.journal.parts(0)] == [10_000, 1]


# Taking up where an earlier run left off


def test_a_later_run_goes_on_with_the_next_part(session, write):
    first = write()
    first.add(1, record(1))
    first.close("paused(user)", {})
    second = write()
    second.add(2, record(2))
    second.close("completed", {})

    assert known(session) == [(1, 1, 1, 1), (2, 2, 2, 1)]
    assert len(chain(session.roots[0].root, session.facts.id)) == 2


def test_what_no_part_holds_yet_is_written_by_the_next_run(session, write, ended):
    ended(1, 2, 3)

    write().close("completed", {})

    assert rows(session) == [1, 2, 3]
    assert known(session) == [(1, 1, 3, 3)]


def test_a_part_that_the_journal_does_not_know_is_recognised(session, write, ended, monkeypatch):
    ended(1, 2)
    scribe = write()
    monkeypatch.setattr(session.journal, "add_part", lambda *_: None)  # a crash just before it was noted
    scribe.close("copying", {})
    monkeypatch.undo()
    assert known(session) == []
    ended(3)

    write().close("completed", {})

    assert known(session) == [(1, 1, 2, 2), (2, 3, 3, 1)]
    assert rows(session) == [1, 2, 3]
    assert len(chain(session.roots[0].root, session.facts.id)) == 2


def test_a_backlog_larger_than_a_part_is_written_in_several(session, write, ended, monkeypatch):
    monkeypatch.setattr(scribing, "PART_ROWS", 1000)
    ended(*range(1, 2501))

    scribe = write()
    assert len(scribe._waiting) < 1000
    scribe.close("completed", {})

    assert rows(session) == list(range(1, 2501))
    assert [part.rows for part in session.journal.parts(0)] == [1000, 1000, 500]


def test_numbers_that_a_retry_left_out_do_not_shift_the_parts(session, write, ended, item):
    ended(1, 2)
    write().close("completed_with_errors", {})
    session.end(2, ItemState.FAILED)
    session.put(Copy(2, 0, ItemState.FAILED, sequence=2))
    session.journal.reopen([(2, 5, 7)])
    session.put(Copy(2, 0, ItemState.FINALIZED, b"CARD/2", blake3=b"\2" * 32, verify_method="evicted", sequence=3))

    scribe = write()
    assert len(scribe._waiting) == 1
    scribe.close("completed", {})

    assert rows(session) == [1, 2, 2]
    assert known(session) == [(1, 1, 2, 2), (2, 3, 3, 1)]


def test_a_damaged_part_that_nobody_knows_is_an_error(session, write):
    write().close("completed", {})
    with session.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM parts")
    (session.roots[0].path / os.fsdecode(Listed(session.facts.id, 1).path)).write_bytes(b"not parquet")

    with pytest.raises(ManifestError):
        write()


# When it cannot be written


def refused(number: int):
    def refuse(*_: object) -> None:
        raise PausedError("no room", errno=number) if number == errno.ENOSPC else IngestError("no", errno=number)

    return refuse


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failure_is_raised_where_it_is_asked_for_and_loses_no_row(session, write, monkeypatch, number):
    scribe = write()
    for each in (1, 2, 3):
        scribe.add(each, record(each))
    monkeypatch.setattr(scribing, "write_part", refused(number))
    scribe.write("copying", {})
    scribe.add(4, record(4))

    with pytest.raises(IngestError) as caught:
        scribe.wait()
    assert caught.value.errno == number
    assert (scribe.writing, len(scribe._waiting)) == (False, 4)

    monkeypatch.undo()
    scribe.close("completed", {})
    assert rows(session) == [1, 2, 3, 4]
    assert known(session) == [(1, 1, 4, 4)]


def test_a_part_that_cannot_be_noted_is_an_error(session, write, monkeypatch):
    def refuse(*_: object) -> None:
        raise JournalError("disk I/O error")

    scribe = write()
    scribe.add(1, record(1))
    monkeypatch.setattr(session.journal, "add_part", refuse)

    with pytest.raises(JournalError):
        scribe.close("completed", {})


def test_nothing_to_take_note_of_is_no_news(write):
    scribe = write()
    assert scribe.poll() is False
    scribe.wait()


def test_a_bug_in_the_thread_comes_out_too(write, monkeypatch):
    def stumble(*_: object) -> None:
        raise ZeroDivisionError

    scribe = write()
    scribe.add(1, record(1))
    monkeypatch.setattr(scribing, "write_part", stumble)

    with pytest.raises(ZeroDivisionError):
        scribe.close("completed", {})
