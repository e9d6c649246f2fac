from __future__ import annotations

import pytest

from ingest.errors import JournalError
from ingest.model.event import EventKind
from ingest.session import chronicle as chronicles
from ingest.session.chronicle import Chronicle, chronicle_of, paused_roots


@pytest.fixture
def write(session):
    """Write a chronicle in a transaction, as a run does."""

    def commit(chronicle: Chronicle) -> None:
        with session.database.write() as connection:
            written = chronicle.write(connection)
        chronicle.settle(written)

    return commit


def told(session):
    return [(event.kind, event.told) for event in chronicle_of(session.database, session.facts.key)]


def test_events_are_kept_in_order_over_all_runs(session, write):
    first = Chronicle(session.facts.key, 1)
    first.note(EventKind.BEGUN, "it began")
    write(first)
    first.note(EventKind.ENDED, "paused")
    write(first)
    second = Chronicle(session.facts.key, 2)
    second.note(EventKind.RESUMED, "again", root=0, item=7, path=b"/c/a\xff", operation="read", errno=5)
    write(second)

    events = chronicle_of(session.database, session.facts.key)

    assert [(event.kind, event.run) for event in events] == [
        (EventKind.BEGUN, 1), (EventKind.ENDED, 1), (EventKind.RESUMED, 2),
    ]  # fmt: skip
    last = events[-1]
    assert (last.root, last.item, last.path, last.operation, last.errno) == (0, 7, b"/c/a\xff", "read", 5)
    assert [event.at_ns for event in events] == sorted(event.at_ns for event in events)


def test_nothing_noted_writes_nothing(session, write):
    chronicle = Chronicle(session.facts.key)
    assert not chronicle.pending

    write(chronicle)

    assert told(session) == []


def test_what_was_not_committed_is_written_the_next_time(session, write):
    chronicle = Chronicle(session.facts.key)
    chronicle.note(EventKind.WARNING, "once")

    def fail() -> None:
        with session.database.write() as connection:
            chronicle.write(connection)
            raise JournalError("the disk is full")

    with pytest.raises(JournalError):
        fail()
    assert told(session) == []
    write(chronicle)
    write(chronicle)

    assert told(session) == [(EventKind.WARNING, "once")]


def test_what_is_dropped_between_writing_and_committing_is_counted_the_next_time(session, write, monkeypatch):
    monkeypatch.setattr(chronicles, "DETAILS", 2)
    chronicle = Chronicle(session.facts.key)
    for number in range(3):
        chronicle.note(EventKind.WARNING, f"{number}")

    with session.database.write() as connection:
        written = chronicle.write(connection)
        chronicle.note(EventKind.WARNING, "meanwhile")
        chronicle.note(EventKind.WARNING, "and more")
    chronicle.settle(written)

    assert chronicle.pending, "what was only dropped is to be told as well"
    write(chronicle)
    assert not chronicle.pending
    assert told(session)[-1] == (EventKind.DROPPED, "3 more events were not recorded")


def test_a_warning_that_says_what_was_just_noted_is_no_event_of_its_own(session, write):
    chronicle = Chronicle(session.facts.key)
    chronicle.note(EventKind.ROOT_PAUSED, "the archive is away")
    chronicle.note(EventKind.WARNING, "the archive is away")
    chronicle.note(EventKind.WARNING, "something else")
    write(chronicle)

    assert told(session) == [(EventKind.ROOT_PAUSED, "the archive is away"), (EventKind.WARNING, "something else")]


def test_details_are_bounded_and_how_the_session_went_on_is_still_kept(session, write, monkeypatch):
    monkeypatch.setattr(chronicles, "DETAILS", 5)
    monkeypatch.setattr(chronicles, "MOST", 8)
    chronicle = Chronicle(session.facts.key)
    for number in range(7):
        chronicle.note(EventKind.SETBACK, f"setback {number}")
    write(chronicle)
    chronicle.note(EventKind.SETBACK, "setback 8")
    chronicle.note(EventKind.ENDED, "it ended")
    write(chronicle)

    assert told(session) == [
        *((EventKind.SETBACK, f"setback {number}") for number in range(5)),
        (EventKind.ENDED, "it ended"),
        (EventKind.DROPPED, "3 more events were not recorded"),
    ]


def test_all_together_is_bounded_whatever_happens(session, write, monkeypatch):
    monkeypatch.setattr(chronicles, "MOST", 4)
    for run in range(1, 10):
        chronicle = Chronicle(session.facts.key, run)
        chronicle.note(EventKind.RESUMED, f"run {run}")
        chronicle.note(EventKind.ENDED, f"run {run} ended")
        write(chronicle)

    assert len(told(session)) == 5
    assert told(session)[-1] == (EventKind.DROPPED, "14 more events were not recorded")


def test_what_waits_to_be_written_is_bounded_too(session, write, monkeypatch):
    monkeypatch.setattr(chronicles, "MOST", 4)
    chronicle = Chronicle(session.facts.key)
    for number in range(10):
        chronicle.note(EventKind.RESUMED, f"{number}")
    write(chronicle)

    assert [text for _, text in told(session)] == ["0", "1", "2", "3", "6 more events were not recorded"]


def test_details_that_are_not_written_yet_leave_room_for_how_it_ended(session, write, monkeypatch):
    monkeypatch.setattr(chronicles, "DETAILS", 2)
    monkeypatch.setattr(chronicles, "MOST", 4)
    chronicle = Chronicle(session.facts.key)
    for number in range(10):
        chronicle.note(EventKind.FAILURE, f"{number}")
    chronicle.note(EventKind.ENDED, "it ended")
    write(chronicle)

    assert [text for _, text in told(session)] == ["0", "1", "it ended", "8 more events were not recorded"]


def test_a_root_is_out_until_it_is_said_to_take_part_again(session, write):
    chronicle = Chronicle(session.facts.key)
    for root in (0, 1):
        chronicle.note(EventKind.ROOT_PAUSED, f"{root} is away", root=root)
    chronicle.note(EventKind.ROOT_BACK, "it takes part again", root=1)
    write(chronicle)

    assert paused_roots(session.database, session.facts.key) == {0}


def test_who_listens_hears_all_at_once_also_what_is_not_kept(session, monkeypatch, write):
    monkeypatch.setattr(chronicles, "MOST", 2)
    heard = []
    chronicle = Chronicle(session.facts.key, 1, heard.append)
    for number in range(4):
        chronicle.note(EventKind.SETBACK, f"{number}")
    heir = chronicle.leave_off()
    chronicle.note(EventKind.SETBACK, "unheard")
    heir.note(EventKind.ENDED, "it was given up")

    assert [event.told for event in heard] == ["0", "1", "2", "3", "it was given up"]
    write(heir)
    assert [text for _, text in told(session)] == ["0", "1", "3 more events were not recorded"]


def test_a_forgotten_session_takes_its_events_along(session, write):
    from sqlalchemy import delete

    from ingest.db.schema import sessions

    chronicle = Chronicle(session.facts.key)
    chronicle.note(EventKind.BEGUN, "it began")
    write(chronicle)
    with session.database.write() as connection:
        connection.execute(delete(sessions).where(sessions.c.key == session.facts.key))

    assert told(session) == []
