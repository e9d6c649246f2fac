"""The prober: real processes, real folders; who hangs is stopped by a signal."""

from __future__ import annotations

import errno
import os
import signal
import time

import pytest

from ingest.storage.looking import Look, Spot, looked
from ingest.storage.marker import write_marker
from ingest.storage.volumes import Storage, Volume
from ingest.workers import prober as probing
from ingest.workers.prober import MOST_HANGING, Finding, Prober, visit

PATIENCE = 20.0
DISK = Volume(None, Storage.LOCAL, "ext4", rotational=False, fs_uuid=None, block=True)


@pytest.fixture
def probe():
    """Makes probers, which are ended."""
    made = []

    def make(*spots: Spot) -> Prober:
        made.append(Prober(spots))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def archive(tree):
    made = tree("archive")
    write_marker(made.root, DISK)
    return made


def hear(prober: Prober, number: int = 1, seconds: float = PATIENCE) -> list[Finding]:
    found: list[Finding] = []
    limit = time.monotonic() + seconds
    while len(found) < number and time.monotonic() < limit:
        found += prober.heard()
        time.sleep(0.01)
    return found


def ends(pid: int) -> bool:
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        try:
            with open(f"/proc/{pid}/stat", "rb") as line:
                if line.read().rpartition(b")")[2].split()[0] in (b"Z", b"X"):
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


# A look


def test_a_look_tells_what_is_there(tree, archive):
    card = tree("card")
    (seen,), (root,) = looked(Spot(card.name, archive=False)), looked(Spot(archive.name, archive=True))

    facts = os.stat(card.path)
    assert (seen.path, seen.errno, seen.problem) == (card.name, 0, None)
    assert (seen.device, seen.inode, seen.uuid) == (facts.st_dev, facts.st_ino, None)
    assert (root.path, root.errno, root.problem) == (archive.name, 0, None)
    assert root.uuid is not None
    assert len(root.uuid) == 36
    room = os.statvfs(archive.path)
    assert abs(root.free - room.f_bavail * room.f_frsize) < 1 << 30
    assert not root.read_only


@pytest.mark.parametrize("how", ["removed", "no folder", "no marker", "a spoilt marker"])
def test_a_look_tells_what_is_not_there(archive, how):
    marker = archive.path / ".ingest/root.json"
    if how == "removed":
        archive.path.rename(archive.path.with_name("elsewhere"))
    elif how == "no folder":
        archive.path.rename(archive.path.with_name("elsewhere"))
        archive.path.write_text("")
    elif how == "no marker":
        marker.unlink()
    else:
        marker.write_text("{")

    (found,) = looked(Spot(archive.name, archive=True))

    if how == "no marker":
        assert (found.errno, found.uuid) == (0, None)
    else:
        assert found.errno == {"removed": errno.ENOENT, "no folder": errno.ENOTDIR}.get(how, errno.EIO)
        assert found.problem


def test_a_disk_that_was_taken_out_does_not_answer_from_memory(tree, tmp_path):
    card = tree("card")
    device = tmp_path / "sdz1"
    device.touch()
    spot = Spot(card.name, archive=False, origin=os.fsencode(device))
    assert [seen.errno for seen in looked(spot)] == [0]

    device.unlink()

    assert [seen.errno for seen in looked(spot)] == [errno.ENODEV]


# The process


def test_every_question_is_answered_with_its_number(probe, tree, archive):
    prober = probe(Spot(tree("card").name, archive=False), Spot(archive.name, archive=True))
    assert prober.heard() == []  # nobody was asked, and no process started
    assert prober._process is None

    for spot, number in ((0, 1), (1, 2), (0, 3)):
        prober.ask(spot, number)

    found = hear(prober, 3)
    assert sorted((each.spot, each.number, each.seen.errno) for each in found) == [(0, 1, 0), (0, 3, 0), (1, 2, 0)]


