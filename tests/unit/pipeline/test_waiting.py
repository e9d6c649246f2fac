"""What is waited for, and when another run is worth its while. Times are seconds after the wait began."""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from ingest.errors import ExitCode, MissingError, PausedError
from ingest.model.session import RootFacts, SessionFacts, SourceFacts
from ingest.model.states import SessionState
from ingest.monitor import Silent
from ingest.pipeline import waiting
from ingest.pipeline.waiting import EVERY, MOST_APART, SILENCE, SPACE_ANYWAY, SPACE_STEP, _Absent, see_through
from ingest.session.register import find
from ingest.session.report import report
from ingest.storage.looking import Look
from ingest.storage.marker import write_marker
from ingest.storage.volumes import Storage, Volume
from ingest.workers.prober import Finding

NETWORK, SPACE = SessionState.PAUSED_NETWORK, SessionState.PAUSED_SPACE
CARD, FIRST, SECOND = 0, 1, 2


class Wait:
    """A card and two archives, and what looks at them find."""

    def __init__(self, states: dict[int, SessionState]) -> None:
        sources = (SourceFacts(0, b"/none/card", b"card", None, 1, 2, None),)
        roots = tuple(
            RootFacts(number, number + 1, b"/none/" + uuid.encode(), uuid, None, 3, 4)
            for number, uuid in enumerate(("aaaa", "bbbb"))
        )
        facts = SessionFacts("id", 1, 1, "{}", None, "mirror", "0", "host", "me", 0, sources, roots)
        self.absent = _Absent(facts, states)
        assert [spot.path for spot in self.absent.spots()[:3]] == [b"/none/card", b"/none/aaaa", b"/none/bbbb"]
        self.began = self.absent.began
        self.now = self.began

    def found(self, *spots: int, free: int = 1 << 30, inodes: int = 100, read_only: bool = False) -> None:
        """These answer as they should."""
        for spot in spots:
            marker = [None, "aaaa", "bbbb"][spot]
            seen = Look(b"/", uuid=marker, free=free, files_free=inodes, read_only=read_only)
            self.absent.hear(Finding(spot, 1, seen), self.now)

    def ill(self, spot: int, **changes: object) -> None:
        seen = replace(Look(b"/", "why", errno.EIO), **changes)
        self.absent.hear(Finding(spot, 1, seen), self.now)

    def at(self, seconds: float, apart: float = EVERY) -> bool:
        """Whether another run is worth its while then."""
        self.now = self.began + seconds
        return self.absent.ready(self.now, apart)


def test_a_root_that_paused_and_answers_again_is_gone_on_with():
    w = Wait({0: NETWORK})
    w.ill(FIRST)
    w.found(CARD, SECOND)
    assert not w.at(EVERY)
    assert w.absent.places == {FIRST}

    w.now = w.began + EVERY + 1
    w.found(CARD, FIRST, SECOND)

    assert w.at(EVERY + 1.1)


def test_who_never_answered_is_missed_too():
    w = Wait({0: NETWORK})
    w.found(CARD, SECOND)
    assert not w.at(SILENCE + 0.1)
    assert FIRST in w.absent.places

    w.found(FIRST)
    assert not w.at(SILENCE + 0.2)  # of the card nothing has been heard for too long
    w.found(CARD)
    assert w.at(SILENCE + 0.3)


def test_a_source_that_was_lost_is_waited_for_and_not_its_roots():
    w = Wait({0: NETWORK, 1: NETWORK})  # as the journal has it after a source was lost
    for seconds in (1.0, 4.0, 8.0):
        w.now = w.began + seconds
        w.ill(CARD)
        w.found(FIRST, SECOND)
        assert not w.at(seconds)
    assert w.absent.places == {CARD}

    w.found(CARD)
    assert w.at(9.0)


def test_a_pause_that_is_over_before_anybody_looked_is_over():
    w = Wait({0: NETWORK})
    for seconds in (1.0, EVERY):
        w.now = w.began + seconds
        w.found(CARD, FIRST, SECOND)

    assert w.at(EVERY + 0.1)


def test_one_that_is_back_is_enough():
    w = Wait({0: NETWORK, 1: NETWORK})
    w.ill(FIRST)
    w.ill(SECOND)
    assert not w.at(8)
    w.now = w.began + 8
    w.found(CARD, SECOND)

    assert w.at(8.1)


@pytest.mark.parametrize("wrong", [{"uuid": "cccc"}, {"uuid": None}, {"read_only": True, "uuid": "aaaa"}])
def test_another_archive_or_one_that_takes_nothing_is_not_what_was_waited_for(wrong):
    w = Wait({0: NETWORK})
    w.ill(FIRST)
    w.now = w.began + 9
    w.found(CARD, SECOND)
    w.ill(FIRST, errno=0, **wrong)

    assert not w.at(9.1)
    assert w.absent.places == {FIRST}


def test_a_full_disk_is_tried_again_when_room_was_made():
    w = Wait({0: SPACE})
    w.found(CARD, SECOND)
    w.found(FIRST, free=0)
    assert not w.at(EVERY + 1)
    assert w.absent.places == {FIRST}

    w.now = w.began + EVERY + 1
    w.found(CARD, FIRST, SECOND, free=SPACE_STEP - 1)
    assert not w.at(EVERY + 1.1)

    w.found(FIRST, free=SPACE_STEP)
    assert w.at(EVERY + 1.2)


