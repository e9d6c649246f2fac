from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from ingest import engine
from ingest.errors import IngestError
from ingest.workers.messages import Adopt, Discard, Folders, Place, Prove, Publish, Setup, Stage
from ingest.workers.process import quiet_start
from ingest.workers.supervisor import DEPTH, Answer, Died, Supervisor
from ingest.workers.worker import Worker

BIG = 256 << 20


def running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as line:
            return line.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends in time."""
    limit = time.monotonic() + seconds
    while running(pid):
        if time.monotonic() > limit:
            return False
        threading.Event().wait(0.01)
    return True


def sparse(tree, name: bytes, size: int) -> None:
    """A large file that costs nothing."""
    path = tree.put(name)
    os.truncate(path, size)


# Asking and hearing back


def test_files_are_staged_named_proven_and_found_again(floor):
    f = floor(roots=2)
    f.card.put(b"DCIM/a.mp4", b"aaa")
    f.card.put(b"b.mp4", b"")

    stage = f.stage(1, b"DCIM/a.mp4", b"b.mp4", roots=(0, 1))
    staged = f.ask(stage).staged
    digests, _, _, _, source_faults, copies, *_ = staged
    assert digests == engine.blake3(b"aaa") + engine.blake3(b"")
    assert source_faults == {}
    assert [faults for *_, faults in copies] == [{}, {}]

    for root in (0, 1):
        reply = f.ask(f.publish(2 + root, stage, root))
        methods, faults = reply.published
        assert set(methods) <= {"noreplace", "link"}
        assert (len(methods), faults) == (2, {})
        assert f.archives[root].get(b"CARD/DCIM/a.mp4") == b"aaa"

    proofs = f.ask(Prove(4, None, 0, [1, 2], [b"CARD/DCIM/a.mp4", b"CARD/b.mp4"])).proofs
    assert [proof[0] for proof in proofs] == [engine.blake3(b"aaa"), engine.blake3(b"")]
    (source,) = f.ask(Prove(5, 0, None, [1], [b"DCIM/a.mp4"])).proofs
    assert (source[0], source[3]) == (engine.blake3(b"aaa"), None)


def test_folders_are_made_and_get_their_times(floor):
    f = floor()

    reply = f.ask(Folders(1, 0, [b"CARD/a/b", b"CARD/a"], [1_000_000_000, 2_000_000_000]))

    assert reply.faults == [None, None]
    assert os.stat(f.archives[0].path / "CARD/a/b").st_mtime_ns == 1_000_000_000
    assert os.stat(f.archives[0].path / "CARD/a").st_mtime_ns == 2_000_000_000


def test_staging_files_are_discarded(floor):
    f = floor()
    f.archives[0].put(b".ingest/staging/x/1.part", b"x")

    assert f.ask(Discard(1, 0, [b".ingest/staging/x/1.part", b".ingest/staging/x/none"])).faults == [None, None]
    assert f.archives[0].get(b".ingest/staging/x/1.part") is None


def test_replies_tell_how_long_it_took_and_who_did_it(floor):
    f = floor()
    f.ask(f.discard(1))

    (answer,) = f.events
    assert isinstance(answer, Answer)
    assert answer.worker == 0
    assert answer.reply.seconds > 0


def test_requests_are_shared_out(floor):
    f = floor(2)
    for number in range(1, 5):
        sparse(f.card, b"%d" % number, 64 << 20)
    stages = [
        replace(f.stage(number, b"%d" % number), staging=[[b".ingest/staging/x/%d" % number]]) for number in range(1, 5)
    ]
    for stage in stages:
        f.supervisor.submit(stage)
    assert not f.supervisor.hungry
    f.until(lambda: len(f.events) == 4)

    assert {event.worker for event in f.events} == {0, 1}
    assert f.supervisor.hungry
    assert f.supervisor.idle
    assert f.supervisor.pending == 0


def test_a_worker_is_hungry_until_one_request_waits_behind_another(floor):
    f = floor()
    f.card.put(b"a", b"a")
    assert (f.supervisor.hungry, f.supervisor.idle, f.supervisor.count) == (True, True, 1)

    for number in range(DEPTH):
        assert f.supervisor.hungry
        f.supervisor.submit(replace(f.stage(number, b"a"), staging=[[b".ingest/staging/x/%d" % number]]))
    assert not f.supervisor.hungry
    f.until(lambda: len(f.events) == DEPTH)


def test_names_are_given_while_a_large_file_is_copied(floor):
    f = floor()
    f.card.put(b"small", b"x")
    sparse(f.card, b"large", 2 * BIG)
    small = f.stage(1, b"small")
    f.ask(small)
    large = replace(f.stage(2, b"large"), staging=[[b".ingest/staging/x/large"]])
    f.supervisor.submit(large)
    f.ask(f.publish(3, small))

    assert [e.request.id for e in f.events if isinstance(e, Answer)] == [1, 3]
    assert f.archives[0].get(b"CARD/small") == b"x"
    f.supervisor.cancel()


def test_bytes_are_counted_as_they_move(floor):
    f = floor(2)
    f.card.put(b"a", b"x" * 100_000)
    f.ask(f.stage(1, b"a"))

    assert f.supervisor.counters() == (100_000, 100_000, 100_000)
    assert f.supervisor.current() == []


# Faults and refusals


def test_a_fault_of_one_file_hides_no_other(floor):
    f = floor()
    f.card.put(b"good", b"x")
    f.card.put(b"gone", b"x")
    stage = f.stage(1, b"gone", b"good")
    os.unlink(f.card.path / "gone")

    *_, source_faults, copies = f.ask(stage).staged[:6]

    assert {at: (fault[0], fault[2]) for at, fault in source_faults.items()} == {0: ("io", 2)}
    assert [method is None for method in copies[0][0]] == [True, False]


def test_a_source_that_is_gone_is_told_with_its_faults(floor):
    f = floor()
    f.card.put(b"a", b"x")
    stage = f.stage(1, b"a")
    f.ask(stage)
    f.card.path.rename(f.card.path.with_name("pulled"))
    os.unlink(f.card.path.with_name("pulled") / "a")

    reply = f.ask(replace(stage, id=2))

    assert [(g.source, g.root) for g in reply.gone] == [(0, None)]


def test_a_root_that_is_another_one_refuses_everything(floor):
    f = floor()
    f.archives[0].path.rename(f.archives[0].path.with_name("moved"))
    f.archives[0].path.mkdir()

    for number, request in enumerate(
        [f.discard(1), Publish(2, 0, [1], [b"x"], [b"y"]), Folders(3, 0, [b"a"], [-1])], 1
    ):
        reply = f.ask(replace(request, id=number))
        assert reply.error is not None
        assert [(g.source, g.root) for g in reply.gone] == [(None, 0)]
    assert list(f.archives[0].path.iterdir()) == []


def test_a_name_is_never_given_on_a_disk_that_took_the_root_s_place(floor):
    f = floor()
    f.card.put(b"a", b"x")
    stage = f.stage(1, b"a")
    f.ask(stage)
    moved = f.archives[0].path.with_name("moved")
    f.archives[0].path.rename(moved)
    f.archives[0].path.mkdir()

    reply = f.ask(f.publish(2, stage))

    assert reply.error is not None
    assert not (moved / "CARD").exists()
    assert list(f.archives[0].path.iterdir()) == []


# Adopting


@pytest.fixture
def adopt(floor):
    """Asks for item 1, which should be ``right``, to be adopted."""

    def ask(*, name: bytes | None = None, staging: bytes | None = None, **more: object):
        f = floor()
        if name is not None:
            f.archives[0].put(b"CARD/a", name)
        if staging is not None:
            f.archives[0].put(b".ingest/staging/x/1.part", staging)
        (found,) = f.ask(
            Adopt(1, 0, [1], [b".ingest/staging/x/1.part"], [b"CARD/a"], [engine.blake3(b"right")])
        ).adopted
        return f, found

    return ask


def test_a_name_that_holds_the_bytes_is_adopted(adopt):
    f, (outcome, method, publish, fault) = adopt(name=b"right", staging=b"right")
    assert (outcome, method is not None, publish, fault) == ("adopted", True, None, None)
    assert f.archives[0].get(b".ingest/staging/x/1.part") == b"right"


def test_a_staging_file_that_still_holds_the_bytes_gets_its_name(adopt):
    f, (outcome, method, publish, fault) = adopt(staging=b"right")
    assert (outcome, method is not None, publish is not None, fault) == ("published", True, True, None)
    assert f.archives[0].get(b"CARD/a") == b"right"
    assert f.archives[0].get(b".ingest/staging/x/1.part") is None


@pytest.mark.parametrize("staging", [None, b"wrong", b"righ"])
def test_what_a_power_cut_took_is_lost(adopt, staging):
    f, (outcome, *_) = adopt(staging=staging)
    assert outcome == "lost"
    assert f.archives[0].get(b"CARD/a") is None


@pytest.mark.parametrize("staging", [None, b"right"])
def test_a_name_with_other_bytes_is_taken_and_left_alone(adopt, staging):
    f, (outcome, *_) = adopt(name=b"theirs", staging=staging)
    assert outcome == "taken"
    assert f.archives[0].get(b"CARD/a") == b"theirs"
    assert f.archives[0].get(b".ingest/staging/x/1.part") == staging


def test_a_folder_under_the_name_has_taken_it(floor):
    f = floor()
    (f.archives[0].path / "CARD/a").mkdir(parents=True)
    f.archives[0].put(b"s", b"right")
    (found,) = f.ask(Adopt(1, 0, [1], [b"s"], [b"CARD/a"], [engine.blake3(b"right")])).adopted
    assert found[0] == "taken"


def test_a_link_under_the_name_has_taken_it(floor):
    f = floor()
    f.archives[0].put(b"CARD/b", b"right")
    (f.archives[0].path / "CARD/a").symlink_to("b")
    f.archives[0].put(b"s", b"right")
    (found,) = f.ask(Adopt(1, 0, [1], [b"s"], [b"CARD/a"], [engine.blake3(b"right")])).adopted
    assert found[0] == "taken"


def test_a_batch_is_adopted_name_by_name_in_its_order(floor):
    f = floor()
    archive = f.archives[0]
    for name, content in {b"A/named": b"1", b"B/theirs": b"other", b"file": b"no folder", b"A/too": b"8"}.items():
        archive.put(name, content)
    (archive.path / "A/folder").mkdir()
    paths = [b"B/new", b"A/named", b"B/theirs", b"B/gone", b"file/below", b"A/folder", b"C/new", b"A/too", b"B/torn"]
    held = [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"8", b"9"]
    staging = [b".ingest/staging/x/%d.part" % number for number in range(len(paths))]
    for at, content in {0: b"0", 2: b"2", 4: b"4", 5: b"5", 6: b"6", 8: b"torn"}.items():
        archive.put(staging[at], content)

    items = list(range(11, 11 + len(paths)))
    found = f.ask(Adopt(1, 0, items, staging, paths, [engine.blake3(bytes_) for bytes_ in held])).adopted

    outcomes = [outcome for outcome, *_ in found]
    assert outcomes == [
        "published", "adopted", "taken", "lost", "failed", "taken", "published", "adopted", "lost",
    ]  # fmt: skip
    for outcome, method, publish, fault in found:
        assert (method is not None) == (outcome in ("adopted", "published"))
        assert (publish is not None) == (outcome == "published")
        assert fault is None or outcome not in ("adopted", "published")
    assert [found[3][3][2], found[4][3][2], found[8][3]] == [errno.ENOENT, errno.ENOTDIR, None]
    assert [archive.get(paths[at]) for at in (0, 1, 2, 3, 6, 7, 8)] == [b"0", b"1", b"other", None, b"6", b"8", None]
    assert [archive.get(staging[at]) for at in (0, 2, 4, 6, 8)] == [None, b"2", b"4", None, b"torn"]


def test_a_batch_is_adopted_in_a_few_calls(monkeypatch, tree):
    """Not a call, and a flush of every folder above, for each file."""
    asked = []

    def noted(name):
        real = getattr(engine, name)

        def call(*args, **options):
            asked.append((name, len(args[1])))
            return real(*args, **options)

        return call

    for name in ("prove", "settle", "publish"):
        monkeypatch.setattr(engine, name, noted(name))
    archive = tree("archive")
    for number in range(8):
        archive.put((b"CARD/%d" if number % 2 else b"%d.part") % number, b"%d" % number)
    numbers = list(range(8))
    request = Adopt(
        1, 0, numbers, [b"%d.part" % number for number in numbers], [b"CARD/%d" % number for number in numbers],
        [engine.blake3(b"%d" % number) for number in numbers],
    )  # fmt: skip

    worker = Worker(None, engine.Page(), Setup((), (), 1 << 20))
    found = worker._adopt(engine.Root(archive.name), request)

    assert [outcome for outcome, *_ in found] == ["published", "adopted"] * 4
    assert asked == [("prove", 8), ("settle", 4), ("prove", 4), ("publish", 4)]


def test_stopping_before_staging_files_are_read_gives_none_of_them_up(monkeypatch, tree):
    archive, page, real = tree("archive"), engine.Page(), engine.prove
    for name in (b"0.part", b"1.part"):
        archive.put(name, b"right")

    def prove(*args, **options):
        proofs = real(*args, **options)
        page.cancel()
        return proofs

    monkeypatch.setattr(engine, "prove", prove)
    digests = [engine.blake3(b"right")] * 2
    worker = Worker(None, page, Setup((), (), 1 << 20))
    request = Adopt(1, 0, [1, 2], [b"0.part", b"1.part"], [b"CARD/0", b"CARD/1"], digests)
    found = worker._adopt(engine.Root(archive.name), request)

    assert [(outcome, fault[0]) for outcome, _, _, fault in found] == [("failed", "cancelled")] * 2


def test_stopping_while_adopting_gives_nothing_up(floor):
    f = floor()
    f.archives[0].put(b"s", b"right")
    f.ask(f.discard(1))
    f.supervisor.cancel()

    (found,) = f.ask(Adopt(2, 0, [1], [b"s"], [b"CARD/a"], [engine.blake3(b"right")])).adopted

    assert found[0] != "lost"
    assert b"right" in (f.archives[0].get(b"s"), f.archives[0].get(b"CARD/a"))


# Workers that die


def test_a_killed_worker_is_told_with_what_it_had_on_its_hands(floor):
    f = floor()
    sparse(f.card, b"large", 4 * BIG)
    stage = replace(f.stage(1, b"large"), items=[41])
    f.supervisor.submit(stage)
    f.until(lambda: f.supervisor.current() == [41])

    os.kill(f.pids()[0], signal.SIGKILL)

    died = f.death()
    assert (died.worker, died.requests, died.item) == (0, (stage,), 41)
    assert (died.exit_code, died.stalled, died.bus_error) == (-signal.SIGKILL, False, False)


def test_another_worker_takes_a_dead_one_s_place(floor):
    f = floor(2)
    before = f.pids()
    os.kill(before[0], signal.SIGKILL)
    f.death()

    assert f.supervisor.count == 2
    assert before[1] in f.pids()
    assert before[0] not in f.pids()
    assert f.ask(f.discard(1)).faults == [None]


def test_a_bus_error_is_known_as_one(floor):
    f = floor()
    f.ask(f.discard(1))
    os.kill(f.pids()[0], signal.SIGBUS)

    assert f.death().bus_error


def test_what_a_worker_said_before_it_died_is_heard(floor):
    f = floor()
    f.supervisor.submit(f.discard(1))
    limit = time.monotonic() + 30
    while f.supervisor._inbox.empty():
        assert time.monotonic() < limit
        threading.Event().wait(0.01)
    os.kill(f.pids()[0], signal.SIGKILL)

    died = f.death()
    assert died.requests == ()
    assert any(isinstance(e, Answer) and e.request.id == 1 for e in f.events)


def test_bytes_that_a_dead_worker_moved_stay_counted(floor):
    f = floor()
    f.card.put(b"a", b"x" * 100_000)
    f.ask(f.stage(1, b"a"))
    os.kill(f.pids()[0], signal.SIGKILL)
    f.death()

    assert f.supervisor.counters() == (100_000, 100_000, 100_000)


def test_bytes_that_are_moved_again_are_not_counted_twice(floor):
    f = floor()
    f.card.put(b"a", b"x" * 100_000)
    f.ask(f.stage(1, b"a"))
    # What a worker that dies in the middle of its next file leaves on its page.
    os.kill(f.pids()[0], signal.SIGSTOP)
    for word in (engine.READ, engine.COPIED, engine.VERIFIED):
        f.supervisor._slots[0].words[word] += 70_000
    assert f.supervisor.counters() == (170_000, 170_000, 170_000)
    os.kill(f.pids()[0], signal.SIGKILL)
    f.death()

    assert f.supervisor.counters() == (100_000, 100_000, 100_000)


def test_what_every_thread_of_a_worker_works_on_is_known(floor):
    f = floor(2)
    first, second = (slot.words for slot in f.supervisor._slots)
    first[engine.CURRENT], first[engine.CURRENT + 2], second[engine.CURRENT + 1] = 42, 43, 44
    assert f.supervisor.current() == [41, 42, 43]
    second[engine.CURRENT] = 43
    assert f.supervisor.current() == [41, 42, 43], "each once"
    first[engine.CURRENT] = first[engine.CURRENT + 2] = 0
    assert f.supervisor.current() == [42, 43]


@pytest.mark.parametrize(("words", "blamed"), [((0, 0), None), ((7, 0), 6), ((0, 7), 6), ((7, 7), 6), ((7, 8), None)])
def test_a_worker_that_dies_over_several_items_blames_none(floor, words, blamed):
    f = floor()
    f.ask(f.discard(1))
    slot = f.supervisor._slots[0]
    os.kill(slot.process.pid, signal.SIGSTOP)
    slot.words[engine.CURRENT], slot.words[engine.CURRENT + 3] = words
    os.kill(slot.process.pid, signal.SIGKILL)

    assert f.death().item == blamed


def test_a_bug_in_a_worker_ends_the_worker(floor):
    f = floor()
    f.card.put(b"a", b"x")
    stage = replace(f.stage(1, b"a"), mode="nonsense")
    f.supervisor.submit(stage)

    died = f.death()

    assert died.requests == (stage,)
    assert died.exit_code not in (0, None)


def test_workers_that_cannot_even_start_end_the_session(tree, monkeypatch):
    setup = Setup((), (), 1 << 20)
    monkeypatch.setattr("ingest.workers.process.live", print)

    def wait_for_ever() -> None:
        limit = time.monotonic() + 60
        with Supervisor(setup, 1) as supervisor:
            while time.monotonic() < limit:
                supervisor.poll(1.0)

    with pytest.raises(IngestError, match="as soon as they start"):
        wait_for_ever()


# Workers that stand still


def test_a_worker_that_stands_still_is_replaced(floor):
    f = floor(stall_copy=0.3)
    f.card.put(b"a", b"x")
    f.ask(f.stage(1, b"a"))
    (pid,) = f.pids()
    os.kill(pid, signal.SIGSTOP)
    stage = f.stage(2, b"a")
    f.supervisor.submit(stage)

    died = f.death()

    assert (died.stalled, died.requests) == (True, (stage,))
    assert f.pids() != [pid]
    assert gone(pid)
    assert f.ask(f.discard(3)).faults == [None]


@pytest.mark.parametrize("proving", [True, False], ids=["reading back", "copying"])
def test_a_stall_is_judged_by_what_it_stalls_in(floor, proving):
    f = floor(stall_copy=30.0 if proving else 0.3, stall_validate=0.3 if proving else 30.0)
    f.ask(f.discard(1))
    (slot,) = f.supervisor._slots
    os.kill(slot.process.pid, signal.SIGSTOP)
    f.supervisor.submit(f.discard(2))
    for word in (engine.COPIED, engine.VERIFIED if proving else engine.COPIED):
        f.supervisor.poll(0.01)
        slot.words[word] += 1  # the last that it does
    f.supervisor.poll(0.01)

    assert f.death().stalled


def test_a_worker_that_stalls_in_one_phase_has_the_other_s_time(floor):
    f = floor(stall_copy=0.3, stall_validate=30.0)
    f.ask(f.discard(1))
    (slot,) = f.supervisor._slots
    os.kill(slot.process.pid, signal.SIGSTOP)
    f.supervisor.submit(f.discard(2))
    f.supervisor.poll(0.01)
    slot.words[engine.VERIFIED] += 1
    for _ in range(10):
        f.events += f.supervisor.poll(0.06)
    os.kill(slot.process.pid, signal.SIGCONT)

    assert not [e for e in f.events if isinstance(e, Died)]


def test_who_works_at_a_dead_place_is_left_behind_and_nobody_else(floor):
    f = floor(2, roots=2)
    for number in (1, 2):
        sparse(f.card, b"%d" % number, BIG)
    stages = [replace(f.stage(n, b"%d" % n, roots=(n - 1,)), staging=[[b".ingest/staging/x/%d" % n]]) for n in (1, 2)]
    pids = f.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for stage in stages:
        f.supervisor.submit(stage)
    began = time.monotonic()

    (died,) = f.supervisor.leave(2)  # the second root: the card is place 0

    assert time.monotonic() - began < 2.0
    assert (died.requests, died.place, died.stalled) == ((stages[1],), 2, False)
    left = [pid for pid in pids if pid not in f.pids()]
    assert len(left) == 1
    assert gone(left[0])
    assert f.supervisor.leave(2) == []
    os.kill(next(pid for pid in pids if pid in f.pids()), signal.SIGCONT)
    assert f.answer_to(stages[0]).staged is not None
    f.supervisor.cancel()


def test_the_source_is_a_place_too(floor):
    f = floor(1)
    f.ask(f.discard(1))
    f.card.put(b"a", b"x")
    os.kill(f.pids()[0], signal.SIGSTOP)
    f.supervisor.submit(f.stage(2, b"a"))

    (died,) = f.supervisor.leave(0)

    assert died.place == 0


def test_it_is_known_when_something_last_moved_at_each_place(floor):
    f = floor(1, roots=2)
    assert f.supervisor.moved() == [0.0, 0.0, 0.0]
    sparse(f.card, b"a", 2 * BIG)
    before = time.monotonic()
    f.supervisor.submit(f.stage(1, b"a", roots=(1,)))
    f.until(lambda: all(f.supervisor.moved()[::2]))

    card, idle, busy = f.supervisor.moved()
    assert idle == 0.0
    assert before <= card <= time.monotonic()
    assert before <= busy <= time.monotonic()
    f.supervisor.cancel()


def test_what_moves_at_one_place_is_no_sign_of_life_of_another(floor):
    """Of a file that goes to two roots: what a worker that stands still has on its page."""
    f = floor(1, roots=2)
    f.ask(f.discard(1))
    f.card.put(b"a", b"x")
    (slot,) = f.supervisor._slots
    os.kill(slot.process.pid, signal.SIGSTOP)
    f.supervisor.submit(f.stage(2, b"a", roots=(1, 0)))
    f.supervisor.poll(0.01)

    for word, place in ((engine.MOVED, 2), (engine.MOVED + 1, 1), (engine.READ, 0)):
        before = f.supervisor.moved()
        slot.words[word] += 1
        f.supervisor.poll(0.01)
        after = f.supervisor.moved()
        assert after[place] > before[place]
        assert [when for at, when in enumerate(after) if at != place] == [
            when for at, when in enumerate(before) if at != place
        ]
    slot.words[engine.COPIED] += 1
    slot.words[engine.VERIFIED] += 1
    f.supervisor.poll(0.01)
    assert f.supervisor.moved() == after, "in all, but where?"
    os.kill(slot.process.pid, signal.SIGCONT)


def test_calls_that_only_fail_are_no_movement(floor):
    f = floor()
    f.ask(f.discard(1))
    (slot,) = f.supervisor._slots
    os.kill(slot.process.pid, signal.SIGSTOP)
    f.supervisor.submit(f.discard(2))
    for _ in range(3):
        f.supervisor.poll(0.01)
        slot.words[engine.OPERATIONS] += 1
    f.supervisor.poll(0.01)
    assert f.supervisor.moved() == [0.0, 0.0]
    os.kill(slot.process.pid, signal.SIGCONT)


def test_a_batch_behind_a_request_that_waits_moves_at_its_own_places(floor):
    """Names are given by one thread of a worker while the other one copies."""
    f = floor(1, roots=2)
    f.ask(f.discard(1))
    f.card.put(b"a", b"x")
    (slot,) = f.supervisor._slots
    os.kill(slot.process.pid, signal.SIGSTOP)
    f.supervisor.submit(f.discard(2))  # at the first root
    f.supervisor.submit(f.stage(3, b"a", roots=(1,)))
    f.supervisor.poll(0.01)

    slot.words[engine.COPIED] += 1
    slot.words[engine.MOVED] += 1
    f.supervisor.poll(0.01)
    source, first, second = f.supervisor.moved()
    assert (source, first) == (0.0, 0.0)
    assert second > 0

    slot.words[engine.HASHED] += 1  # the source, read a second time
    f.supervisor.poll(0.01)
    assert f.supervisor.moved()[0] > 0
    os.kill(slot.process.pid, signal.SIGCONT)


def test_who_does_not_heed_a_cancel_is_not_waited_for(floor, monkeypatch):
    monkeypatch.setattr("ingest.workers.supervisor.STALL_CANCELLED", 0.3)
    f = floor()
    f.ask(f.discard(1))
    os.kill(f.pids()[0], signal.SIGSTOP)
    f.supervisor.submit(f.discard(2))

    f.supervisor.cancel()

    assert f.death().stalled


def test_a_worker_holds_nothing_that_others_wait_for(floor):
    """One that is left behind must not keep a pipe open whose end somebody reads: our output, or multiprocessing's."""
    from multiprocessing import resource_tracker

    f = floor()
    f.ask(f.discard(1))  # it has settled in
    (pid,) = f.pids()
    held = {number: os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")}

    assert {held[stream] for stream in ("0", "1", "2")} == {os.devnull}
    tracker = os.readlink(f"/proc/self/fd/{resource_tracker._resource_tracker._fd}")
    assert tracker.startswith("pipe:")
    assert tracker not in held.values()


def test_a_worker_with_nothing_to_do_may_stand_still(floor):
    f = floor()
    f.ask(f.discard(1))
    f.supervisor._stall_copy = 0.05
    for _ in range(10):
        f.events += f.supervisor.poll(0.03)

    assert not [e for e in f.events if isinstance(e, Died)]


def test_a_worker_that_stands_still_never_blocks_the_supervisor(floor):
    f = floor(stall_copy=0.5)
    f.ask(f.discard(1))
    os.kill(f.pids()[0], signal.SIGSTOP)
    paths = [b"CARD/" + b"x" * 100 + b"%d" % n for n in range(256)]

    def fill() -> None:
        for number in range(2, 40):
            f.supervisor.submit(Publish(number, 0, list(range(256)), paths, paths))

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    thread.join(10)

    assert not thread.is_alive()
    assert f.death().stalled


# Stopping


def test_a_cancelled_copy_ends_within_a_buffer(floor):
    f = floor()
    sparse(f.card, b"large", 64 * BIG)
    stage = f.stage(1, b"large")
    f.supervisor.submit(stage)
    f.until(lambda: f.supervisor.current() == [1])
    began = time.monotonic()

    f.supervisor.cancel()
    source_faults = f.answer_to(stage).staged[4]

    assert time.monotonic() - began < 2.0
    assert source_faults[0][0] == "cancelled"
    assert f.archives[0].get(stage.staging[0][0]) is None


def test_what_comes_after_a_cancel_is_cancelled_too_and_names_are_still_given(floor):
    f = floor()
    f.card.put(b"a", b"x")
    stage = f.stage(1, b"a")
    f.ask(stage)
    f.supervisor.cancel()

    source_faults = f.ask(replace(stage, id=2, staging=[[b".ingest/staging/x/9.part"]])).staged[4]
    assert source_faults[0][0] == "cancelled"
    assert f.ask(f.publish(3, stage)).published[1] == {}
    assert f.archives[0].get(b"CARD/a") == b"x"


def test_a_worker_that_is_replaced_after_a_cancel_is_cancelled_too(floor):
    f = floor()
    f.card.put(b"a", b"x")
    f.supervisor.cancel()
    os.kill(f.pids()[0], signal.SIGKILL)
    f.death()

    source_faults = f.ask(f.stage(1, b"a")).staged[4]
    assert source_faults[0][0] == "cancelled"


def test_leaving_ends_every_worker(floor):
    f = floor(2)
    pids = f.pids()
    f.ask(f.discard(1))

    f.supervisor.stop()

    assert all(gone(pid) for pid in pids)


def test_stopping_does_not_wait_for_a_worker_that_stands_still(floor):
    f = floor(2)
    f.ask(f.discard(1))
    pids = f.pids()
    os.kill(pids[0], signal.SIGSTOP)
    began = time.monotonic()

    f.supervisor.stop(patience=0.3)

    assert time.monotonic() - began < 5.0
    assert all(gone(pid) for pid in pids)


def test_stopping_twice_is_stopping_once(floor):
    f = floor()
    f.supervisor.stop()
    f.supervisor.stop()


def test_an_error_ends_the_workers_at_once(tree):
    card = tree("card")
    sparse(card, b"large", 64 * BIG)
    facts = card.path.stat()
    here = Place(card.name, facts.st_dev, facts.st_ino, served=False)
    large = os.stat(card.path / "large")
    pids = []

    def fail() -> None:
        with Supervisor(Setup((here,), (here,), 1 << 20), 1) as supervisor:
            supervisor.submit(
                Stage(1, 0, (0,), [1], [b"large"], [large.st_size], [large.st_mtime_ns], [[b"s"]], "read")
            )
            pids.extend(slot.process.pid for slot in supervisor._slots)
            raise ZeroDivisionError

    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        fail()

    assert time.monotonic() - began < 5.0
    assert all(gone(pid) for pid in pids)


# What a worker is


def script(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    """A program that uses a supervisor and has no `if __name__` of its own."""
    head = (
        "import os, sys, signal, time\n"
        "from ingest.workers.supervisor import Supervisor\n"
        "from ingest.workers.messages import Setup, Place, Discard\n"
        "facts = os.stat(sys.argv[1])\n"
        "here = Place(os.fsencode(sys.argv[1]), facts.st_dev, facts.st_ino, False)\n"
        "def ask(s):\n"
        "    s.submit(Discard(1, 0, [b'nothing']))\n"
        "    while not s.poll(0.1): pass\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_workers_import_nothing_heavy(tmp_path):
    code = (
        "import ingest.workers.worker\n"
        "heavy = {'pyarrow', 'duckdb', 'sqlalchemy', 'alembic', 'rich', 'typer', 'numpy'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    said, trouble = script(code, str(tmp_path)).communicate(timeout=60)
    assert said == "[]\n", trouble


def test_workers_do_not_import_the_program_that_started_them(tmp_path):
    program = tmp_path / "program.py"
    trace = tmp_path / "trace"
    program.write_text(
        f"open({str(trace)!r}, 'a').write('imported\\n')\n"
        "import os, sys\n"
        "from ingest.workers.supervisor import Supervisor\n"
        "from ingest.workers.messages import Setup, Place, Discard\n"
        "facts = os.stat(sys.argv[1])\n"
        "here = Place(os.fsencode(sys.argv[1]), facts.st_dev, facts.st_ino, False)\n"
        "with Supervisor(Setup((here,), (here,), 1 << 20), 2) as s:\n"
        "    s.submit(Discard(1, 0, [b'nothing']))\n"
        "    while not s.poll(0.1): pass\n"
    )
    subprocess.run([sys.executable, program, str(tmp_path)], check=True, timeout=60)

    assert trace.read_text() == "imported\n"


def test_workers_end_with_their_supervisor_even_if_it_is_killed(tmp_path):
    code = (
        "s = Supervisor(Setup((here,), (here,), 1 << 20), 2)\n"
        "ask(s)\n"
        "print(*[slot.process.pid for slot in s._slots], flush=True)\n"
        "signal.pause()\n"
    )
    process = script(code, str(tmp_path))
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(running, pids))

    process.kill()
    process.communicate()

    assert all(gone(pid) for pid in pids)


def test_ctrl_c_in_the_terminal_does_not_reach_the_workers(tmp_path):
    code = (
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "s = Supervisor(Setup((here,), (here,), 1 << 20), 2)\n"
        "before = [slot.process.pid for slot in s._slots]\n"
        "os.killpg(0, signal.SIGINT)\n"
        "ask(s)\n"
        "print(before == [slot.process.pid for slot in s._slots])\n"
        "os.killpg(0, signal.SIGINT)\n"
        "ask(s)\n"
        "print(before == [slot.process.pid for slot in s._slots])\n"
        "s.stop()\n"
    )
    said, trouble = script(code, str(tmp_path), start_new_session=True).communicate(timeout=60)

    assert said == "True\nTrue\n", trouble
    assert "KeyboardInterrupt" not in trouble


def test_the_end_of_the_program_does_not_wait_for_a_worker_that_cannot_be_killed(tmp_path):
    code = (
        "import multiprocessing.process\n"
        "s = Supervisor(Setup((here,), (here,), 1 << 20), 1)\n"
        "ask(s)\n"
        "pid = s._slots[0].process.pid\n"
        "print(pid, flush=True)\n"
        "os.kill(pid, signal.SIGSTOP)\n"
        # What the kernel does to a process that hangs inside it: nothing reaches it.
        "multiprocessing.process.BaseProcess.kill = multiprocessing.process.BaseProcess.terminate = lambda self: None\n"
        "s.stop(patience=0.2)\n"
    )
    process = script(code, str(tmp_path))
    pid = int(process.stdout.readline())
    try:
        process.communicate(timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()
        os.kill(pid, signal.SIGKILL)


def test_workers_may_hold_many_files_open(floor):
    f = floor()
    f.ask(f.discard(1))

    with open(f"/proc/{f.pids()[0]}/limits", encoding="ascii") as limits:
        soft, hard = next(line.split()[3:5] for line in limits if line.startswith("Max open files"))
    assert int(soft) >= min(int(hard), 1 << 16)


def test_workers_that_are_started_from_two_threads_leave_the_program_as_it_was():
    main = sys.modules["__main__"]
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()

    def one() -> None:
        with quiet_start():
            first_is_in.set()
            second_is_in.wait(0.2)
        first_is_out.set()

    def other() -> None:
        first_is_in.wait(10)
        with quiet_start():
            second_is_in.set()
            first_is_out.wait(10)

    threads = [threading.Thread(target=one), threading.Thread(target=other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sys.modules["__main__"] is main


def test_a_worker_is_known_by_its_name(floor):
    f = floor(2)
    assert [slot.process.name for slot in f.supervisor._slots] == ["ingest-worker-0", "ingest-worker-1"]
    assert all(slot.process.daemon for slot in f.supervisor._slots)
