"""Whoever listens may go away, and whatever holds the output may be full: the copy is made all the same."""

from __future__ import annotations

import os
import subprocess

import pytest

FULL = "/dev/full"


@pytest.fixture
def into(ingest):
    """Run a command with its stdout going to a full disk, or to a pipe that nobody reads any more."""

    def run(where, *arguments):
        if where == "full":
            stdout = os.open(FULL, os.O_WRONLY)
        else:
            nobody, stdout = os.pipe()
            os.close(nobody)
        try:
            done = subprocess.run(
                ingest.command(*arguments), env=ingest.environment, stdout=stdout, stderr=subprocess.PIPE, text=True,
                timeout=120, check=False,
            )  # fmt: skip
        finally:
            os.close(stdout)
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        return done

    if not os.path.exists(FULL):
        pytest.skip("there is no /dev/full here")
    return run


@pytest.mark.parametrize(
    ("where", "option"),
    [
        ("full", "--json"),
        ("full", "--events=-"),
        ("full", "--workers=1"),
        ("closed", "--events=-"),
        ("closed", "--workers=1"),
    ],
)
def test_a_copy_is_complete_though_nobody_can_be_told(into, card, archive, media, where, option):
    done = into(where, "copy", card, archive, option)

    assert media(archive / "EOS_DIGITAL") == media(card)
    assert list((archive / ".ingest/staging").iterdir()) == []
    assert "bug" not in done.stderr
    if where == "full" and option != "--events=-":
        assert done.returncode == 1
        assert done.stderr.strip()


@pytest.mark.parametrize(
    ("where", "command"),
    [
        ("full", ("show", "none", "--json")),
        ("closed", ("doctor", "--json")),
        ("full", ("sessions",)),
        ("full", ("--help",)),
    ],
)
def test_other_commands_end_with_a_sentence(into, where, command):
    done = into(where, *command)

    assert done.returncode != 0
    assert "bug" not in done.stderr


def test_an_events_file_that_fills_up_does_not_stop_the_copy(tell, card, archive, media):
    if not os.path.exists(FULL):
        pytest.skip("there is no /dev/full here")

    told = tell("copy", card, archive, "--events", FULL)

    assert told.code == 0, told.errors
    assert media(archive / "EOS_DIGITAL") == media(card)
    assert "events" in told.errors


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "command", [("copy", "{card}", "{archive}"), ("sessions", "--json"), ("doctor",)], ids=" ".join
)
def test_streams_that_were_closed_from_the_start_are_no_fault(ingest, card, archive, media, command, closed):
    """And no file that is opened later gets what was meant for them."""
    words = [word.format(card=card, archive=archive) for word in command]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *ingest.command(*words)]

    done = subprocess.run(shell, env=ingest.environment, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    if command[0] == "copy":
        assert media(archive / card.name) == media(card)
