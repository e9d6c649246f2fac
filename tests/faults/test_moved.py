"""An archive that somebody copied to another disk in the middle of a session: nothing on it is proven by what was once read
back from the old one. What is there is read, what is missing or rotten is brought again, and only then is it said.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import blake3
import pytest

pytestmark = pytest.mark.root

GONE, ROTTEN = ("F1.JPG", "F2.JPG"), "F3.JPG"
FILES = {**{f"F{number}.JPG": 10_000 + number for number in range(1, 9)}, "Z.MOV": 66 << 20}
MEGABYTES = 200


@pytest.fixture
def card(make_card):
    return make_card(FILES)


@pytest.fixture
def old(mounts, tmp_path):
    """The disk on which the archive began."""
    return mounts.mount(mounts.image("old", MEGABYTES), tmp_path / "old")


@pytest.fixture
def new(mounts, tmp_path):
    """Another one."""
    return mounts.mount(mounts.image("new", MEGABYTES), tmp_path / "new")


@pytest.fixture(params=["killed", "stopped"])
def left(request, card, old, shell, journal, until):
    """A session that ended when some files had arrived: killed, with no manifest part, or stopped, with one. How, and its root."""
    running = shell.start("copy", card.folder, old, "--workers", "1", "--batch", "1")

    def arrived():
        return len(journal.live("SELECT 1 FROM copies WHERE state = 'finalized'"))

    with running.catch(card.folder / "Z.MOV"):
        until(lambda: arrived() >= 4, "files that have arrived")
        if request.param == "killed":
            running.kill()
        else:
            running.interrupt()
    if request.param == "stopped":
        assert running.end().code == 6
    assert len(list(old.glob(".ingest/manifests/*/items-*.parquet"))) == (request.param == "stopped")
    return request.param


def moved(shell, mounts, old, new, *, gone=(), rotten=None, parts=True):
    """Copy the archive to the other disk, not quite, and say that it is there now; what is told of it."""
    shutil.rmtree(new / "lost+found")
    subprocess.run(["cp", "-a", f"{old}/.", new], check=True)
    for name in gone:
        (new / "CARD" / name).unlink()
    if rotten is not None:
        rot(new / "CARD" / rotten)
    if not parts:
        shutil.rmtree(new / ".ingest/manifests", ignore_errors=True)
    mounts.vanish(old)
    told = shell.run("storage", "relocate", old, new)
    assert (told.code, told.document["other_file_system"]) == (0, True), told
    return told.document


def rot(file):
    """Another bit, under the same name, size and time."""
    facts = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def digest(file):
    return blake3.blake3(file.read_bytes()).hexdigest() if file.exists() else None


def arrived(journal, shell, card, root):
    """Where each file of the card is said to be, by the journal; it is there, and so is what the last part says of it."""
    rows = journal.copies(journal.session(card)["key"]).values()
    assert {row["verify_method"] for row in rows if row["blake3"] is not None} <= {"evicted", "direct"}
    told = {os.fsdecode(row["source_path"]): os.fsdecode(row["path"]) for row in rows if row["blake3"] is not None}
    for source, path in told.items():
        assert digest(root / path) == digest(card.folder / source), f"{path} is not what arrived"
    listed = shell.run(
        "query", "SELECT path, blake3_hex FROM copies WHERE state IN ('finalized', 'duplicate')", "--root", root
    )
    pairs = {(row["path"], row["blake3_hex"]) for row in listed.document["reports"]}
    assert {(path, digest(card.folder / source)) for source, path in told.items()} <= pairs
    return told


def test_what_is_missing_or_rotten_on_the_new_disk_is_brought_again_before_it_is_called_archived(
    card, left, old, new, mounts, shell, journal
):
    put = moved(shell, mounts, old, new, gone=GONE, rotten=ROTTEN)
    assert put["to_prove"] >= 4

    ended = shell.run("resume")

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    told = arrived(journal, shell, card, new)
    # A differing file is somebody's: it stays, and the copy has a name of its own.
    assert told == {name: f"CARD/{name}" for name in FILES} | {ROTTEN: "CARD/F3_1.JPG"}
    items = ended.document["items"]
    assert items["finalized"] + items["duplicate"] == len(FILES)
    assert items["finalized"] >= len(GONE) + 2
    assert items["duplicate"] >= 1
    assert any("copies are to be proven there" in event["text"] for event in trail(shell, ended))
    # What the part of the old disk says of the rotten file stands, and is told.
    verified = shell.run("verify", new)
    if left == "killed":
        assert verified.code == 0, verified
    else:
        assert (verified.code, verified.document["missing"]) == (3, []), verified
        assert [os.path.basename(changed["path"]) for changed in verified.document["changed"]] == [ROTTEN]
    checked = shell.run("check", card.folder, "--copies", "1", "--root", new)
    assert (checked.code, checked.document["covered"]) == (0, len(FILES)), checked
    assert shell.run("resume").document["reports"] == []


def trail(shell, ended):
    return shell.run("show", ended.document["session"], "--events").document["events"]


def test_a_whole_copy_of_the_archive_is_gone_on_with(card, left, old, new, mounts, shell, journal, check):
    put = moved(shell, mounts, old, new)

    ended = shell.run("resume")

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    assert ended.document["items"]["duplicate"] >= put["to_prove"] - 1  # one may have waited for its name
    assert arrived(journal, shell, card, new) == {name: f"CARD/{name}" for name in FILES}
    check(card, new)
    verified = shell.run("verify", new, "--strict")
    assert (verified.code, verified.document["ok"]) == (0, len(FILES)), verified


def test_a_part_that_was_not_copied_is_written_anew(card, left, old, new, mounts, shell, journal):
    moved(shell, mounts, old, new, gone=GONE, rotten=ROTTEN, parts=False)

    ended = shell.run("resume")

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    arrived(journal, shell, card, new)
    assert min(part.name for part in new.glob(".ingest/manifests/*/items-*.parquet")) == "items-0001.parquet"
    verified = shell.run("verify", new)
    assert (verified.code, verified.document["ok"]) == (0, len(FILES)), verified


@pytest.mark.parametrize("left", ["killed"], indirect=True)
def test_the_next_step_is_told_in_the_order_in_which_it_can_be_taken(card, left, old, new, mounts, ingest):
    shutil.copytree(old, new, dirs_exist_ok=True, ignore=shutil.ignore_patterns("lost+found"))
    mounts.vanish(old)

    said = ingest.run("storage", "relocate", old, new)

    assert said.returncode == 0, said.stderr
    assert "what was proven on the old one is not proven here" in said.stdout
    assert said.stdout.index("ingest resume") < said.stdout.index(f"ingest verify {new}")
    assert "will be read back there" in said.stdout


def test_a_session_that_completed_with_errors_proves_it_when_it_is_named(
    make_card, old, new, mounts, shell, journal, ingest
):
    card = make_card({"A.JPG": 10_000, "B.JPG": 20_000, "SUB/C.JPG": 30_000})
    (old / "CARD").mkdir()
    (old / "CARD/SUB").write_bytes(b"in the way")
    begun = shell.run("copy", card.folder, old, "--label", "CARD")
    assert (begun.code, begun.document["items"]["finalized"]) == (7, 2), begun
    put = moved(shell, mounts, old, new, gone=["A.JPG", "SUB"])
    assert put["to_prove"] == 2
    assert shell.run("resume").document["reports"] == []

    ended = shell.run("resume", begun.document["session"])

    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    assert arrived(journal, shell, card, new) == {name: f"CARD/{name}" for name in ("A.JPG", "B.JPG", "SUB/C.JPG")}
    assert shell.run("verify", new).code == 0
