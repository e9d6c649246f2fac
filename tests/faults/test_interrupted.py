"""Ctrl-C, SIGTERM and SIGHUP where no session is under way: exit 6, one sentence, one document, and a word in the log."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from ingest.errors import ExitCode

# So much takes a while to read, and no room: files with a hole.
HUGE = 40 << 30
PROMPT = 20.0  # seconds, on a machine that has other tests to run: to the end it would be far more
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
FOREVER = [
    "SELECT * FROM copies, range(100_000_000_000) WHERE random() < 0",
    "SELECT count(*) FROM range(100_000_000_000) n WHERE range * range % 7 = 3",
]


@pytest.fixture
def begin(shell, until):
    """Start a command, and wait until it is at a place: `begin("check", card, at=lambda pid: ...)`."""

    def start(*arguments, at):
        running = shell.start(*arguments)
        until(lambda: running.process.poll() is not None or at(running.process.pid), "it to get there")
        assert running.process.poll() is None, running.process.communicate()
        return running

    return start


def has_open(path):
    def look(pid):
        try:
            return any(os.readlink(f"/proc/{pid}/fd/{each}") == str(path) for each in os.listdir(f"/proc/{pid}/fd"))
        except FileNotFoundError:
            return False

    return look


def computed(pid):
    """Seconds that a process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def huge(folder, name="A.MOV"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    os.truncate(folder / name, HUGE)
    return folder / name


def interrupted(running, number=signal.SIGINT):
    """Send it, and look at what a command says that it ends. One that goes on to its end says something else."""
    began = time.monotonic()
    running.interrupt(number)
    ended = running.end()
    assert time.monotonic() - began < PROMPT
    assert ended.code == ended.document["exit_code"] == ExitCode.CANCELLED
    assert ended.document["error"]["cause"] == f"stopped by {number.name}"
    assert ended.errors.splitlines() == [
        f"ingest: signal: stopped by {number.name}. {ended.document['error']['advice']}"
    ]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_check_says_that_it_was_stopped_and_so_does_its_log(begin, make_card, archive, shell, tmp_path, number):
    card = make_card({"B.JPG": 100})
    assert shell.run("copy", card.folder, archive).code == 0
    clip = huge(card.folder)
    log = tmp_path / "log"

    interrupted(begin("check", card.folder, "--log-file", log, at=has_open(clip)), number)

    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["command"], line["event"], line["level"], line["exit_code"]) == ("check", "error", "error", 6)
    assert line["cause"] == f"stopped by {number.name}"


def test_a_scan_says_so(begin, archive, tmp_path):
    folder = tmp_path / "CARD/DCIM"
    folder.mkdir(parents=True)
    for number in range(30_000):
        (folder / f"{number}.JPG").touch()

    interrupted(begin("scan", tmp_path / "CARD", "--to", archive, at=has_open(folder)))


def test_a_verification_says_so(begin, make_card, archive, shell):
    card = make_card({"A.MOV": 256 << 20})
    assert shell.run("copy", card.folder, archive).code == 0
    log = archive.parent / "log"

    running = begin("verify", archive, "--log-file", log, at=has_open(archive / "CARD/A.MOV"))

    interrupted(running)
    assert json.loads(log.read_text())["exit_code"] == 6


def test_a_rebuild_says_so(begin, make_card, archive, shell, ingest):
    assert shell.run("copy", make_card({"A.JPG": 100}).folder, archive).code == 0
    lock = ingest.home / "schema.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        interrupted(begin("catalog", "rebuild", at=has_open(lock)))


@pytest.mark.parametrize("question", FOREVER)
def test_a_question_says_so_whatever_duckdb_calls_it(
    begin, until, make_card, archive, shell, tmp_path, monkeypatch, question
):
    assert shell.run("copy", make_card({"A.JPG": 100}).folder, archive).code == 0
    spills = tmp_path / "spills"
    spills.mkdir()
    monkeypatch.setenv("TMPDIR", str(spills))

    running = begin("query", question, "--root", archive, at=lambda _: any(spills.iterdir()))
    begun = computed(running.process.pid)
    until(lambda: computed(running.process.pid) > begun + 0.5, "it to compute")

    interrupted(running)
    assert not any(spills.iterdir())


def test_a_document_that_is_half_out_is_not_followed_by_another(make_card, archive, shell, ingest, until):
    assert shell.run("copy", make_card({"A.JPG": 100}).folder, archive).code == 0
    running = ingest.start("query", "SELECT range AS n FROM range(200_000)", "--root", archive, "--json")
    with running:

        def full():
            (waiting,) = struct.unpack("i", fcntl.ioctl(running.stdout, termios.FIONREAD, b"\0" * 4))
            return waiting >= 65536

        until(full, "a pipe that nobody reads")
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate(timeout=30)

    assert running.returncode == 6
    assert errors.startswith("ingest: signal: stopped by SIGINT")
    assert "error" not in out


def test_who_asks_again_and_again_is_not_shown_a_traceback(begin, make_card, archive, shell):
    card = make_card({"B.JPG": 100})
    assert shell.run("copy", card.folder, archive).code == 0
    clip = huge(card.folder)
    running = begin("check", card.folder, at=has_open(clip))

    for _ in range(3):
        running.interrupt()

    _, errors = running.process.communicate(timeout=30)
    assert running.process.returncode in (6, -signal.SIGINT)
    assert "Traceback" not in errors


def test_nohup_is_respected(make_card, archive, shell, ingest, until):
    card = make_card({"B.JPG": 100})
    assert shell.run("copy", card.folder, archive).code == 0
    clip = huge(card.folder)
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *ingest.command("check", card.folder, "--json")]
    with subprocess.Popen(command, env=ingest.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        until(lambda: has_open(clip)(running.pid), "the clip to be read")
        running.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(1)
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 6
