"""Leases: kept, moved, lost to others; judged by an observer's own clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ingest.errors import IngestError
from ingest.storage.leases import (
    EVERY,
    LENGTH,
    Holding,
    Lease,
    LostLeaseError,
    Observer,
    lease_path,
    leases_on,
    read_lease,
    remove_lease,
    stale,
)

SESSION = "1a2b3c4d-0000-4000-8000-000000000001"


@pytest.fixture
def place(tree):
    return tree("root")


def keep(place, lease=None):
    holding = Holding(place.root, lease or Lease.of(SESSION))
    holding.keep()
    return holding


def elsewhere(**changes):
    """A lease of another machine."""
    return replace(Lease.of(SESSION), where="another boot", host="other", **changes)


def test_a_lease_says_who_holds_the_session(place):
    holding = keep(place)

    seen = read_lease(place.root, SESSION)

    assert seen.lease == holding.lease
    assert (seen.lease.pid, seen.lease.count, seen.every) == (os.getpid(), 0, EVERY)
    assert [each.session for each in leases_on(place.root)] == [SESSION]


def test_its_counter_moves_and_its_length_stays(place):
    holding = keep(place)
    for count in range(1, 12):
        holding.keep()
        seen = read_lease(place.root, SESSION)
        assert (seen.lease.count, len(seen.data)) == (count, LENGTH)


def test_of_two_that_begin_at_once_the_second_finds_that_it_came_second(place):
    first, second = keep(place), keep(place, elsewhere(holder="second"))

    first.keep()
    with pytest.raises(LostLeaseError):
        second.keep()


def test_it_is_gone_when_it_was_removed(place):
    holding = keep(place)

    holding.remove()

    assert read_lease(place.root, SESSION) is None
    assert os.listdir(place.path / ".ingest/leases") == []


def test_a_root_without_leases_has_none(place):
    assert read_lease(place.root, SESSION) is None
    assert leases_on(place.root) == []


@pytest.mark.parametrize("act", ["keep", "remove"])
def test_a_holder_notices_that_another_has_taken_it_over_and_leaves_that_alone(place, act):
    holding = keep(place)
    remove_lease(place.root, SESSION)
    heir = keep(place, elsewhere(holder="heir"))

    with pytest.raises(LostLeaseError, match="on other has taken it over"):
        getattr(holding, act)()

    assert read_lease(place.root, SESSION).lease == heir.lease


@pytest.mark.parametrize("act", ["keep", "remove"])
def test_a_holder_notices_that_it_was_cleared_away(place, act):
    holding = keep(place)
    (place.path / os.fsdecode(lease_path(SESSION))).unlink()

    with pytest.raises(LostLeaseError, match="cleared"):
        getattr(holding, act)()

    assert read_lease(place.root, SESSION) is None


def test_what_cannot_be_read_is_nobody_elses_and_is_written_anew(place):
    holding = keep(place)
    place.put(lease_path(SESSION), b"")

    holding.keep()

    assert read_lease(place.root, SESSION).lease == holding.lease


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"session": 1}', b"\xff" * LENGTH, b"[" * LENGTH])
def test_other_bytes_are_a_lease_of_somebody_unknown(place, data):
    place.put(lease_path(SESSION), data)

    (seen,) = leases_on(place.root)

    assert seen.lease is None
    assert not stale(seen, 0.0)
    assert stale(seen, 2 * EVERY)


def test_other_names_are_none(place):
    for name in (b"notes.txt", lease_path(SESSION).rpartition(b"/")[2] + b".part"):
        place.put(b".ingest/leases/" + name, b"x")
    assert leases_on(place.root) == []


def test_a_lease_that_is_a_link_is_not_followed(place, tree):
    outside = tree("outside").put(b"theirs", b"x" * LENGTH)
    os.makedirs(place.path / ".ingest/leases")
    (place.path / os.fsdecode(lease_path(SESSION))).symlink_to(outside)

    seen = read_lease(place.root, SESSION)
    assert (seen.lease, seen.unread) == (None, "Too many levels of symbolic links")
    assert leases_on(place.root) == [seen]

    holding = keep(place)
    with pytest.raises(OSError, match="symbolic links"):
        holding.keep()
    assert outside.read_bytes() == b"x" * LENGTH


def test_one_that_cannot_be_read_can_be_watched(place):
    """What stands in its place here is a folder; to know that somebody moves it nobody has to read it."""
    folder = place.path / os.fsdecode(lease_path(SESSION))
    folder.mkdir(parents=True)

    seen = read_lease(place.root, SESSION)

    assert (seen.lease, seen.unread, seen.every) == (None, "Is a directory", EVERY)
    assert "cannot be read (Is a directory)" in seen.holder
    assert read_lease(place.root, SESSION) == seen
    (folder / "x").touch()
    assert read_lease(place.root, SESSION) != seen
    with pytest.raises(IngestError):
        remove_lease(place.root, SESSION)


def test_where_leases_cannot_be_looked_at_at_all_it_is_an_error(place):
    place.put(b".ingest/leases", b"no folder")

    with pytest.raises(IngestError):
        read_lease(place.root, SESSION)


def test_no_other_program_makes_anybody_wait_for_ever(place):
    text = json.loads(Lease.of(SESSION).encode())
    for every, bounded in ((1e300, 300.0), (-5, 0.1), (0, 0.1)):
        place.put(lease_path(SESSION), json.dumps({**text, "every": every}).encode())
        assert read_lease(place.root, SESSION).every == bounded


# Judged


def test_an_observer_counts_from_when_it_saw_a_change_itself():
    observer = Observer()
    assert [observer.see("a", state, now) for state, now in (("x", 5.0), ("x", 9.0), ("y", 10.0), ("y", 40.0))] == [
        0.0, 4.0, 0.0, 30.0,
    ]  # fmt: skip
    assert observer.see("b", "x", 41.0) == 0.0


def test_another_machines_lease_is_stale_after_twice_its_time(place):
    keep(place, elsewhere(every=7.0))
    seen = read_lease(place.root, SESSION)

    assert not stale(seen, 13.9)
    assert stale(seen, 14.0)


def test_that_of_a_process_of_this_machine_that_has_ended_is_stale_at_once(place):
    code = (
        "import sys; from ingest.storage.leases import *; from ingest.engine import Root\n"
        "Holding(Root(sys.argv[1].encode()), Lease.of(sys.argv[2])).keep(); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(place.path), SESSION]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()

    assert not stale(read_lease(place.root, SESSION), 0.0)
    process.communicate()
    assert stale(read_lease(place.root, SESSION), 0.0)


def test_an_id_that_was_given_again_is_another_process(place):
    ours = Lease.of(SESSION)
    parent = replace(ours, pid=1)
    assert parent.gone
