"""Leases: a session that is worked on is left alone by everybody else, and one that has died by nobody for ever.

Real processes; another machine is played by a second journal, and by a lease that names another boot.
"""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

pytestmark = pytest.mark.timeout(200)
MIB = 1 << 20
FILES = {"A.JPG": 10_000, "B.MOV": 120 * MIB, "C.JPG": 10_000}
NEVER = ("--older-than", "0")


def leases(archive):
    return sorted(file for file in archive.glob(".ingest/leases/*") if not file.suffix)


def told(lease):
    return json.loads(lease.read_bytes())


def rewrite(lease, **changes):
    """As another process on another machine would."""
    text = {**told(lease), "where": "another boot", "host": "elsewhere", **changes}
    new = lease.with_name("new")
    new.write_bytes(json.dumps(text).encode().ljust(511) + b"\n")
    new.replace(lease)


@pytest.fixture
def other(tmp_path):
    """Another machine's journal."""
    return tmp_path / "other-home"


@pytest.fixture
def frozen(make_card, shell, archive, until):
    """A copy whose workers were stopped in the middle of a big file, with its lease."""
    card = make_card(FILES)
    running = shell.start("copy", card.folder, archive)
    with running.catch(card.folder / "B.MOV") as caught:
        until(lambda: leases(archive), "a lease")
        yield card, running, caught


def finish(running, caught):
    caught.thaw()
    ended = running.end()
    assert (ended.code, ended.document["state"]) == (0, "completed"), ended


def killed(frozen):
    card, running, caught = frozen
    running.kill()
    caught.thaw()
    return card


def test_a_session_has_a_lease_while_it_works_and_none_afterwards(frozen, archive, check, journal):
    card, running, caught = frozen
    (lease,) = leases(archive)

    assert lease.name == journal.session(card)["id"]
    assert told(lease)["pid"] == running.supervisor
    finish(running, caught)

    assert leases(archive) == []
    assert list((archive / ".ingest/claims").iterdir()) == []
    check(card, archive)


def test_doctor_tells_of_another_journals_session(frozen, make_card, archive, shell, other, tmp_path):
    _, running, caught = frozen
    small = make_card({"X.JPG": 10}, folder=tmp_path / "SMALL")
    assert shell.run("copy", small.folder, archive, home=other).code == 0

    said = [f["detail"] for f in shell.run("doctor", home=other).document["findings"]]
    assert [text for text in said if f"another session works here: process {running.supervisor}" in text]
    mine = [f["detail"] for f in shell.run("doctor").document["findings"]]
    assert not [text for text in mine if "another session" in text]
    finish(running, caught)


def test_a_living_session_is_neither_cleared_away_nor_taken_up(frozen, archive, shell, check, ingest, other, tmp_path):
    card, running, caught = frozen
    before = sorted(archive.glob(".ingest/staging/*/*"))
    shutil.copytree(ingest.home, other)
    holder = f"process {running.supervisor} on {told(leases(archive)[0])['host']}"

    looking = shell.start("clear", archive, *NEVER, home=tmp_path / "third-home")
    refused = shell.run("resume", home=other)
    left = looking.end()

    assert (left.code, left.document["cleared"]) == (0, []), left
    assert [kept["reason"] for kept in left.document["kept"]] == [f"{holder} works there"]
    assert refused.code == 8, refused
    assert f"being worked on by {holder}" in refused.document["error"]["cause"]
    assert "looking for 30 s" in left.errors
    assert "looking for 30 s" in refused.errors
    assert sorted(archive.glob(".ingest/staging/*/*")) == before
    finish(running, caught)
    check(card, archive)


def test_what_a_dead_session_left_is_its_own_journals_to_complete(frozen, archive, shell, check):
    card = killed(frozen)
    before = sorted(archive.glob(".ingest/staging/*/*"))

    ended = shell.run("clear", archive, *NEVER)

    assert (ended.document["cleared"], len(ended.document["kept"])) == ([], 1)
    assert "ingest resume" in ended.document["kept"][0]["reason"]
    assert sorted(archive.glob(".ingest/staging/*/*")) == before
    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed"), resumed
    check(card, archive)


def test_another_journal_clears_it_only_after_days_and_nothing_is_lost(frozen, archive, shell, check, other):
    card = killed(frozen)

    kept = shell.run("clear", archive, home=other)
    assert (kept.document["cleared"], len(kept.document["kept"])) == ([], 1)
    began = time.monotonic()
    cleared = shell.run("clear", archive, *NEVER, home=other)

    assert time.monotonic() - began < 10, "of a process of this machine it is known at once that it has died"
    assert (len(cleared.document["cleared"]), cleared.document["kept"]) == (1, [])
    assert cleared.document["cleared"][0]["files"] > 0
    assert list((archive / ".ingest/staging").iterdir()) == []
    assert leases(archive) == []
    # Its own journal still completes it: what was cleared is made again.
    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed"), resumed
    check(card, archive)


def test_that_of_another_machine_is_watched_first(frozen, archive, shell, check, other):
    card = killed(frozen)
    rewrite(leases(archive)[0], every=1.5)

    began = time.monotonic()
    cleared = shell.run("clear", archive, *NEVER, home=other)

    assert time.monotonic() - began >= 3.0
    assert len(cleared.document["cleared"]) == 1
    assert shell.run("resume").code == 0
    check(card, archive)


def test_a_holder_that_was_taken_over_stops_and_loses_nothing(frozen, archive, shell, check):
    card, running, caught = frozen
    (lease,) = leases(archive)
    rewrite(lease, holder="heir")

    ended = running.end(60)

    assert ended.code == 8, ended
    assert "on elsewhere has taken it over" in ended.document["error"]["cause"]
    assert told(lease)["holder"] == "heir"
    caught.thaw()
    rewrite(lease, every=0.2)  # the heir has died
    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed"), resumed
    check(card, archive)


def test_a_copied_journal_takes_up_what_stood_still(frozen, archive, shell, check, ingest, other):
    card = killed(frozen)
    shutil.copytree(ingest.home, other)
    rewrite(leases(archive)[0], every=1.5)

    began = time.monotonic()
    resumed = shell.run("resume", home=other)

    assert time.monotonic() - began >= 3.0
    assert (resumed.code, resumed.document["state"]) == (0, "completed"), resumed
    assert [text for text in resumed.document["warnings"] if "elsewhere" in text] or "elsewhere" in resumed.errors
    check(card, archive, home=other)
    # The first journal finds its session's work done: nothing is copied twice.
    again = shell.run("resume")
    assert again.code in (0, 8), again
    assert sorted(os.listdir(archive)) == [".ingest", "CARD"]
    assert sorted(os.listdir(archive / "CARD")) == sorted(FILES)
