"""Stopping: copies are cancelled within a buffer, names are still given, and no worker is left, whatever it does."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import pytest

from ingest.workers.messages import Place, Setup, Stage
from ingest.workers.supervisor import Supervisor
from processes import gone

BIG = 256 << 20


def test_a_cancelled_copy_ends_within_a_buffer(floor, sparse):
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


def test_an_error_ends_the_workers_at_once(tree, sparse):
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