def test_a_full_disk_is_tried_again_now_and_then_whatever_it_says():
    w = Wait({0: SPACE})
    assert not w.absent.heard
    w.found(CARD, FIRST, SECOND, free=0)
    assert w.absent.heard
    for seconds in (100, SPACE_ANYWAY - 1):
        w.now = w.began + seconds
        w.found(CARD, FIRST, SECOND, free=0)
        assert not w.at(seconds)
    w.now = w.began + SPACE_ANYWAY + 1
    w.found(CARD, FIRST, SECOND, free=0)

    assert w.at(SPACE_ANYWAY + 1)


def test_room_for_names_is_room():
    w = Wait({0: SPACE})
    w.found(CARD, FIRST, SECOND, free=0, inodes=0)
    w.now = w.began + EVERY
    w.found(CARD, FIRST, SECOND, free=0, inodes=1)

    assert w.at(EVERY + 0.1)


def test_what_had_just_come_back_and_went_again_is_tried_later_and_later():
    w = Wait({0: NETWORK})
    w.ill(FIRST)
    for seconds in (5.0, 10.0, 19.9):
        w.now = w.began + seconds
        w.found(CARD, FIRST, SECOND)
        assert not w.at(seconds, apart=20.0)

    assert w.at(20.1, apart=20.0)


# A session that is seen through


class Told(Silent):
    def __init__(self) -> None:
        self.waited: list[tuple[tuple[bytes, ...], str]] = []

    def waiting(self, places, since, why) -> None:
        del since
        self.waited.append((places, why))


@pytest.fixture
def paused(begin, monkeypatch):
    """A session whose archive is away, with real folders, and a wait that is over soon."""
    monkeypatch.setattr(waiting, "EVERY", 0.3)
    monkeypatch.setattr(waiting, "SILENCE", 3.0)
    monkeypatch.setattr(waiting, "MOMENT", 0.2)
    session = begin()
    (tree,) = session.roots
    marker = write_marker(tree.root, Volume(None, Storage.LOCAL, "ext4", rotational=False, fs_uuid=None, block=True))
    with session.database.write() as connection:
        connection.exec_driver_sql("UPDATE roots SET uuid = ?", (marker.uuid,))
    away = tree.path.with_name("away")
    tree.path.rename(away)
    session.journal.root_state(0, NETWORK)

    def ended(state: SessionState):
        session.journal.root_state(0, state)
        told = report(session.journal, session.facts, state)
        return replace(told, problem="it went away" if state.paused else None)

    return session, away, ended


def test_a_session_goes_on_by_itself_when_its_archive_is_back(paused):
    session, away, ended = paused
    told, runs = Told(), []

    def again():
        runs.append(time.monotonic())
        return ended(SessionState.COMPLETED)

    back = []
    threading.Timer(1.2, lambda: (back.append(time.monotonic()), away.rename(session.roots[0].path))).start()
    final = see_through(session.database, session.facts.key, lambda: ended(NETWORK), again, told, lambda: False)

    assert final.state is SessionState.COMPLETED
    assert 0 <= runs[0] - back[0] < 4
    assert told.waited[0] == ((session.roots[0].name,), "it went away")


def test_a_run_that_ends_otherwise_is_not_repeated(paused):
    session, _, ended = paused
    state = SessionState.PAUSED_USER

    final = see_through(session.database, session.facts.key, lambda: ended(state), pytest.fail, Told(), lambda: False)

    assert final.state is state


def test_who_stops_while_it_waits_has_stopped_it(paused):
    session, _, ended = paused
    told = Told()

    def stopped() -> bool:
        return bool(told.waited)

    final = see_through(session.database, session.facts.key, lambda: ended(NETWORK), pytest.fail, told, stopped)

    assert (final.state, final.exit_code) == (SessionState.PAUSED_USER, ExitCode.CANCELLED)
    assert final.problem == "stopped by the user while it waited: it went away"
    assert find(session.database, session.facts.id).state.resumable


def test_a_run_that_cannot_even_begin_is_waited_for_too(paused):
    session, away, ended = paused
    calls = []

    def again():
        calls.append(1)
        if len(calls) == 1:
            raise PausedError("the share does not answer", operation="open")
        return ended(SessionState.COMPLETED)

    away.rename(session.roots[0].path)
    final = see_through(session.database, session.facts.key, lambda: ended(NETWORK), again, Told(), lambda: False)

    assert final.state is SessionState.COMPLETED
    assert len(calls) == 2


def test_what_waiting_does_not_mend_is_raised(paused):
    session, _, _ = paused

    def fail():
        raise MissingError("no such source", operation="open")

    with pytest.raises(MissingError):
        see_through(session.database, session.facts.key, fail, pytest.fail, Told(), lambda: False)


def test_what_flaps_is_tried_less_and_less_often(paused, monkeypatch):
    session, away, ended = paused
    monkeypatch.setattr(waiting, "MOST_APART", 1.2)
    away.rename(session.roots[0].path)
    runs: list[float] = []

    def again():
        runs.append(time.monotonic())
        return ended(NETWORK if len(runs) < 4 else SessionState.COMPLETED)

    see_through(session.database, session.facts.key, lambda: ended(NETWORK), again, Told(), lambda: False)

    apart = [later - earlier for earlier, later in pairwise(runs)]
    assert apart[0] >= 0.6
    assert apart[1] >= 1.2
    assert apart[2] < 1.2 + 3
    assert MOST_APART == 60.0
    assert os.path.isdir(session.roots[0].path)
