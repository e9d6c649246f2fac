"""Orphans: what may be cleared from a root's staging, and what never."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from ingest.errors import CancelledError
from ingest.pipeline import orphans
from ingest.pipeline.orphans import clear_orphans, left_on
from ingest.storage.claims import Claim, claim
from ingest.storage.leases import Holding, Lease, leases_on
from ingest.storage.marker import STAGING

SESSION = "1a2b3c4d-0000-4000-8000-000000000001"
PART = STAGING + b"/1a2b3c4d/1-1-1.part"


@pytest.fixture
def place(tree, monkeypatch):
    monkeypatch.setattr(orphans, "EVERY", 0.3)
    monkeypatch.setattr(orphans, "LOOK", 0.05)
    return tree("root")


@pytest.fixture
def clear(place):
    """Clears; the sessions that went, those that were kept with the reason, and what was said."""

    def run(own=None, stopped=lambda: False, days=0.0):
        said: list[str] = []
        report = clear_orphans(place.root, own or {}, said.append, stopped, days)
        return [left.session for left in report.cleared], {left.session: why for left, why in report.kept}, said

    return run


def lease(place, **changes):
    holding = Holding(place.root, replace(Lease.of(SESSION), where="another boot", host="other", **changes))
    holding.keep()
    return holding


def test_there_may_be_nothing(clear):
    assert clear() == ([], {}, [])


def test_what_stands_still_and_has_no_lease_goes_after_it_was_watched(place, clear):
    place.put(PART, b"half")

    assert clear() == (["1a2b3c4d"], {}, ["looking for 1 s whether somebody works on what is left there"])
    assert os.listdir(place.path / os.fsdecode(STAGING)) == []


def test_what_grows_while_it_is_watched_is_kept(place, clear):
    file = place.put(PART, b"half")
    timer = threading.Timer(0.2, lambda: file.write_bytes(b"half and more"))
    timer.start()

    cleared, kept, _ = clear()

    assert (cleared, list(kept.values())) == ([], ["a process that left no word works there"])
    assert file.read_bytes() == b"half and more"


def test_what_was_taken_up_while_another_was_watched_is_kept(place, clear):
    """A session of this journal that is over needs no watching; by its name it can be taken up all the same."""
    file = place.put(PART, b"half")
    place.put(STAGING + b"/99999999/1-1-1.part", b"half")
    timer = threading.Timer(0.3, lambda: file.write_bytes(b"half and more"))
    timer.start()

    cleared, kept, _ = clear(own={"1a2b3c4d": True})

    assert (cleared, kept) == (["99999999"], {"1a2b3c4d": "somebody went on with it meanwhile"})
    assert file.read_bytes() == b"half and more"


def test_what_has_a_lease_that_moves_is_kept(place, clear):
    file, holding = place.put(PART, b"half"), lease(place, every=0.3)
    timer = threading.Timer(0.2, holding.keep)
    timer.start()

    cleared, kept, _ = clear()

    assert (cleared, len(kept), file.exists()) == ([], 1, True)
    assert "on other works there" in kept["1a2b3c4d"]


def test_a_stale_lease_and_its_claims_go_too(place, clear):
    place.put(PART, b"half")
    lease(place, every=0.3)
    claim(place.root, b"EOS", Claim(SESSION, "here", "1-2-3"))

    assert clear()[0] == ["1a2b3c4d"]
    assert leases_on(place.root) == []
    assert os.listdir(place.path / ".ingest/claims") == []


def test_a_claim_that_nobody_holds_is_watched_and_goes(place, clear):
    """Of a session that was killed before it had a lease, or staged anything."""
    claim(place.root, b"EOS", Claim(SESSION, "here", "1-2-3"))
    claim(place.root, b"DCIM", Claim(SESSION, "here", "1-2-4"))
    claim(place.root, b"OTHER", Claim("99999999-0000-4000-8000-000000000001", "there", "3-2-1"))

    assert clear(own={"99999999": False}) == (
        ["1a2b3c4d"], {"99999999": "it can be gone on with here: ingest resume"},
        ["looking for 1 s whether somebody works on what is left there"],
    )  # fmt: skip
    assert os.listdir(place.path / ".ingest/claims") == ["OTHER"]


def test_a_young_claim_is_kept_and_that_of_a_session_that_is_over_goes_at_once(place, clear):
    claim(place.root, b"EOS", Claim(SESSION, "here", "1-2-3"))

    assert clear(days=1) == ([], {"1a2b3c4d": "something was written there less than 1 days ago"}, [])
    assert clear(days=1, own={"1a2b3c4d": True}) == (["1a2b3c4d"], {}, [])
    assert os.listdir(place.path / ".ingest/claims") == []


def test_a_claim_whose_session_comes_to_life_is_kept(place, clear):
    claim(place.root, b"EOS", Claim(SESSION, "here", "1-2-3"))
    timer = threading.Timer(0.2, lambda: lease(place))
    timer.start()

    cleared, kept, _ = clear()

    assert (cleared, list(kept)) == ([], ["1a2b3c4d"])
    assert os.listdir(place.path / ".ingest/claims") == ["EOS"]


@pytest.mark.parametrize("session", ["", "../../../", "1A2B3C4D-", "\ud800" * 9])
def test_a_claim_of_no_session_is_none_of_its_business(place, clear, session):
    claim(place.root, b"EOS", Claim(session, "here", "1-2-3"))

    assert clear() == ([], {}, [])
    assert os.listdir(place.path / ".ingest/claims") == ["EOS"]


def test_what_was_written_to_lately_is_kept_without_watching(place, clear):
    place.put(PART, b"half", mtime_ns=0)  # the time of its bytes tells nothing

    assert clear(days=1) == ([], {"1a2b3c4d": "something was written there less than 1 days ago"}, [])


def test_what_this_journal_can_complete_is_kept_and_what_is_over_goes_at_once(place, clear):
    place.put(PART, b"half")
    place.put(STAGING + b"/99999999/1-1-1.part", b"half")

    cleared, kept, said = clear(own={"1a2b3c4d": False, "99999999": True}, days=7)

    assert (cleared, list(kept), said) == (["99999999"], ["1a2b3c4d"], [])


def test_what_is_not_a_sessions_is_none_of_its_business(place, clear):
    for name in (b"repair-1a2b3c4d/1.part", b"root-1a2b3c4d.part", b"notes/x", b"1A2B3C4D/x"):
        place.put(STAGING + b"/" + name, b"x")

    assert clear() == ([], {}, [])
    assert left_on(place.root) == []


def test_whoever_asks_to_stop_is_heeded_and_nothing_is_cleared(place, clear):
    file = place.put(PART, b"half")

    with pytest.raises(CancelledError):
        clear(stopped=lambda: True)
    assert file.exists()
