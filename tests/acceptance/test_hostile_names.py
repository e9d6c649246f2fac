"""Names that were made to deceive or to break: nothing on a terminal obeys them, JSON is exact, and no name leads elsewhere."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import time

import pytest

# What a terminal would do with them: clear, move up, set its title, turn the writing around, hide; C1's CSI, and DEL.
DECEIVING = [
    "\x1b[2Jcleared.jpg", "over\rwritten.jpg", "up\x1b[A\x1b[Kgone.jpg", "new\nline: FULLY ARCHIVED.jpg", "\x1b]0;title\x07.jpg",
    "gpj.\u202eexe", "zero\u200bwidth.jpg", "\u2066isolated\u2069.jpg", "\x9b2Jc1.jpg", "del\x7f.jpg", "line\u2028separator.jpg",
    "\ufefffirst.jpg", "tag\U000e0041.jpg", "back\bspace.jpg",
]  # fmt: skip


@pytest.fixture
def card(tmp_path, plant):
    return plant(tmp_path / "CARD\x1b[31m\u202e", {name: name.encode() for name in DECEIVING})


@pytest.fixture
def archive(tmp_path, plant):
    return plant(tmp_path / "arch\nive\x1b[1m", {})


def obeyed(text: str) -> set[str]:
    """What in a text a terminal would obey: lines end, and columns of a query are apart, nothing else."""
    return {c for c in text.replace("\n", "").replace("\t", "") if not c.isprintable()}


def test_no_command_prints_what_a_terminal_would_obey(ingest, card, archive, tmp_path, plant):
    backup = plant(tmp_path / "backup\x1b[1m", {})
    said = [
        ingest.run("scan", card, "--to", archive),
        ingest.run("copy", card, archive, "--also", backup, "--label", "lab\u202eel"),
        ingest.run("copy", card, archive, "--label", "lab\u202eel"),
        ingest.run("sessions"),
        ingest.run("storage", "list"),
        ingest.run("storage", "status", archive),
        ingest.run("doctor"),
        ingest.run("query", 'SELECT path, source_path, destination_path AS "d\x1b[2J" FROM copies', "--root", archive),
        ingest.run("query", "SELECT sources FROM sessions", "--root", archive),
        ingest.run("verify", archive, "--strict"),
    ]  # fmt: skip
    for path in (archive / "lab\u202eel").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    said += [ingest.run("verify", archive), ingest.run("repair", archive, "--from", backup)]
    for path in (archive / "lab\u202eel").iterdir():
        path.unlink()
    said += [
        ingest.run("verify", archive),
        ingest.run("repair", archive, "--from", card, "--dry-run"),
        ingest.run("clear", archive),
        ingest.run("catalog", "rebuild", archive),
        ingest.run("storage", "forget", archive),
    ]
    failing = [
        ingest.run("copy", card, tmp_path / "no\x1b[2Jwhere"),
        ingest.run("show", "\x1b[2J"),
        ingest.run("no\x1b[2Jcommand"),
        ingest.run("copy", "--no\u202eoption", card, archive),
        ingest.run("query", "SELECT \x1b[2J"),
        ingest.run("copy", card, archive, "--hash", "m\x1bd5"),
        ingest.run("copy", card, archive, "--label", "a/\x1b[2J"),
    ]

    assert all(done.returncode in (0, 3) for done in said), [(done.args, done.returncode, done.stderr) for done in said]
    assert all(done.returncode in (1, 2, 4) for done in failing)
    for done in said + failing:
        assert obeyed(done.stdout) == obeyed(done.stderr) == set(), done.args
    assert "\\x1b[2Jcleared.jpg" in said[0].stdout
    assert "gpj.\\u202eexe" in said[0].stdout


def test_files_that_did_not_arrive_are_told_without_it(ingest, card, archive, tmp_path):
    (archive / "L").mkdir()
    for name in DECEIVING:
        # Their names are folders' already: none can be given, nor any with a number.
        (archive / "L" / name).mkdir()
    (card / "D\x1b[2J").mkdir()
    (card / "D\x1b[2J" / "in\u202e.jpg").write_bytes(b"x")
    (archive / "L" / "D\x1b[2J").symlink_to(tmp_path)

    done = ingest.run("copy", card, archive, "--label", "L")
    session = json.loads(ingest.run("sessions", "--json").stdout)["sessions"][0]["session"]
    shown = ingest.run("show", session, "--items", "failed")

    assert done.returncode == 7
    for said in (done, shown):
        assert "in\\u202e.jpg: failed (outside_root)" in said.stdout
        assert obeyed(said.stdout) == obeyed(said.stderr) == set()


def test_json_is_exact_and_harmless_at_the_same_time(tell, ingest, card, archive):
    plan = ingest.run("scan", card, "--to", archive, "--json")
    told = tell("copy", card, archive, "--events", card.parent / "events")
    rows = ingest.run("query", "SELECT source_path FROM copies", "--root", archive, "--json")

    assert told.code == 0, told.errors
    wanted = sorted(f"{card}/{name}" for name in DECEIVING)
    assert sorted(item["source_path"] for item in json.loads(plan.stdout)["items"]) == wanted
    assert sorted(row["source_path"] for row in json.loads(rows.stdout)) == wanted
    events = [json.loads(line) for line in (card.parent / "events").read_text().splitlines()]
    assert sorted(event["source_path"] for event in events if event["event"] == "copy") == wanted
    for text in (plan.stdout, rows.stdout, (card.parent / "events").read_text()):
        assert obeyed(text) == set()


def test_a_bar_on_a_terminal_shows_no_name_that_moves_it(ingest, tmp_path, plant):
    """In a terminal of its own: the only escapes there are the bar's."""
    card = plant(tmp_path / "CARD", {name: os.urandom(3 << 20) for name in DECEIVING})
    archive = plant(tmp_path / "archive", {})
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ingest.command("copy", card, archive), env={**ingest.environment, "TERM": "xterm"}, stdin=theirs, stdout=theirs,
        stderr=theirs, close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    seen, limit = b"", time.monotonic() + 60
    while time.monotonic() < limit:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # it has hung up
            break
        if not piece:
            break
        seen += piece
    os.close(ours)

    assert process.wait(30) == 0
    text = seen.decode()
    for name in DECEIVING:
        assert name not in text
    assert "\u202e" not in text
    assert "\x9b" not in text
    assert "\x1b]0;" not in text
    assert "\x1b[2J" not in text


