"""Names that are changed while a session works: nothing outside is written or read, nothing hangs, nothing is lost.

Another process changes what names lead to as fast as it can (:mod:`swapper`), through scan, copy and publishing. Sound
are: an item that arrived with the card's own bytes, and an item that did not and is told.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SWAPPER = Path(__file__).with_name("swapper.py")
FILTER = Path(__file__).with_name("without_openat2.py")
NUMBER = 120
FILES = {f"D/{number:03}.JPG": 2000 + number for number in range(NUMBER)}
SECRET = b"not of the card: nobody may find this in an archive " * 50
FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
ROUNDS = 30 if FULL else 1


@pytest.fixture
def swap():
    """Change names while inside; at the end they are as before. `swaps` is how often they were changed."""

    @contextmanager
    def run(*arguments: Any):
        process = subprocess.Popen(
            [sys.executable, SWAPPER, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        if process.stdout.readline() != "ready\n":
            pytest.skip(process.communicate()[1].strip())
        told = Swaps()
        try:
            yield told
        finally:
            said, errors = process.communicate("", timeout=30)
            assert process.returncode == 0, errors
            told.number = int(said)

    return run


@dataclass
class Swaps:
    number: int = 0


@pytest.fixture(params=["openat2", "ENOSYS", "OLD"] if FULL else ["openat2", "OLD"])
def filtered(request, ingest, monkeypatch):
    """With the kernel's own guard, and where a container's filter refuses it."""
    if request.param == "openat2":
        return request.param
    command = type(ingest).command

    def behind(self, *arguments):
        return [sys.executable, str(FILTER), request.param, *command(self, *arguments)]

    monkeypatch.setattr(type(ingest), "command", behind)
    probe = subprocess.run(
        [sys.executable, FILTER, request.param, sys.executable, "-S", "-c", ""],
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip(probe.stderr.strip())
    return request.param


def read_below(folder: Path) -> dict[str, bytes]:
    """Every regular file, our own folder's too."""
    found = {}
    for here, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(here, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                found[os.path.relpath(path, folder)] = Path(path).read_bytes()
    return found


def accounted(document) -> None:
    """Every item of a report met one end, and what did not arrive is told."""
    items = dict(document["items"])
    assert items.pop("discovered") == sum(items.values()), document["items"]
    assert items["waiting"] == 0
    assert document["failures_total"] == items["failed"] + items["changed"] + items["removed"]


@pytest.fixture
def outside(tmp_path):
    """A folder that is nobody's business, with names that the card has too."""
    folder = tmp_path / "outside"
    (folder / "D").mkdir(parents=True)
    for path, size in FILES.items():
        # Of the very size and time that the card's file has: only the guard tells them apart.
        (folder / path).write_bytes((SECRET * 2)[:size])
    return folder


def same_times(card, outside):
    for path in FILES:
        facts = (card.folder / path).stat()
        os.utime(outside / path, ns=(facts.st_mtime_ns, facts.st_mtime_ns))


def test_a_source_folder_that_becomes_a_link_is_never_left(
    make_card, archive, outside, shell, swap, filtered, tally, check, tmp_path
):
    card = make_card(FILES)
    same_times(card, outside)
    (card.folder / "L").symlink_to(outside / "D")
    for number in range(ROUNDS):
        with swap("exchange", card.folder / "D", card.folder / "L") as swaps:
            ended = shell.run("copy", card.folder, archive, "--label", f"R{number}", "--batch", "8")
        assert ended.code in (0, 1, 4, 7, 8), ended
        accounted(ended.document)
        held = read_below(archive)
        assert not [name for name, data in held.items() if SECRET[:30] in data]
        arrived = [name for name in held if name.startswith(f"R{number}/")]
        assert len(arrived) == ended.document["items"]["finalized"]
        tally["names changed"] += swaps.number
        tally["items accounted for"] += ended.document["items"]["discovered"]
    assert tally["names changed"] > 100 * ROUNDS
    whole = tmp_path / "whole"
    assert shell.run("copy", card.folder, whole, "--create").code == 0
    check(card, whole)


@pytest.mark.parametrize("into", ["link", "pipe", "socket", "device", "folder"])
def test_source_files_that_become_something_else_are_told_and_nobody_waits_for_them(
    make_card, archive, outside, shell, swap, tally, check, into, tmp_path
):
    card = make_card(FILES)
    same_times(card, outside)
    chosen, others = sorted(FILES)[::6], tmp_path / "others"
    others.mkdir()
    pairs: list[Path] = []
    for path in chosen:
        other = others / Path(path).name
        match into:
            case "link":
                other.symlink_to(outside / path)
            case "pipe":
                os.mkfifo(other)
            case "socket":
                os.mknod(other, stat.S_IFSOCK | 0o600)  # a path that is too long for bind(2)
            case "device":
                if os.geteuid() != 0:
                    pytest.skip("device nodes need root")
                os.mknod(other, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: it never ends
            case "folder":
                other.mkdir()
        pairs += [card.folder / path, other]
    for number in range(ROUNDS):
        with swap("exchange", *pairs) as swaps:
            ended = shell.run("copy", card.folder, archive, "--label", f"R{number}", "--batch", "8", seconds=90)
        assert ended.code in (0, 1, 7), ended
        accounted(ended.document)
        held = read_below(archive)
        assert not [name for name, data in held.items() if SECRET[:30] in data]
        for path in card.versions:
            data = held.get(f"R{number}/{path}")
            assert data in (None, (card.folder / path).read_bytes()), path
            # What nobody touched has arrived, whatever happens beside it.
            assert data is not None or path in chosen, path
        tally["names changed"] += swaps.number
        tally["items accounted for"] += ended.document["items"]["discovered"]
    assert tally["names changed"] > 100 * ROUNDS
    whole = tmp_path / "whole"
    assert shell.run("copy", card.folder, whole, "--create").code == 0
    check(card, whole)


@pytest.mark.parametrize("place", ["CARD/D", "CARD", ".ingest/staging", ".ingest/manifests", ".ingest"])
def test_a_destination_folder_that_becomes_a_link_is_never_written_through(
    make_card, archive, shell, swap, filtered, tally, check, tmp_path, place
):
    card = make_card(FILES)
    assert shell.run("copy", card.folder, archive, "--only", "000.JPG").code == 0
    outside = tmp_path / "outside"
    outside.mkdir()
    target = archive / place
    link = target.with_name(target.name + "-link")
    link.symlink_to(outside)
    for _ in range(ROUNDS):
        with swap("exchange", target, link) as swaps:
            ended = shell.run("copy", card.folder, archive, "--label", "CARD", "--batch", "8")
        assert ended.code in (0, 1, 2, 4, 5, 7, 8), ended
        assert list(outside.iterdir()) == []
        if "items" in ended.document:
            items = ended.document["items"]
            assert items["discovered"] == sum(value for key, value in items.items() if key != "discovered")
            tally["items accounted for"] += items["discovered"]
        else:
            assert ended.document["error"]["advice"], ended
        tally["names changed"] += swaps.number
    assert tally["names changed"] > 100 * ROUNDS
    link.unlink()
    shell.run("resume")
    last = shell.run("copy", card.folder, archive, "--label", "CARD")
    assert last.code == 0, last
    assert list(outside.iterdir()) == []
    held = read_below(archive / "CARD")
    # A name that could not be asked for a moment may have been taken for taken: the file is there, once or twice.
    assert {path: held[path] for path in FILES} == {path: (card.folder / path).read_bytes() for path in FILES}
    contents = {(card.folder / path).read_bytes() for path in FILES}
    assert {name for name, data in held.items() if data not in contents} == set()
    assert shell.run("verify", archive, "--strict").document["changed"] == []


@pytest.mark.root
def test_a_destination_folder_that_is_mounted_over_is_never_written_to_there(
    make_card, archive, shell, swap, filtered, tally, tmp_path
):
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    card = make_card(FILES)
    assert shell.run("copy", card.folder, archive, "--only", "000.JPG").code == 0
    other = tmp_path / "other"
    other.mkdir()
    for _ in range(ROUNDS):
        with swap("mount", other, archive / "CARD/D") as swaps:
            ended = shell.run("copy", card.folder, archive, "--label", "CARD", "--batch", "8")
        assert ended.code in (0, 1, 7, 8), ended
        assert list(other.iterdir()) == []
        accounted(ended.document)
        tally["names changed"] += swaps.number
        tally["items accounted for"] += ended.document["items"]["discovered"]
    assert tally["names changed"] > 20 * ROUNDS
    assert f" {archive}/CARD/D " not in Path("/proc/self/mountinfo").read_text()
    assert shell.run("copy", card.folder, archive, "--label", "CARD").code == 0
    held = read_below(archive / "CARD")
    assert {path: held[path] for path in FILES} == {path: (card.folder / path).read_bytes() for path in FILES}


# Where the kernel's guard is refused


@pytest.mark.parametrize("filtered", ["ENOSYS", "EPERM", "OLD"], indirect=True)
def test_without_openat2_a_copy_is_as_sound_and_walks_the_way_itself(
    filtered, make_card, archive, shell, check, ingest, tmp_path
):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    card = make_card()

    ended = shell.run("copy", card.folder, archive)

    assert ended.code == 0, ended
    check(card, archive)
    assert shell.run("verify", archive, "--strict").code == 0
    assert shell.run("repair", archive, "--from", card.folder).code == 0
    log = tmp_path / "strace"
    subprocess.run(
        ["strace", "-f", "-qq", "-o", log, "-e", "trace=openat2", *ingest.command("verify", archive)],
        env=ingest.environment, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    answers = re.findall(r"openat2\(.* = (-1 \w+|\d+)", log.read_text())
    assert answers
    assert {answer.split()[-1] for answer in answers} == {filtered.replace("OLD", "ENOSYS")}
