"""A session is held by one process at a time, and by nobody when that process is gone."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from ingest.errors import PausedError
from ingest.session.hold import held, hold

HOLDER = """
import sys
from pathlib import Path
from ingest.session.hold import hold
with hold(Path(sys.argv[1]), "s"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_nobody_holds_a_session_that_was_never_held(tmp_path):
    assert not held(tmp_path, "s")


def test_a_session_is_held_while_inside_and_free_afterwards(tmp_path):
    with hold(tmp_path, "s"):
        assert held(tmp_path, "s")
        assert not held(tmp_path, "another")

    assert not held(tmp_path, "s")


def test_a_second_holder_is_refused(tmp_path, holder):
    with pytest.raises(PausedError, match="being worked on"), hold(tmp_path, "s"):
        pytest.fail("held twice")


def test_the_end_of_its_process_frees_a_session_however_it_ends(tmp_path, holder):
    assert held(tmp_path, "s")

    holder.kill()
    holder.wait()

    assert not held(tmp_path, "s")
    with hold(tmp_path, "s"):
        assert held(tmp_path, "s")


def test_a_process_of_another_namespace_is_seen_like_any_other(tmp_path):
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", HOLDER, str(tmp_path)]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except OSError:
        pytest.skip("unshare is not installed")
    if process.stdout.readline() != "held\n":
        pytest.skip(f"no namespaces here: {process.communicate()[1].strip()}")

    assert held(tmp_path, "s")
    process.kill()
    process.communicate()

    # The lock outlives its process by the moment that the kernel needs to end the namespace.
    with hold(tmp_path, "s"):
        assert held(tmp_path, "s")


def test_whoever_only_looks_keeps_nobody_from_holding(tmp_path):
    stop = threading.Event()

    def look():
        while not stop.is_set():
            held(tmp_path, "s")

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(50):
            with hold(tmp_path, "s"):
                pass
    finally:
        stop.set()
        looker.join()
