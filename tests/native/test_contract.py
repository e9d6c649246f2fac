"""The compiled module is what its stub says."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ingest import _native


def test_the_stub_and_the_module_agree():
    pytest.importorskip("mypy")
    allowed = Path(__file__).with_name("stubtest.allowlist")

    checked = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "ingest._native", "--allowlist", allowed],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_constants_are_those_of_the_contract():
    assert (_native.PAGE_WORDS, _native.BUFFER_MIN, _native.BUFFER_MAX) == (64, 4096, 64 << 20)
    assert _native.THREADS_MAX == 32
    assert _native.__version__.count(".") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a child with its parent")
def test_a_worker_dies_with_its_parent():
    worker = "from ingest import _native; import sys; print(_native.die_with_parent(), flush=True); sys.stdin.read()"
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {worker!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(child.pid, child.stdout.readline().decode().strip(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    started = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid, asked = started.stdout.readline().split()
    handle = os.pidfd_open(int(pid))

    started.kill()
    started.communicate()

    assert asked == "True"
    _wait_for_end(handle)


def _wait_for_end(handle: int) -> None:
    import select

    ended, _, _ = select.select([handle], [], [], 30)
    if not ended:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    assert ended, "the worker outlived its parent"
