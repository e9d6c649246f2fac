"""What a terminal shows while a card is copied: a bar that moves on, and a cursor afterwards."""

from __future__ import annotations

import errno
import os
import pty
import re
import subprocess

import pytest

SIZES = {"A.MOV": 500 << 20, "B.MOV": 500 << 20, "C.JPG": 20_000}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# As in: copying ━━━━━  37 % 1/3 files 512.0 MB/s 1 s left A.MOV
FRAME = re.compile(
    r"(?P<phase>copying|finalizing)\W+(?P<share>\d+) % *(?P<done>\d+)/(?P<all>\d+) files(?P<rest>[^\r\n]*)"
)
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def terminal(ingest):
    """Run a command with a terminal for what it says; its exit code, and all that was shown."""

    def run(*arguments) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        environment = {**ingest.environment, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
        running = subprocess.Popen(
            ingest.command(*arguments),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        shown = bytearray()
        try:
            while chunk := os.read(ours, 1 << 16):
                shown += chunk
        except OSError as error:
            # Linux says so where other systems say that it is the end: nobody has the other side any more.
            assert error.errno == errno.EIO  # noqa: PT017 - the end that was waited for
        finally:
            os.close(ours)
        return running.wait(60), shown.decode()

    return run


@pytest.fixture
def card(tmp_path):
    folder = tmp_path / "CARD"
    folder.mkdir()
    for name, size in SIZES.items():
        with (folder / name).open("wb") as file:
            file.truncate(size)
    return folder


def test_the_bar_moves_on_names_what_is_copied_and_gives_the_cursor_back(terminal, card, archive):
    # So that it takes a second or two: twice in a second it is told anew.
    code, shown = terminal("copy", card, archive, "--workers", "1", "--threads", "1")

    assert code == 0, shown
    frames = list(FRAME.finditer(ESCAPES.sub("", shown)))
    shares = [int(frame["share"]) for frame in frames]
    assert len(set(shares)) >= 2, "it advances"
    assert shares == sorted(shares), "and never falls"
    ended = [int(frame["done"]) for frame in frames]
    assert ended == sorted(ended)
    assert {int(frame["all"]) for frame in frames} == {len(SIZES)}
    assert any(name in frame["rest"] for frame in frames for name in SIZES), "what is being copied has its name there"
    assert HIDDEN in shown
    assert shown.rindex(SHOWN) > shown.rindex(HIDDEN), "the cursor is back"


def test_the_cursor_comes_back_after_an_error_too(terminal, card, archive):
    (archive / ".ingest").mkdir()
    (archive / ".ingest/root.json").write_text("no marker")

    code, shown = terminal("copy", card, archive)

    assert code != 0
    assert shown.rfind(SHOWN) >= shown.rfind(HIDDEN)
