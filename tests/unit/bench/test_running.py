"""Running contenders: what is made, what is counted, what is left behind."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ingest import engine
from ingest.bench import inprocess, ours, peers, records, suite, workloads
from ingest.bench.bay import PREFIX, bay, remove
from ingest.bench.commands import timed
from ingest.bench.contenders import Contender, Course, race
from ingest.bench.memory import Peak, peak_of
from ingest.bench.results import Kind, Step
from ingest.bench.suite import reference
from ingest.bench.workloads import Workload, plant
from ingest.cli.commands import bench
from ingest.errors import IngestError, UsageError


def test_a_tree_has_the_files_it_says_and_no_two_are_alike(tmp_path):
    plant(tmp_path / "CARD", Workload("w", workloads.PER_FOLDER + 2, 100))

    files = workloads.files_below(tmp_path / "CARD")
    assert len(files) == workloads.PER_FOLDER + 2
    assert {path.stat().st_size for path in files} == {100}
    assert len({path.read_bytes() for path in files}) == len(files)
    assert len({path.parent for path in files}) == 2


def test_a_file_larger_than_a_block_is_whole(tmp_path):
    plant(tmp_path / "CARD", Workload("w", 1, workloads.BLOCK + 5))

    (path,) = workloads.files_below(tmp_path / "CARD")
    assert path.stat().st_size == workloads.BLOCK + 5


@pytest.mark.parametrize(
    ("file_bytes", "shown"), [(0, "0 bytes"), (1500, "1,500 bytes"), (16 << 10, "16 KiB"), (4 << 30, "4,096 MiB")]
)
def test_a_workload_is_told_in_the_largest_unit_that_fits(file_bytes, shown):
    assert Workload("w", 20_000, file_bytes).shown == f"20,000 x {shown}"


def test_sidecars_lie_beside_their_clips_and_count(tmp_path):
    workload = Workload("w", 3, 5000, (("XML", 40), ("THM", 16 << 10)))
    plant(tmp_path / "CARD", workload)

    files = workloads.files_below(tmp_path / "CARD")
    sizes = {"MP4": 5000, "XML": 40, "THM": 16 << 10}
    assert [(path.name, path.stat().st_size) for path in files] == [
        (f"C{number:06d}.{suffix}", sizes[suffix]) for number in range(3) for suffix in sorted(sizes)
    ]
    assert workload.entries == len(files)
    assert workload.bytes == sum(path.stat().st_size for path in files)
    assert workload.shown == "3 x 5,000 bytes, each with 40 bytes and 16 KiB"


@pytest.mark.parametrize("size", workloads.TREES)
def test_cards_are_measured_only_where_they_are_named(size):
    assert [one.name for one in workloads.choose((), size, None, None)] == ["big", "clips", "small"]
    assert [one.name for one in workloads.choose(("cards",), size, None, None)] == ["cards"]


def test_rounds_are_interleaved_and_the_first_does_not_count(tmp_path):
    order, card = [], tmp_path / "CARD"
    card.mkdir()

    def contender(name):
        def measure(course):
            assert os.listdir(course.folder) == []
            (course.folder / "left").write_bytes(b"")
            order.append(name)
            return (Step("copy", float(len(order))),)

        return Contender(name, Kind.PEER, measure)

    found = race([contender("a"), contender("b")], Course(card, tmp_path / "run"), 3, warm_up=True, tell=lambda _: None)

    rounds = [set(order[start : start + 2]) for start in range(0, len(order), 2)]
    assert rounds == [{"a", "b"}] * 4
    assert [one.name for one in found] == ["a", "b"]
    assert sorted(each for one in found for each in one.seconds) == [3, 4, 5, 6, 7, 8]
    assert os.listdir(tmp_path) == ["CARD"]


def test_cpu_seconds_are_those_of_all_processes(tmp_path):
    burn = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.2: pass"
    both = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); {burn}"

    step = timed("burn", [sys.executable, "-c", both], folder=tmp_path)

    assert step.cpu >= 0.4
    assert step.seconds >= 0.4


def test_a_command_that_fails_says_why(tmp_path):
    with pytest.raises(IngestError, match="ended with 3: no such card"):
        timed("x", ["sh", "-c", "echo no such card >&2; exit 3"], folder=tmp_path)
    with pytest.raises(IngestError, match="cannot be started"):
        timed("x", [tmp_path / "nobody"], folder=tmp_path)


def test_a_command_that_is_interrupted_is_ended_with_its_children(tmp_path, monkeypatch):
    def interrupted(process, *_):
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().strip():
            time.sleep(0.01)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        timed("x", ["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait"], folder=tmp_path)

    child = int((tmp_path / "child").read_text())
    limit = time.monotonic() + 10
    while running(child) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not running(child)


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_bay_is_removed_whatever_happens_in_it(tmp_path):
    def fail():
        with bay(tmp_path, 1, 1) as folder:
            assert folder.name.startswith(".ingest-bench-")
            (folder / "deep" / "er").mkdir(parents=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert os.listdir(tmp_path) == []


def test_a_bay_that_a_kill_left_in_a_checkout_is_not_committed():
    repository = Path(__file__).parents[3]
    if not (repository / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no checkout")

    ignored = subprocess.run(["git", "check-ignore", "-q", f"{PREFIX}0a1b2c3d/CARD"], cwd=repository, check=False)

    assert ignored.returncode == 0


def test_a_bay_may_be_used_outside_of_the_main_thread(tmp_path):
    seen = []

    def use():
        with bay(tmp_path, 1, 1) as folder:
            seen.append(folder.is_dir())

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [True]


def test_a_disk_without_room_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(IngestError, match="no room"), bay(tmp_path, 1, 1 << 60):
        raise AssertionError

    assert os.listdir(tmp_path) == []


def test_the_peak_of_memory_is_of_all_processes_together(tmp_path):
    hold = "import time; block = b'x' * (40 << 20); time.sleep(0.8)"
    both = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {hold!r}]); {hold}; p.wait()"

    peak = peak_of([sys.executable, "-c", both], {})

    assert peak.rss >= peak.pss > 80 << 20
    assert peak.processes == 2


def test_each_choice_of_options_has_a_name_of_its_own_and_says_it_on_the_command_line():
    found = ours.choices(["read", "mmap"], [64 << 10, 4 << 20], [1, 2, 2], [1, 2])

    assert len(found) == len({choice.name for choice in found}) == 16
    assert found[0].name == "ingest read 64KiB 1 worker"
    assert found[0].arguments() == ["--read-mode", "read", "--buffer", "65536", "--workers", "1"]
    assert [choice.name for choice in ours.choices([], [], [], [])] == ["ingest"]
    assert ours.choices([], [], [], [])[0].arguments() == []


def test_on_a_machine_of_many_cores_the_engine_gets_as_many_threads_as_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    plant(tmp_path / "CARD", workload := Workload("w", 1, 1000))

    one, many = inprocess.contenders(workload, ["read"], [64 << 10], ())

    assert (one.name, many.name) == ("engine read 64KiB 1 thread", f"engine read 64KiB {engine.THREADS_MAX} threads")
    (tmp_path / "run").mkdir()
    many.measure(Course(tmp_path / "CARD", tmp_path / "run", cold=False))


@pytest.mark.parametrize("threads", [(1, engine.THREADS_MAX + 1), (0,)])
def test_more_threads_than_the_engine_takes_are_refused_before_anything_is_made(tmp_path, threads):
    asked = suite.Request("small", (Workload("w", 1, 1000),), (), (), (), tmp_path, engine=True, threads=threads)

    with pytest.raises(UsageError, match=f"{threads[-1]} threads"):
        suite.check(asked)


def test_options_that_only_the_evidence_tries_are_named_and_given_too():
    choice = ours.Choice(threads=2, flush="each", cache="keep", destinations=2)

    assert choice.name == "ingest 2 threads flush each cache keep 2 destinations"
    assert choice.arguments() == ["--threads", "2", "--flush", "each", "--cache", "keep"]


def test_the_help_says_how_much_room_small_files_take_while_they_are_kept(tmp_path, monkeypatch):
    small = workloads.TREES["full"]["small"]
    asked = suite.Request("full", (small,), (), (ours.Choice(),), tuple(peers.PEERS.values()), tmp_path)
    wanted = []
    monkeypatch.setattr(suite, "has_room", lambda _, files, size: wanted.append((files, size)) or True)

    assert suite.keeps(asked, small)

    copying = len(asked.contenders(small)) - 1  # b3sum makes no copy
    used = (asked.runs + asked.warm_up) * copying * small.bytes
    ((files, room),) = wanted
    assert files == 6 * 7 * 20_000
    told = bench.run.__doc__
    assert f"some {used / 1e9:.0f} of" in told
    assert f"{math.ceil(room / 1e9)} GB" in told


@pytest.mark.parametrize("warm_up", [True, False])
def test_records_have_a_round_that_does_not_count_too(tmp_path, monkeypatch, warm_up):
    made = []

    def peak_of(command, _):
        made.append(int(command[-2]))
        told = {"seconds": float(len(made)), "peak_bytes": len(made)}
        (command[-1] / records.TOLD).write_text(json.dumps(told))
        return Peak(rss=0, pss=len(made), processes=1, seconds=0.0)

    monkeypatch.setattr(records, "peak_of", peak_of)

    found = records.measure_records([10, 20], tmp_path, 2, warm_up=warm_up, tell=lambda _: None)

    first = 3 if warm_up else 1
    assert sorted(made) == [10] * (2 + warm_up) + [20] * (2 + warm_up)
    assert sorted(each for one in found for each in one.seconds) == list(range(first, first + 4))
    assert sorted(each for one in found for each in one.peak_bytes) == list(range(first, first + 4))


def test_equal_work_is_the_reference_where_it_is_measured():
    inside, equal, rsync = ("ingest", Kind.INGEST), ("equal", Kind.PEER), ("rsync", Kind.PEER)

    assert reference([inside, rsync, equal]) == "equal"
    assert reference([inside, rsync]) == "rsync"
    assert reference([inside]) == "ingest"


@pytest.mark.parametrize("name", peers.PEERS)
def test_every_peer_brings_the_whole_card(tmp_path, name):
    peer = peers.PEERS[name]
    if peer.missing is not None:
        pytest.skip(f"{peer.missing} is not installed")
    plant(tmp_path / "CARD", Workload("w", 3, 1000))
    (tmp_path / "run").mkdir()

    steps = peer.measure(Course(tmp_path / "CARD", tmp_path / "run"))

    assert sum(step.seconds for step in steps) > 0
    assert name == "b3sum" or all(
        (tmp_path / "run/target" / path.relative_to(tmp_path)).read_bytes() == path.read_bytes()
        for path in workloads.files_below(tmp_path / "CARD")
    )


def test_equal_work_finds_a_copy_that_is_not_equal(tmp_path, monkeypatch):
    if peers.PEERS["equal"].missing is not None:
        pytest.skip("b3sum is not installed")
    plant(tmp_path / "CARD", Workload("w", 3, 1000))
    (tmp_path / "run").mkdir()

    def broken(target):
        workloads.files_below(target)[0].write_bytes(b"x" * 1000)
        return Step("drop", 0.0)

    monkeypatch.setattr(peers, "_drop", broken)
    with pytest.raises(IngestError, match="ended with 1"):
        peers.PEERS["equal"].measure(Course(tmp_path / "CARD", tmp_path / "run"))


def test_a_tree_of_which_something_goes_by_itself_is_removed_all_the_same(tmp_path, monkeypatch):
    """A process that was told to stop removes its own files meanwhile."""
    folder, real, calls = tmp_path / "ours", shutil.rmtree, []
    folder.mkdir()
    (folder / "a").touch()

    def gone_under_it(path):
        calls.append(path)
        if len(calls) == 1:
            raise FileNotFoundError(2, "No such file or directory", "b")
        real(path)

    monkeypatch.setattr(shutil, "rmtree", gone_under_it)
    remove(folder)

    assert (len(calls), folder.exists()) == (2, False)
    remove(folder)  # of what is not there nothing is left to be removed
