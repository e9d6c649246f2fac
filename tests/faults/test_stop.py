"""Ctrl-C and SIGTERM: a clean stop, promptly; asked for twice: at once. What was proven stays, resume does the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from ingest import engine

BIG = {"A.JPG": 40_000, "B.MOV": 320 << 20, "C.JPG": 50_000}
PROMPT = 5.0


def stopped(running, began):
    ended = running.end()
    took = time.monotonic() - began
    assert took < PROMPT, f"it took {took:.1f} s"
    return ended


def half_written(archive):
    return sorted(archive.glob(".ingest/staging/*/*"))


def spoken_of(archive, home):
    """Parts that a trail speaks of."""
    found = [engine.trail(os.fsencode(trail)) for trail in home.glob("trails/*/*.trail")]
    return sorted(archive / os.fsdecode(name) for trail in found if trail for _, name in trail[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_asked_once_it_stops_cleanly_and_promptly_in_the_middle_of_a_big_file(
    make_card, archive, shell, check, journal, ingest, number
):
    card = make_card(BIG)
    running = shell.start("copy", card.folder, archive)
    running.catch(card.folder / "B.MOV").thaw()
    began = time.monotonic()
    running.interrupt(number)

    ended = stopped(running, began)

    assert (ended.code, ended.document["state"], ended.document["exit_code"]) == (6, "paused(user)", 6)
    assert ended.document["items"]["waiting"] >= 1
    assert not (archive / "CARD/B.MOV").exists()
    assert half_written(archive) == spoken_of(archive, ingest.home), "what nobody can go on with is removed"
    check(card, archive, complete=False)
    assert journal.session(card)["owner_pid"] is None
    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed")
    check(card, archive)


def test_asked_twice_it_stops_at_once_even_if_its_workers_hang(make_card, archive, shell, check, until):
    card = make_card(BIG)
    running = shell.start("copy", card.folder, archive)
    with running.catch(card.folder / "B.MOV"), running.freeze():
        running.interrupt()
        # It has heard the first when it says so.
        assert "Once more to stop at once" in running.process.stderr.readline()
        began = time.monotonic()
        running.interrupt()

        assert running.process.wait(PROMPT + 1) == 6
        assert time.monotonic() - began < 2.0, "at once"
    check(card, archive, complete=False)
    running.end()
    resumed = shell.run("resume")
    assert (resumed.code, resumed.document["state"]) == (0, "completed")
    check(card, archive)


def test_started_with_nohup_it_goes_on_when_the_terminal_closes(make_card, archive, check, ingest, until):
    card = make_card(BIG)
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *ingest.command("copy", card.folder, archive, "--json")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ingest.environment, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        until(lambda: any(archive.glob(".ingest/staging/*/*")), "a copy under way")
        os.killpg(process.pid, signal.SIGHUP)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 0
    assert b"Stopping" not in errors
    check(card, archive)


def test_asked_before_the_first_byte_it_stops_as_cleanly(make_card, archive, shell, check, until, journal):
    """While it scans and plans nothing is copied yet; the session is there to be resumed all the same."""
    card = make_card({f"F/{number:05}.JPG": 100 for number in range(2500)})
    running = shell.start("copy", card.folder, archive)
    until(lambda: journal.live("SELECT 1 FROM sessions WHERE state IN ('scanning', 'planning')"), "the scan")
    began = time.monotonic()
    running.interrupt()

    ended = stopped(running, began)

    assert (ended.code, ended.document["state"]) == (6, "paused(user)")
    check(card, archive, complete=False)
    assert shell.run("resume").code == 0
    check(card, archive)


def test_stopped_again_and_again_it_completes_in_the_end(make_card, archive, shell, check, tally):
    card = make_card({f"{name}.MOV": 160 << 20 for name in "ABC"})
    command = ["copy", card.folder, archive, "--workers", "1"]
    for name in "ABC":
        running = shell.start(*command)
        running.catch(card.folder / f"{name}.MOV").thaw()
        running.interrupt()
        assert running.end().code == 6
        tally["stops"] += 1
        check(card, archive, complete=False)
        command = ["resume"]

    assert shell.run("resume").code == 0
    check(card, archive)
