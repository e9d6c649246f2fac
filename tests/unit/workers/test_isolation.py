"""Workers and the program that started them: neither gets in the other's way, and no worker outlives the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from ingest.workers.process import quiet_start
from processes import gone, running


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
