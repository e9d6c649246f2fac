"""One flush for a batch: what happens when it fails, and when it takes long."""

from __future__ import annotations

import json
import random
import shutil
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
def strace(archive):
    """strace, where a batch is flushed together at all."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed")
    if subprocess.run([found, "-f", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", archive], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not kind.startswith(("ext2", "xfs", "btrfs")):
        pytest.skip(f"on {kind} each file is flushed by itself")
    return found


def attempts(ingest, archive) -> set[tuple[str, int]]:
    done = ingest.run("query", "SELECT DISTINCT state, attempts FROM copies", "--root", archive, "--json")
    return {(row["state"], row["attempts"]) for row in json.loads(done.stdout)}


def test_a_flush_that_fails_costs_every_file_of_the_batch_one_more_copy_and_no_file_its_place(
    ingest, strace, card, archive, tmp_path
):
    log = tmp_path / "calls"
    # The second one would fail too: nobody may ask for it.
    inject = "inject=syncfs:error=EIO:when=1..2"
    command = [
        strace,
        "-f",
        "-qq",
        "-o",
        log,
        "-e",
        "trace=syncfs",
        "-e",
        inject,
        *ingest.command("copy", card, archive, "--workers", "1"),
    ]
    done = subprocess.run(command, env=ingest.environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert log.read_text().count("(INJECTED)") == 1
    assert attempts(ingest, archive) == {("finalized", 2)}
    assert {path.name: path.read_bytes() for path in (archive / "SMALLS/100").iterdir()} == {
        path.name: path.read_bytes() for path in (card / "100").iterdir()
    }


def test_a_flush_that_finds_no_room_pauses_the_archive(ingest, strace, card, archive, tmp_path):
    inject = "inject=syncfs:error=ENOSPC:when=1"
    command = [
        strace,
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=syncfs",
        "-e",
        inject,
        *ingest.command("copy", card, archive, "--workers", "1"),
    ]
    done = subprocess.run(command, env=ingest.environment, capture_output=True, text=True, check=False)

    assert done.returncode == 8, done.stdout + done.stderr
    assert not list((archive / "SMALLS").rglob("*.JPG"))
    assert ingest.run("resume").returncode == 0
    assert len(list((archive / "SMALLS/100").iterdir())) == FILES


def test_ctrl_c_is_heeded_while_the_file_system_is_flushed(ingest, strace, card, archive, tmp_path):
    log = tmp_path / "calls"
    delay = "inject=syncfs:delay_enter=30s"
    # -D: the program is the child, strace looks on.
    command = [
        strace,
        "-D",
        "-f",
        "-qq",
        "-o",
        log,
        "-e",
        "trace=syncfs",
        "-e",
        delay,
        *ingest.command("copy", card, archive, "--workers", "1"),
    ]
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
