"""One flush for a batch: what happens when it fails, and when it takes long."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time

import pytest

FILES = 60
PATIENCE = 60.0


@pytest.fixture(scope="module")
def card(shared):
    noise = random.Random(11).randbytes(9000)
    return shared.plant("SMALLS", {f"100/IMG_{n:04d}.JPG": noise[n:] for n in range(FILES)})


@pytest.fixture
def flushing(ingest, strace, archive, card):
    """The command that copies the card with something done to its syncfs, where a batch is flushed together at all."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", archive], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not kind.startswith(("ext2", "xfs", "btrfs")):
        pytest.skip(f"on {kind} each file is flushed by itself")

    def command(done: str, log, *more: str) -> list:
        about = ["-e", "trace=syncfs", "-e", f"inject=syncfs:{done}"]
        return [strace, *more, "-f", "-qq", "-o", log, *about, *ingest.command("copy", card, archive, "--workers", "1")]

    return command


def attempts(ingest, archive) -> set[tuple[str, int]]:
    done = ingest.run("query", "SELECT DISTINCT state, attempts FROM copies", "--root", archive, "--json")
    return {(row["state"], row["attempts"]) for row in json.loads(done.stdout)}


def test_a_flush_that_fails_costs_every_file_of_the_batch_one_more_copy_and_no_file_its_place(
    ingest, flushing, card, archive, tmp_path
):
    log = tmp_path / "calls"
    # The second one would fail too: nobody may ask for it.
    command = flushing("error=EIO:when=1..2", log)
    done = subprocess.run(command, env=ingest.environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert log.read_text().count("(INJECTED)") == 1
    assert attempts(ingest, archive) == {("finalized", 2)}
    assert {path.name: path.read_bytes() for path in (archive / "SMALLS/100").iterdir()} == {
        path.name: path.read_bytes() for path in (card / "100").iterdir()
    }


def test_a_flush_that_finds_no_room_pauses_the_archive(ingest, flushing, card, archive, tmp_path):
    command = flushing("error=ENOSPC:when=1", os.devnull)
    done = subprocess.run(command, env=ingest.environment, capture_output=True, text=True, check=False)

    assert done.returncode == 8, done.stdout + done.stderr
    assert not list((archive / "SMALLS").rglob("*.JPG"))
    assert ingest.run("resume").returncode == 0
    assert len(list((archive / "SMALLS/100").iterdir())) == FILES


def test_ctrl_c_is_heeded_while_the_file_system_is_flushed(ingest, flushing, card, archive, tmp_path):
    log = tmp_path / "calls"
    # -D: the program is the child, strace looks on.
    command = flushing("delay_enter=30s", log, "-D")
    said = tmp_path / "said"
    with said.open("w") as out:
        running = subprocess.Popen(command, env=ingest.environment, stdout=out, stderr=out)
    limit = time.monotonic() + PATIENCE
    while "syncfs(" not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < limit
        assert running.poll() is None, said.read_text()
        time.sleep(0.02)
    began = time.monotonic()
    running.send_signal(signal.SIGINT)

    assert running.wait(PATIENCE) == 6, said.read_text()
    assert time.monotonic() - began < 25, "it waited for the flush"
    assert not list(archive.rglob("*.JPG"))
    assert ingest.run("resume").returncode == 0
    assert len(list((archive / "SMALLS/100").iterdir())) == FILES
