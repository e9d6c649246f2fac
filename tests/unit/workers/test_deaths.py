"""Workers that die: told with what they had on their hands, replaced, and what they moved stays counted."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from ingest import engine
from ingest.errors import IngestError
from ingest.workers.messages import Setup
from ingest.workers.supervisor import Answer, Supervisor

BIG = 256 << 20


def test_a_killed_worker_is_told_with_what_it_had_on_its_hands(floor, sparse):
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