# Labels


@pytest.mark.parametrize(
    "label",
    [
        ".INGEST",
        ".Ingest",
        ".ingest.",
        ".ingest ",
        ".INGEST-x",
        ".inge\u017ft",
        ".in\u00adgest",
        ".in\u200dgest",
        "\uff0eingest",
    ],
)
def test_a_label_that_some_disk_takes_for_our_own_folder_is_refused(tell, card, archive, label):
    told = tell("copy", card, archive, "--label", label)

    assert told.code == 2
    assert told.error["operation"] == "label"
    assert list(archive.iterdir()) == []


@pytest.mark.root
def test_on_exfat_names_it_cannot_hold_fail_alone_and_twins_both_arrive(tell, make_disk, plant, tmp_path, media):
    disk = make_disk("exfat")
    card = plant(
        tmp_path / "CARD",
        {"a:b.jpg": b"colon", "q?.jpg": b"question", "IMG.JPG": b"upper", "img.jpg": b"lower", "fine.jpg": b"fine",
         "DCIM/x.mov": b"1", "dcim/x.mov": b"22", "trailing.": b"dot", "CON": b"device", "\xe9 \U0001f3ac.mov": b"text"},
    )  # fmt: skip

    told = tell("copy", card, disk, "--label", "L")

    failed = {os.path.basename(failure["path"]): failure for failure in told.document["failures"]}
    arrived = {path: data for path, (data, _) in media(disk / "L").items() if data is not None}
    assert told.code == (7 if failed else 0)
    assert told.document["items"]["finalized"] + len(failed) == 10
    assert set(failed) <= {"a:b.jpg", "q?.jpg", "trailing."}
    for failure in failed.values():
        assert (failure["reason"], bool(failure["advice"])) == ("name", True)
    # Every content is there once, under whatever name.
    contents = sorted(arrived.values())
    wanted = {"a:b.jpg": b"colon", "q?.jpg": b"question", "trailing.": b"dot"}
    assert contents == sorted(
        [
            b"upper",
            b"lower",
            b"fine",
            b"1",
            b"22",
            b"device",
            b"text",
            *(d for n, d in wanted.items() if n not in failed),
        ]
    )
    assert tell("verify", disk, "--strict").code == 0
    again = tell("copy", card, disk, "--label", "L")
    assert again.document["items"]["duplicate"] == told.document["items"]["finalized"]


