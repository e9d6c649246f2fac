from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ingest.session.owner import Owner, _started


@pytest.fixture
def other():
    """Another process, waiting."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def owner_of(process) -> Owner:
    return replace(Owner.this(), pid=process.pid, started=_started(process.pid))


def test_this_process_is_alive():
    assert Owner.this().alive() is True
    assert Owner.this().pid == os.getpid()


def test_the_same_process_is_always_the_same_owner():
    assert Owner.this() == Owner.this()


def test_another_process_is_alive_until_it_ends(other):
    owner = owner_of(other)
    assert owner.alive() is True

    other.kill()
    other.wait()

    assert owner.alive() is False


def test_a_process_that_ended_is_dead_even_if_nobody_reaped_it(other):
    owner = owner_of(other)
    other.stdin.close()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)

    assert owner.alive() is False


def test_a_stopped_process_is_still_alive(other):
    import signal

    other.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)

    assert owner_of(other).alive() is True


def test_a_process_number_that_was_given_again_is_another_process(other):
    assert replace(owner_of(other), started=owner_of(other).started - 1).alive() is False


def test_a_start_that_is_not_known_does_not_speak_against_it(other):
    assert replace(owner_of(other), started=0).alive() is True


def test_another_boot_of_this_machine_ended_it():
    assert replace(Owner.this(), boot="another").alive() is False


def test_what_runs_on_another_machine_cannot_be_told():
    assert replace(Owner.this(), machine="another").alive() is None
    assert replace(Owner.this(), machine="another", boot="another", pid=1 << 30).alive() is None


def test_what_runs_in_another_container_cannot_be_told():
    assert replace(Owner.this(), space="pid:[1]").alive() is None


def test_a_process_whose_name_has_brackets_and_spaces_is_read_rightly(tmp_path):
    odd = tmp_path / "a) R 1 (b"
    os.symlink("/bin/sleep", odd)
    process = subprocess.Popen([odd, "60"])
    try:
        owner = owner_of(process)
        assert owner.alive() is True
        assert owner.started >= Owner.this().started
    finally:
        process.kill()
        process.wait()
