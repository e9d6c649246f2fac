"""Workers that stand still are replaced or left behind; when something last moved is known for each place."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from ingest import engine
from ingest.workers.messages import Publish
from ingest.workers.supervisor import Died
from processes import gone

BIG = 256 << 20


def impatient(f, copy=30.0, validate=30.0):
    """From now on a worker is given up after so many seconds: to be born takes one longer on a busy machine."""
    f.supervisor._stall_copy, f.supervisor._stall_validate = copy, validate


def test_a_worker_that_stands_still_is_replaced(floor):
    f = floor()
    f.card.put(b"a", b"x")
    f.ask(f.stage(1, b"a"))
    (pid,) = f.pids()
    impatient(f, copy=0.3)
    os.kill(pid, signal.SIGSTOP)
    stage = f.stage(2, b"a")
    f.supervisor.submit(stage)

    died = f.death()

    assert (died.stalled, died.requests) == (True, (stage,))
    impatient(f)
    assert f.pids() != [pid]
    assert gone(pid)
    assert f.ask(f.discard(3)).faults == [None]


@pytest.mark.parametrize("proving", [True, False], ids=["reading back", "copying"])
def test_a_stall_is_judged_by_what_it_stalls_in(floor, proving):
    f = floor()
    f.ask(f.discard(1))
    impatient(f, **({"validate": 0.3} if proving else {"copy": 0.3}))
    (slot,) = f.supervisor._slots
    os.kill(slot.process.pid, signal.SIGSTOP)
    f.supervisor.submit(f.discard(2))
    for word in (engine.COPIED, engine.VERIFIED if proving else engine.COPIED):
        f.supervisor.poll(0.01)
        slot.words[word] += 1  # the last that it does
    f.supervisor.poll(0.01)

    assert f.death().stalled


def test_a_worker_that_stalls_in_one_phase_has_the_other_s_time(floor):
    f = floor()
    f.ask(f.discard(1))
    impatient(f, copy=0.3)
    (slot,) = f.supervisor._slots
    os.kill(slot.process.pid, signal.SIGSTOP)
    f.supervisor.submit(f.discard(2))
    f.supervisor.poll(0.01)
    slot.words[engine.VERIFIED] += 1
    for _ in range(10):
        f.events += f.supervisor.poll(0.06)
    os.kill(slot.process.pid, signal.SIGCONT)

    assert not [e for e in f.events if isinstance(e, Died)]


def test_who_works_at_a_dead_place_is_left_behind_and_nobody_else(floor, sparse):
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


def test_it_is_known_when_something_last_moved_at_each_place(floor, sparse):
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


def test_a_worker_with_nothing_to_do_may_stand_still(floor):
    f = floor()
    f.ask(f.discard(1))
    f.supervisor._stall_copy = 0.05
    for _ in range(10):
        f.events += f.supervisor.poll(0.03)

    assert not [e for e in f.events if isinstance(e, Died)]


def test_a_worker_that_stands_still_never_blocks_the_supervisor(floor):
    f = floor()
    f.ask(f.discard(1))
    impatient(f, copy=0.5)
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
