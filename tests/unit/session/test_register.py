from __future__ import annotations

import pytest
from sqlalchemy import update

from ingest.db.schema import sessions
from ingest.errors import MissingError, UsageError
from ingest.model.options import CopyOptions
from ingest.model.states import CLOSED, IllegalTransitionError, SessionState
from ingest.session import register
from ingest.session.hold import hold
from ingest.session.register import find, let_go, move_session, session_facts, take_up


def rewrite(session, **values: object) -> None:
    with session.database.write() as connection:
        connection.execute(update(sessions).where(sessions.c.key == session.facts.key).values(**values))


def close(session, state: SessionState = SessionState.PAUSED_USER, code: int = 6, problem: str | None = None) -> None:
    with session.database.write() as connection:
        let_go(connection, session_facts(session.database, session.facts.key), state, code, problem, 1.5)


@pytest.fixture
def holding(session):
    """Somebody works on the session: another open lock, as another process would have it."""
    with hold(session.database.path.parent, session.facts.id):
        yield


def entry(session):
    (found,) = [e for e in register.register(session.database) if e.key == session.facts.key]
    return found


# Opening


def test_a_new_session_is_listed(session, holding):
    found = entry(session)

    assert (found.id, found.state, found.run) == (session.facts.id, SessionState.PENDING, 1)
    assert (found.held, found.resumable) == (True, False)
    assert found.sources == (session.sources[0].name,)
    assert found.roots == (session.roots[0].name,)


def test_the_facts_of_a_session_are_read_as_they_were_written(begin):
    session = begin(roots=2, sources=2, options=CopyOptions(label="A\udcff", workers=3))

    assert session_facts(session.database, session.facts.key) == session.facts
    assert CopyOptions.from_json(session.facts.options).label == "A\udcff"


def test_numbers_of_64_bits_survive(session):
    from dataclasses import replace

    huge = replace(session.facts.sources[0], device=(1 << 64) - 1, inode=1 << 63)
    place = replace(session.facts.roots[0], device=1 << 63, inode=(1 << 64) - 2)

    opened = register.open_session(session.database, "another", CopyOptions(), [huge], [place], "0")

    back = session_facts(session.database, opened.key)
    assert (back.sources[0].device, back.sources[0].inode) == ((1 << 64) - 1, 1 << 63)
    assert (back.roots[0].device, back.roots[0].inode) == (1 << 63, (1 << 64) - 2)


def test_sessions_are_listed_oldest_first(begin):
    made = [begin().facts.id for _ in range(3)]

    assert [e.id for e in register.register(begin().database)][:3] == made


def test_a_user_without_a_name_can_copy(session, monkeypatch):
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nameless)

    opened = register.open_session(
        session.database, "another", CopyOptions(), session.facts.sources, session.facts.roots, "0"
    )
    assert opened.operator == "unknown"


# Letting go and taking up


def test_a_session_that_was_let_go_can_be_taken_up(session):
    close(session, SessionState.PAUSED_NETWORK, 8, "the share is away")
    found = entry(session)
    assert (found.held, found.resumable, found.exit_code, found.problem) == (False, True, 8, "the share is away")

    facts = take_up(session.database, session.facts.key, retry=False)

    assert facts.run == 2
    assert (entry(session).exit_code, entry(session).problem, entry(session).finished_ns) == (None, None, None)


def test_runs_and_seconds_count_on(session):
    for run in (2, 3):
        close(session)
        assert take_up(session.database, session.facts.key, retry=False).run == run
    close(session)

    with session.database.read() as connection:
        assert connection.exec_driver_sql("SELECT seconds_total FROM sessions").scalar() == 4.5


def test_who_was_superseded_does_not_end_the_run_of_its_successor(session):
    close(session)
    before = session.facts
    take_up(session.database, before.key, retry=False)

    with session.database.write() as connection:
        let_go(connection, before, SessionState.FAILED, 1, "late", 1.5)

    assert (entry(session).state, entry(session).problem, entry(session).run) == (SessionState.INTERRUPTED, None, 2)


def test_a_session_that_somebody_works_on_is_not_resumable(session, holding):
    rewrite(session, state=str(SessionState.COPYING))

    assert (entry(session).state, entry(session).held, entry(session).resumable) == (SessionState.COPYING, True, False)