def test_a_process_that_dies_is_started_anew(probe, tree):
    prober = probe(Spot(tree("card").name, archive=False))
    prober.ask(0, 1)
    hear(prober)
    first = prober._process.pid
    os.kill(first, signal.SIGKILL)
    assert ends(first)

    limit = time.monotonic() + PATIENCE
    found: list[Finding] = []
    number = 1
    while not found and time.monotonic() < limit:
        number += 1
        prober.ask(0, number)  # what was asked of the dead one is lost, as if it hung
        found = hear(prober, seconds=1.0)

    assert found[0].number == number
    assert prober._process.pid != first


def test_the_process_ends_with_its_owner_even_if_it_hangs(probe, tree):
    prober = probe(Spot(tree("card").name, archive=False))
    prober.ask(0, 1)
    hear(prober)
    pid = prober._process.pid
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()

    prober.stop()

    assert time.monotonic() - began < 2.0
    assert ends(pid)
    prober.stop()  # once more does no harm


def test_looks_that_hang_are_so_many_at_most(monkeypatch, tmp_path):
    """The process's own work, in this process: its looks hang as long as nobody writes to a pipe."""
    import multiprocessing
    import threading

    ours, theirs = multiprocessing.Pipe()
    hanging = threading.Semaphore(0)
    begun = []

    def hang(spot: Spot) -> list[Look]:
        if spot.path == b"/dead":
            begun.append(spot)
            hanging.acquire()
        return [Look(spot.path)]

    monkeypatch.setattr(probing, "looked", hang)
    monkeypatch.setattr(probing.process, "settle_in", lambda _: None)
    monkeypatch.setattr(probing.os, "_exit", lambda _: None)
    spots = (Spot(b"/dead", archive=False), Spot(b"/alive", archive=False))
    live = threading.Thread(target=probing._live, args=(theirs, spots, 0), daemon=True)
    live.start()
    for count in range(1, MOST_HANGING + 4):
        ours.send((0, count))
    ours.send((1, 99))

    assert ours.recv() == Finding(1, 99, Look(b"/alive"))  # the other place is none the worse for it
    assert len(begun) == MOST_HANGING
    for _ in range(MOST_HANGING):
        hanging.release()
    assert {ours.recv().number for _ in range(MOST_HANGING)} == set(range(1, MOST_HANGING + 1))
    ours.send((0, 50))
    hanging.release()
    assert ours.recv().number == 50  # there is room again
    ours.close()
    live.join(20)  # before `_exit` is again what ends this very process
    assert not live.is_alive()


def test_a_bug_in_a_look_is_told_as_its_answer(monkeypatch):
    import multiprocessing
    import threading

    ours, theirs = multiprocessing.Pipe()
    monkeypatch.setattr(probing, "looked", lambda _: 1 // 0)
    monkeypatch.setattr(probing.process, "settle_in", lambda _: None)
    monkeypatch.setattr(probing.os, "_exit", lambda _: None)
    live = threading.Thread(target=probing._live, args=(theirs, (Spot(b"/x", archive=False),), 0), daemon=True)
    live.start()
    for number in range(2 * MOST_HANGING):
        ours.send((0, number))
        assert "ZeroDivisionError" in ours.recv().seen.problem
    ours.close()
    live.join(20)  # before `_exit` is again what ends this very process
    assert not live.is_alive()


def test_whoever_looks_and_dies_is_told_apart_from_a_place_that_says_nothing(monkeypatch, tree):
    spot, ask = Spot(tree("card").name, archive=False), Prober.ask
    assert visit([spot])[0].errno == 0

    def ask_and_kill(prober, *question):
        ask(prober, *question)
        prober._process.kill()  # it takes longer to begin than this

    monkeypatch.setattr(Prober, "ask", ask_and_kill)
    (seen,) = visit([spot])

    assert (seen.errno, seen.problem) == (errno.ETIMEDOUT, "whoever looked there died")


def test_the_process_imports_nothing_heavy(probe, tree):
    prober = probe(Spot(tree("card").name, archive=False))
    prober.ask(0, 1)
    hear(prober)

    with open(f"/proc/{prober._process.pid}/maps") as maps:
        mapped = maps.read()
    assert "_native" in mapped
    assert not [name for name in ("arrow", "sqlalchemy", "_sqlite3", "duckdb") if name in mapped]
