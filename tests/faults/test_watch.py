"""Disks whose daemon hangs, where nothing tells: no errno, no answer, and nobody who asks can be killed.

All at the same time, since most of it is waiting: each has a disk, a journal and a folder of its own. Losing a share
over a real network is for test_network.py.
"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

FILES = {**{f"100EOS/IMG_{n:04}.JPG": 90_000 + n for n in range(12)}, "CLIP/C0001.MP4": (70 << 20) + 5}
ROLL_CALL = 10.0  # seconds until a disk that says nothing is taken for dead, before a session
PAUSE = 30.0  # and in the middle of one (the specification's section 5)
BEGIN = 15.0  # a program's start and end, among a dozen of them on two busy cores


class Scene:
    """A bench, a card, an archive, an archive on a disk that can be frozen, and a second such disk."""

    def __init__(self, bench, disk, second=None):
        self.bench, self.disk, self.second, self.shell = bench, disk, second, bench.shell
        self.card = bench.card(FILES, bench.folder / "CARD", bench.folder / "CARD")
        self.archive = bench.folder / "archive"
        self.archive.mkdir()

    @contextmanager
    def frozen(self):
        self.disk.freeze()
        try:
            yield
        finally:
            self.disk.thaw()

    def until(self, so, seconds=20.0):
        limit = time.monotonic() + seconds
        while not so():
            assert time.monotonic() < limit, "it never came"
            time.sleep(0.01)

    def staging(self):
        return list((self.disk.backing / ".ingest/staging").rglob("*.part"))

    def begun(self, *arguments, **options):
        """A copy that is in the middle of its big file on the disk that can be frozen."""
        self.disk.rules({"op": "write", "path": "*.part", "at": 20 << 20, "act": "hang", "count": 0})
        running = self.shell.start("copy", self.card.folder, *arguments, **options)
        self.until(lambda: self.disk.hits(act="hang"))
        return running


def a_session_is_not_begun_with_a_dead_disk(scene):
    with scene.frozen():
        began = time.monotonic()
        as_archive = scene.shell.start("copy", scene.card.folder, scene.disk.mount)
        as_card = scene.shell.start("copy", scene.disk.mount / "CARD", scene.archive)
        for running, place in ((as_archive, scene.disk.mount), (as_card, scene.disk.mount / "CARD")):
            ended = running.end(60)
            assert time.monotonic() - began < ROLL_CALL + BEGIN
            assert ended.code == 4, ended
            assert ended.document["error"]["path"] == str(place)
            assert "does not answer" in ended.document["error"]["cause"]
    assert not list(scene.archive.iterdir())


def a_link_is_no_way_around_the_roll_call_and_the_attendant(scene):
    link = scene.bench.folder / "link"
    link.symlink_to(scene.disk.mount)
    with scene.frozen():
        began = time.monotonic()
        ended = scene.shell.run("copy", scene.card.folder, link)
        assert time.monotonic() - began < ROLL_CALL + BEGIN
        assert ended.code == 4, ended
        assert "does not answer" in ended.document["error"]["cause"]
    running = scene.begun(link)
    assert running.supervisor != running.process.pid
    scene.disk.rules()
    assert running.end().code == 0
    scene.bench.check(scene.card, link, truth={link: scene.disk.backing})


def a_session_is_not_taken_up_with_a_dead_disk(scene):
    running = scene.begun(scene.disk.mount)
    running.kill()
    scene.disk.rules()
    with scene.frozen():
        began = time.monotonic()
        ended = scene.shell.run("resume")
        assert time.monotonic() - began < ROLL_CALL + BEGIN
        assert ended.code == 8, ended
    assert scene.shell.run("resume").code == 0
    scene.bench.check(scene.card, scene.disk.mount, truth={scene.disk.mount: scene.disk.backing})


def a_disk_that_hangs_is_left_and_the_other_gets_everything(scene):
    running = scene.begun(scene.disk.mount, "--also", scene.archive)
    with scene.frozen():
        began = time.monotonic()
        # Nobody keeps the pipe open either: this waits for its end, and the worker that hangs cannot be killed.
        ended = running.end(60)
        assert time.monotonic() - began < PAUSE
        assert (ended.code, ended.document["state"]) == (8, "paused(network)"), ended
        states = {each["root"]: each["state"] for each in ended.document["destinations"]}
        assert states == {str(scene.disk.mount): "paused(network)", str(scene.archive): "completed"}
        assert ended.document["failures_total"] == 0
        scene.bench.check(scene.card, scene.archive, complete=False)
        there = {path for path in FILES if (scene.archive / "CARD" / path).is_file()}
        assert there == set(FILES)
    scene.disk.rules()
    assert scene.shell.run("resume").code == 0
    truth = {scene.disk.mount: scene.disk.backing}
    scene.bench.check(scene.card, scene.disk.mount, scene.archive, truth=truth)


def a_disk_that_hangs_is_noticed_while_bytes_of_the_same_file_move_on_another(scene):
    """One hangs when it is read back, and the other goes on with that, slowly, for longer than this may take."""
    slow = {"op": "read", "path": "*.part", "act": "slow", "seconds": 1.0, "count": 0}
    scene.second.rules(slow)
    scene.disk.rules({"op": "read", "path": "*.part", "at": 20 << 20, "act": "hang", "count": 0})
    both, events = (scene.disk.mount, "--also", scene.second.mount), scene.bench.folder / "events"
    running = scene.shell.start("copy", scene.card.folder, *both, "--events", events)
    scene.until(lambda: scene.disk.hits(act="hang"), 60)

    with scene.frozen():
        began, read = time.monotonic(), len(scene.second.hits(act="slow"))
        scene.until(lambda: f"{scene.disk.mount}: the destination is not there" in events.read_text(), PAUSE)
        took = time.monotonic() - began
        moved = len(scene.second.hits(act="slow")) - read
        assert moved > took / 2, "nothing moved elsewhere: this proves nothing"
        scene.second.rules()
        ended = running.end(60)
        assert (ended.code, ended.document["state"]) == (8, "paused(network)"), ended
        states = {each["root"]: each["state"] for each in ended.document["destinations"]}
        assert states == {str(scene.disk.mount): "paused(network)", str(scene.second.mount): "completed"}
    scene.disk.rules()
    assert scene.shell.run("resume").code == 0
    truth = {one.mount: one.backing for one in (scene.disk, scene.second)}
    scene.bench.check(scene.card, *truth, truth=truth)


def ctrl_c_ends_a_session_whose_worker_hangs(scene):
    running = scene.begun(scene.disk.mount)
    with scene.frozen():
        began = time.monotonic()
        running.interrupt()
        ended = running.end(60)
        assert time.monotonic() - began < PAUSE
        assert (ended.code, ended.document["state"]) == (6, "paused(user)"), ended
    scene.disk.rules()
    assert scene.shell.run("resume").code == 0
    scene.bench.check(scene.card, scene.disk.mount, truth={scene.disk.mount: scene.disk.backing})


def ctrl_c_twice_ends_it_at_once(scene):
    running = scene.begun(scene.disk.mount)
    with scene.frozen():
        running.interrupt()
        time.sleep(1.0)
        began = time.monotonic()
        running.interrupt()
        _, errors = running.process.communicate(timeout=30)
        assert time.monotonic() - began < 5.0
        assert running.process.returncode in (6, -signal.SIGINT), (running.process.returncode, errors)
    scene.disk.rules()
    assert scene.shell.run("resume").code == 0


def ctrl_c_ends_a_session_that_waits(scene):
    running = scene.begun(scene.disk.mount, "--wait", "--events", scene.bench.folder / "events")
    with scene.frozen():
        scene.until(lambda: '"event": "waiting"' in (scene.bench.folder / "events").read_text(), PAUSE + 5)
        began = time.monotonic()
        running.interrupt()
        ended = running.end(60)
        assert time.monotonic() - began < 5.0
        assert (ended.code, ended.document["state"]) == (6, "paused(user)"), ended
        assert str(scene.disk.mount) in ended.document["problem"]
    scene.disk.rules()
    assert scene.shell.run("resume").code == 0
    scene.bench.check(scene.card, scene.disk.mount, truth={scene.disk.mount: scene.disk.backing})


def a_session_pauses_though_its_own_process_cannot_end(scene):
    card = scene.bench.card(FILES, scene.disk.backing / "CARD", scene.disk.mount / "CARD")
    scene.disk.rules({"op": "readdir", "path": "/CARD/CLIP", "act": "hang", "count": 0})
    running = scene.shell.start("copy", card.folder, scene.archive)
    scene.until(lambda: scene.disk.hits(act="hang"))
    child = running.supervisor
    with scene.frozen():
        began = time.monotonic()
        ended = running.end(60)
        assert time.monotonic() - began < PAUSE
        assert (ended.code, ended.document["state"]) == (8, "paused(network)"), ended
        assert str(card.folder) in ended.document["problem"]
        assert child != running.process.pid
        assert os.path.exists(f"/proc/{child}"), "the kernel kept nobody: this proves nothing"
    scene.disk.rules()
    assert scene.shell.run("resume").code == 0
    scene.bench.check(card, scene.archive, truth={scene.archive: scene.archive})
    scene.until(lambda: not os.path.exists(f"/proc/{child}"))


SCENES = [
    a_session_pauses_though_its_own_process_cannot_end,
    a_session_is_not_begun_with_a_dead_disk,
    a_link_is_no_way_around_the_roll_call_and_the_attendant,
    a_session_is_not_taken_up_with_a_dead_disk,
    a_disk_that_hangs_is_left_and_the_other_gets_everything,
    a_disk_that_hangs_is_noticed_while_bytes_of_the_same_file_move_on_another,
    ctrl_c_ends_a_session_whose_worker_hangs,
    ctrl_c_twice_ends_it_at_once,
    ctrl_c_ends_a_session_that_waits,
]


@pytest.fixture
def played(faulty_disk, make_bench):
    """All scenes, at the same time; what came of each."""
    second = a_disk_that_hangs_is_noticed_while_bytes_of_the_same_file_move_on_another
    made = [
        (play, Scene(make_bench(), faulty_disk(play.__name__), faulty_disk("second") if play is second else None))
        for play in SCENES
    ]
    for _, scene in made:
        (scene.disk.mount / "CARD").mkdir()
    with ThreadPoolExecutor(len(made)) as pool:
        outcomes = {play.__name__: pool.submit(play, scene) for play, scene in made}
    yield outcomes
    for _, scene in made:
        scene.disk.thaw()
        scene.shell.close()


def test_nothing_waits_for_a_disk_that_hangs(played, tally):
    wrong = {name: outcome.exception() for name, outcome in played.items() if outcome.exception()}
    tally["scenes"] += len(played)

    if wrong:
        raise ExceptionGroup("scenes that came out otherwise", list(wrong.values()))


# The process that is waited for, where the one that works may be kept by the kernel


@pytest.fixture
def halfway(faulty_disk, make_bench):
    """A copy to a disk that may hang, in the middle of its big file."""
    scene = Scene(make_bench(), faulty_disk())
    running = scene.begun(scene.disk.mount)
    assert running.supervisor != running.process.pid
    yield scene, running
    scene.disk.rules()
    scene.shell.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_process_that_was_started_is_passed_on(halfway, number):
    scene, running = halfway
    os.kill(running.process.pid, number)
    time.sleep(0.5)
    scene.disk.rules()

    ended = running.end()

    assert (ended.code, ended.document["state"]) == (6, "paused(user)"), ended
    assert "Once more to stop at once" in ended.errors


def test_who_is_stopped_by_ctrl_z_goes_on(halfway, until):
    scene, running = halfway
    child = running.supervisor
    os.kill(running.process.pid, signal.SIGTSTP)

    def state(pid):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    until(lambda: state(running.process.pid) == state(child) == "T", "both stopped")
    scene.disk.rules()
    os.kill(running.process.pid, signal.SIGCONT)

    assert running.end().code == 0
    scene.bench.check(scene.card, scene.disk.mount)


@pytest.mark.parametrize("whom", ["the one that was started", "the one that works"])
def test_a_kill_of_either_ends_both(halfway, whom, until):
    scene, running = halfway
    worker = running.supervisor
    os.kill(running.process.pid if whom == "the one that was started" else worker, signal.SIGKILL)
    scene.disk.rules()

    running.process.communicate(timeout=20)

    assert running.process.returncode == -signal.SIGKILL
    until(lambda: not running.alive([worker]), "both ended")
    assert scene.shell.run("resume").code == 0
    scene.bench.check(scene.card, scene.disk.mount)


def test_a_session_on_plain_disks_has_no_process_more(make_bench, tmp_path, request):
    bench = make_bench()
    request.addfinalizer(bench.shell.close)
    card = bench.card({"A.MOV": 300 << 20}, tmp_path / "CARD", tmp_path / "CARD")
    (tmp_path / "archive").mkdir()
    running = bench.shell.start("copy", card.folder, tmp_path / "archive")
    running.catch(card.folder / "A.MOV").thaw()

    assert running.supervisor == running.process.pid
    assert running.end().code == 0


def test_a_full_disk_is_waited_for_and_gone_on_with(mounts, make_bench, tmp_path, until, request):
    bench = make_bench()
    card = bench.card({"A.JPG": 10_000, "B.MOV": 30 << 20}, tmp_path / "CARD", tmp_path / "CARD")
    disk = mounts.tmpfs(tmp_path / "disk", "size=60m")
    filler = disk / "filler"
    filler.write_bytes(bytes(45 << 20))
    events = tmp_path / "events"
    request.addfinalizer(bench.shell.close)
    running = bench.shell.start("copy", card.folder, disk, "--wait", "--events", events)
    until(lambda: events.exists() and '"event": "waiting"' in events.read_text(), "the event that says so")
    assert str(disk) in events.read_text().splitlines()[-1]
    assert running.process.poll() is None

    filler.unlink()

    ended = running.end(30)
    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    bench.check(card, disk)