def test_a_session_whose_process_died_is_interrupted_and_can_be_taken_up_at_once(session):
    rewrite(session, state=str(SessionState.COPYING))
    assert (entry(session).state, entry(session).held, entry(session).resumable) == (
        SessionState.INTERRUPTED,
        False,
        True,
    )

    assert take_up(session.database, session.facts.key, retry=False).run == 2


@pytest.mark.parametrize("state", [s for s in SessionState if s.resumable] + [SessionState.COMPLETED_WITH_ERRORS])
def test_a_kill_right_after_it_was_taken_up_leaves_it_to_be_resumed(session, state):
    close(session, state, 7)

    take_up(session.database, session.facts.key, retry=True)

    assert entry(session).resumable


def test_what_an_earlier_run_read_of_a_source_is_not_believed_any_more(session, item):
    session.add(item(1), item(2))
    session.journal.note_digests([(item(1), b"\1" * 32)])
    close(session)

    take_up(session.database, session.facts.key, retry=False)

    assert [found.blake3 for found in session.items().values()] == [None, None]


@pytest.mark.parametrize("state", sorted(CLOSED))
def test_a_closed_session_is_not_taken_up(session, state):
    close(session, state, 0)

    with pytest.raises(UsageError, match="nothing to resume"):
        take_up(session.database, session.facts.key, retry=False)
    assert entry(session).run == 1


def test_a_session_with_errors_can_be_tried_once_more_by_name(session):
    close(session, SessionState.COMPLETED_WITH_ERRORS, 7)

    assert not entry(session).resumable
    assert take_up(session.database, session.facts.key, retry=True).run == 2


@pytest.mark.parametrize("state", sorted(CLOSED - {SessionState.COMPLETED_WITH_ERRORS}))
def test_no_other_closed_session_can(session, state):
    close(session, state, 0)

    with pytest.raises(UsageError):
        take_up(session.database, session.facts.key, retry=True)


@pytest.mark.parametrize("state", [s for s in SessionState if s.resumable])
def test_every_open_state_can_be_resumed(session, state):
    close(session, state, 8)

    assert entry(session).resumable
    take_up(session.database, session.facts.key, retry=False)


def test_a_completed_session_is_not_called_interrupted_because_its_process_is_gone(session):
    rewrite(session, state=str(SessionState.COMPLETED))

    assert (entry(session).state, entry(session).resumable) == (SessionState.COMPLETED, False)


# Steps


def test_a_legal_step_is_written_down(session, holding):
    with session.database.write() as connection:
        state = move_session(connection, session.facts.key, SessionState.PENDING, SessionState.SCANNING)

    assert state is entry(session).state is SessionState.SCANNING


def test_an_illegal_step_is_a_bug_and_changes_nothing(session, holding):
    with pytest.raises(IllegalTransitionError), session.database.write() as connection:
        move_session(connection, session.facts.key, SessionState.PENDING, SessionState.COMPLETED)

    assert entry(session).state is SessionState.PENDING


# Finding


@pytest.fixture
def named(begin):
    one, other = begin(), begin()
    rewrite(one, id="1a2b3c4d-0000-4000-8000-000000000001")
    rewrite(other, id="1a2b9999-0000-4000-8000-000000000002")
    return one.database


@pytest.mark.parametrize(
    "prefix", ["1a2b3", "1A2B3C4D", "1a2b3c4d-0000", "1a2b3c4d0000", "1a2b3c4d-0000-4000-8000-000000000001"]
)
def test_a_session_is_found_by_the_beginning_of_its_id(named, prefix):
    assert find(named, prefix).id == "1a2b3c4d-0000-4000-8000-000000000001"


@pytest.mark.parametrize("prefix", ["1", "1a2b"])
def test_a_beginning_of_several_is_not_enough(named, prefix):
    with pytest.raises(UsageError, match="2 sessions"):
        find(named, prefix)


@pytest.mark.parametrize("prefix", ["ff", "1a2b3c4e", "", "-", "%", "1a2b3c4d-0000-4000-8000-0000000000010", "a2b3"])
def test_what_no_id_begins_with_is_not_found(named, prefix):
    with pytest.raises(MissingError):
        find(named, prefix)
