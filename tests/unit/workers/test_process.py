"""Processes that are started before it is known what for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from ingest.workers import process
from ingest.workers.messages import Discard, Place, Setup
from ingest.workers.supervisor import Answer, Supervisor


@pytest.fixture
def setup(tmp_path):
    facts = tmp_path.stat()
    here = Place(os.fsencode(tmp_path), facts.st_dev, facts.st_ino, served=False)
    return Setup((here,), (here,), 1 << 20)


@pytest.fixture
def started(monkeypatch):
    """Every process that is started while the test runs."""
    seen = []
    start = process.start

    def spy(number):
        newborn = start(number)
        seen.append(newborn.process)
        return newborn

    monkeypatch.setattr(process, "start", spy)
    return seen


def answered(supervisor: Supervisor) -> bool:
    """Ask something, and ask again if a worker died over it."""
    supervisor.submit(Discard(1, 0, [b"nothing"]))
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        for event in supervisor.poll(0.1):
            if isinstance(event, Answer):
                return True
            supervisor.submit(Discard(1, 0, [b"nothing"]))
    return False


def gone(pid: int) -> bool:
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_the_first_worker_is_the_one_that_was_started_ahead(setup, started):
    with process.ahead():
        (early,) = started
        with Supervisor(setup, 2) as supervisor:
            assert answered(supervisor)
            names = [slot.process.name for slot in supervisor._slots]
            pids = [slot.process.pid for slot in supervisor._slots]

    assert [one.pid for one in started] == pids
    assert early.pid == pids[0]
    assert names == ["ingest-worker-0", "ingest-worker-1"]


def test_what_nobody_took_is_ended(started):
    with process.ahead():
        (early,) = started

    assert gone(early.pid)
    assert process._READY == []


def test_what_nobody_took_is_ended_after_an_error_too(started):
    with pytest.raises(ZeroDivisionError), process.ahead():
        raise ZeroDivisionError

    assert gone(started[0].pid)


def test_where_no_process_can_be_started_ahead_the_command_goes_on(monkeypatch):
    def refuse(_number):
        raise BlockingIOError("no room")

    monkeypatch.setattr(process, "start", refuse)

    with process.ahead():
        assert process._READY == []


def test_one_that_died_before_it_was_told_anything_is_replaced(setup, started):
    with process.ahead():
        started[0].kill()
        assert started[0].join(10) is None
        with Supervisor(setup, 1) as supervisor:
            assert answered(supervisor)
            assert supervisor._slots[0].process.pid == started[-1].pid != started[0].pid


def test_a_stop_that_was_asked_for_earlier_is_heeded_by_a_late_worker(setup):
    with Supervisor(setup, 1) as supervisor:
        supervisor.cancel()
        os.kill(supervisor._slots[0].process.pid, signal.SIGKILL)
        assert answered(supervisor)
        assert supervisor._slots[0].words[0] == 1


SCRIPT = """
import os, signal, sys, time
from ingest.workers import process
from ingest.workers.supervisor import Supervisor
from ingest.workers.messages import Setup, Place, Discard
facts = os.stat(sys.argv[1])
here = Place(os.fsencode(sys.argv[1]), facts.st_dev, facts.st_ino, False)
signal.signal(signal.SIGINT, lambda *_: None)
with process.ahead():
    print(process._READY[0].process.pid, flush=True)
"""


def script(code: str, folder: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT + code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("late", ["0", "0.3"], ids=["while it starts", "while it waits"])
def test_ctrl_c_does_not_reach_a_process_that_was_started_ahead(tmp_path, late):
    code = (
        f"    time.sleep({late})\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "    time.sleep(0.3)\n"
        "    with Supervisor(Setup((here,), (here,), 1 << 20), 1) as s:\n"
        "        s.submit(Discard(1, 0, [b'nothing']))\n"
        "        while not s.poll(0.1): pass\n"
        "        print(s._slots[0].process.pid, flush=True)\n"
    )
    said, trouble = script(code, tmp_path).communicate(timeout=60)

    early, used = said.split()
    assert early == used, trouble
    assert "KeyboardInterrupt" not in trouble


def test_a_process_that_waits_ends_with_the_program_that_started_it(tmp_path):
    program = script("    signal.pause()\n", tmp_path)
    pid = int(program.stdout.readline())

    program.kill()
    program.communicate()

    assert gone(pid)
