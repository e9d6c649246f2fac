from __future__ import annotations

import pytest

from ingest.model.states import ItemState
from ingest.session.anew import forget_parts, put_back
from ingest.session.journal import Part
from ingest.session.rows import Copy


@pytest.fixture
def session(begin):
    """Two archives."""
    return begin(2)


def back(session, root: int = 0) -> int:
    with session.database.write() as connection:
        return put_back(connection, session.facts.key, root)


@pytest.mark.parametrize("state", [ItemState.FINALIZED, ItemState.DUPLICATE, ItemState.VALIDATED, ItemState.COPIED])
def test_a_copy_that_was_claimed_is_known_no_more_and_its_item_has_not_ended(session, item, state):
    session.add(item(1, b"a.mp4", state=state if state.arrived else ItemState.DISCOVERED))
    session.put(Copy(1, 0, state, b"CARD/a.mp4", sequence=1, blake3=bytes(32)))

    assert back(session) == 1

    assert session.copies() == {}
    assert session.items()[1].state is ItemState.DISCOVERED


def test_copies_elsewhere_stay(session, item):
    session.add(item(1, b"a.mp4", state=ItemState.FINALIZED))
    session.put(
        Copy(1, 0, ItemState.FINALIZED, b"CARD/a.mp4", sequence=1),
        Copy(1, 1, ItemState.FINALIZED, b"CARD/a.mp4", sequence=1),
    )

    assert back(session) == 1

    assert list(session.copies()) == [(1, 1)]


def test_an_item_that_failed_elsewhere_is_looked_at_again_here(session, item):
    """Else the copy here would end as failed, too, with nobody having looked."""
    session.add(item(1, b"a.mp4", state=ItemState.FAILED, reason="io", errno=5))
    session.put(
        Copy(1, 0, ItemState.FINALIZED, b"CARD/a.mp4", sequence=1),
        Copy(1, 1, ItemState.FAILED, reason="io", sequence=1),
    )

    assert back(session) == 1

    assert list(session.copies()) == [(1, 1)]
    assert (session.items()[1].state, session.items()[1].reason, session.items()[1].errno) == (
        ItemState.DISCOVERED,
        None,
        0,
    )


@pytest.mark.parametrize("state", [ItemState.EXCLUDED, ItemState.SKIPPED, ItemState.FAILED, ItemState.REMOVED])
def test_what_did_not_arrive_stays_as_it_is(session, item, state):
    session.add(item(1, b"a.mp4", state=state, reason="why"))
    session.put(Copy(1, 0, state, reason="why", sequence=1))

    assert back(session) == 0

    assert session.copies()[1, 0].state is state
    assert session.items()[1].state is state


def test_another_session_s_copies_stay(begin, session, item):
    session.add(item(1, b"a.mp4", state=ItemState.FINALIZED))
    session.put(Copy(1, 0, ItemState.FINALIZED, b"CARD/a.mp4", sequence=1))

    with session.database.write() as connection:
        assert put_back(connection, session.facts.key + 1, 0) == 0

    assert session.items()[1].state is ItemState.FINALIZED


def test_parts_beyond_those_that_are_there_are_forgotten_and_their_numbers_given_again(session):
    for number in (1, 2, 3):
        session.journal.add_part(0, Part(number, b"part", number, number, 1, bytes(32)))
    session.journal.add_part(1, Part(1, b"part", 1, 1, 1, bytes(32)))

    with session.database.write() as connection:
        forget_parts(connection, session.facts.key, 0, 1)

    assert [part.number for part in session.journal.parts(0)] == [1]
    assert session.journal.last_sequence(0) == 1
    assert [part.number for part in session.journal.parts(1)] == [1]