# Lengths


@pytest.mark.parametrize("extension", ["", ".jpg", "." + "x" * 200], ids=["none", "usual", "long"])
def test_a_name_of_255_bytes_that_is_taken_gets_its_number_and_stays_within_them(
    tell, plant, tmp_path, archive, extension
):
    name = "é" * ((255 - len(extension)) // 2)
    name += "n" * (255 - len(os.fsencode(name + extension))) + extension
    first, second = (plant(tmp_path / each, {name: each.encode()}) for each in ("one", "two"))
    assert len(os.fsencode(name)) == 255

    assert tell("copy", first, archive, "--label", "L").code == 0
    told = tell("copy", second, archive, "--label", "L")

    assert told.code == 0, told.errors
    found = {os.fsencode(path.name): path.read_bytes() for path in (archive / "L").iterdir()}
    assert sorted(found.values()) == [b"one", b"two"]
    assert found[os.fsencode(name)] == b"one"
    (other,) = found.keys() - {os.fsencode(name)}
    assert len(other) <= 255
    assert other.decode()  # cut at a character's border
    assert b"_1" in other
    assert tell("verify", archive, "--strict").code == 0


def test_paths_about_as_long_as_a_system_call_takes_arrive(tell, tmp_path, archive):
    """PATH_MAX is 4096 with its zero byte: names on either side of it, on the card and in the archive."""
    card = tmp_path / "CARD"
    card.mkdir()
    below = [b"d" * 200] * 19
    lengths = range(4090 - len(os.fsencode(card)), 4102 - len(os.fsencode(card)))
    folder = os.open(card, os.O_RDONLY)
    for name in below:
        os.mkdir(name, dir_fd=folder)
        deeper = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    start = len(b"/".join([b"", *below, b""]))
    for length in lengths:
        file = os.open(b"f" * (length - start), os.O_CREAT | os.O_WRONLY, dir_fd=folder)
        os.write(file, b"%d" % length)
        os.close(file)
    os.close(folder)
    try:
        told = tell("copy", card, archive)

        assert told.code == 0, told.errors
        assert told.document["items"]["finalized"] == len(lengths)
        assert tell("verify", archive, "--strict").document["ok"] == len(lengths)
    finally:
        shutil.rmtree(card)
        shutil.rmtree(archive / "CARD", ignore_errors=True)


# Names that look like ours


def test_files_of_the_archive_that_look_like_our_staging_are_never_taken_for_it(tell, card, archive, snapshot):
    ours = {
        ".ingest/staging/0badc0de/1.part": b"half", ".ingest/staging/root-0badc0de.part": b"{}",
        ".ingest/staging/notes.txt": b"a user's", ".ingest/staging/0badc0de.txt": b"a user's",
        ".ingest-0badc0de-1.part": b"a user's", "CARD/1.part": b"footage",
    }  # fmt: skip
    for name, data in ours.items():
        (archive / name).parent.mkdir(parents=True, exist_ok=True)
        (archive / name).write_bytes(data)
    before = snapshot(archive)

    assert tell("copy", card, archive).code == 0
    assert tell("clear", archive).code == 0

    after = snapshot(archive)
    for name in ours:
        if name != ".ingest/staging/root-0badc0de.part":  # of a marker that somebody else was about to write
            assert after[os.fsencode(name)] == before[os.fsencode(name)], name
