"""Names are bytes: whatever a card calls its files, they arrive under the same bytes and can be told in JSON."""

from __future__ import annotations

import base64
import json
import os
import shutil

import pytest

ODD = [
    b"new\nline.jpg", b"tab\tand\rreturn", b"bell\x07\x1b[31mred", b"inv\xe9lid.mov", b"\xff\xfe\xfd", b"utf-8 \xed\xa0\x80.wav",
    b"x" * 255, "é".encode() * 127, "🎬 take.mp4".encode(), "שלום ערב.jpg".encode(), b"e\xcc\x81 decomposed", "é decomposed".encode(),
    b"-rf", b"--json", b" leading and trailing ", b"'\"`$(touch hacked)`", b"*?[a-z]", b"back\\slash", b"a:b|c<d>", b"CON", b"dot.",
    b"...", b"%41#?&=", b"..a", b"README.PART", b"staging",
]  # fmt: skip
TWINS = {"IMG.JPG": b"upper", "img.jpg": b"lower", "Img.Jpg": b"mixed", "dcim/x": b"1", "DCIM/x": b"2"}


@pytest.fixture(scope="module")
def odd_card(shared):
    """A card whose every name is odd, in a folder of an odd name too."""
    tree = {b"fold\ner \xe9/" + name: b"bytes of " + name for name in ODD}
    return shared.plant("ODD", {**tree, b"\xf0\x28\x8c\x28.jpg": b"at the top"})


@pytest.fixture(scope="module")
def copied(shared, odd_card):
    archive = shared.plant("archive", {})
    told = shared.tell("copy", odd_card, archive, "--events", shared.folder / "events.jsonl")
    assert told.code == 0, told.errors
    return archive


def test_every_odd_name_arrives_as_the_same_bytes(copied, odd_card, media):
    assert media(copied / "ODD") == media(odd_card)
    assert len(media(odd_card)) == len(ODD) + 2


def test_the_manifest_holds_the_raw_bytes_of_names_that_are_not_utf8(shared, copied, odd_card):
    rows = shared.tell(
        "query", "SELECT source_path, source_path_raw, path, path_raw, size FROM copies", "--root", copied
    ).document

    base = os.fsencode(odd_card)
    expected = {base + b"/fold\ner \xe9/" + name for name in ODD} | {base + b"/\xf0\x28\x8c\x28.jpg"}
    found = {
        bytes.fromhex(row["source_path_raw"]) if row["source_path_raw"] else row["source_path"].encode() for row in rows
    }
    assert found == expected
    assert {bytes.fromhex(row["path_raw"]) for row in rows} == {b"ODD" + path.removeprefix(base) for path in expected}


def test_verify_finds_every_odd_name_sound(shared, copied):
    told = shared.tell("verify", copied, "--strict")

    assert told.code == 0, told.errors
    assert told.document["ok"] == told.document["checked"] == len(ODD) + 1
    assert told.document["extra"] == []


def test_a_second_run_knows_every_odd_name_again(shared, copied, odd_card):
    told = shared.tell("scan", odd_card, "--to", copied)

    assert told.code == 0, told.errors
    assert {item["decision"] for item in told.document["items"]} == {"duplicate"}
    raw = {base64.b64decode(item["source_path_b64"]) for item in told.document["items"]}
    assert os.fsencode(odd_card) + b"/fold\ner \xe9/inv\xe9lid.mov" in raw
    assert all("\\xe9" in item["source_path"] or "\\xf0" in item["source_path"] for item in told.document["items"])


def test_events_of_odd_names_are_lines_of_valid_json(shared, copied):
    lines = (shared.folder / "events.jsonl").read_bytes().decode("utf-8").splitlines()

    copies = [event for event in map(json.loads, lines) if event["event"] == "copy"]
    assert len(copies) == len(ODD) + 1
    assert all(event["source_path_b64"] for event in copies)


def test_a_failure_with_an_undecodable_name_is_told_escaped_with_its_raw_bytes(tell, plant, tmp_path, archive):
    card = plant(tmp_path / "card", {b"b\xe9\x07.jpg": b"b", "c.jpg": b"c"})
    plant(archive / "card", {})
    (archive / "outside").mkdir()
    os.symlink(b"../outside", os.fsencode(archive) + b"/card/d\xe9r")
    plant(card, {b"d\xe9r/in.jpg": b"x"})

    told = tell("copy", card, archive, "--label", "card")

    assert told.code == 7
    (failure,) = told.document["failures"]
    assert failure["path"] == f"{card}/d\\xe9r/in.jpg"
    assert base64.b64decode(failure["path_b64"]) == os.fsencode(card) + b"/d\xe9r/in.jpg"
    assert "d\\xe9r" in told.errors + failure["path"]


def test_an_error_about_an_undecodable_path_is_valid_json(tell, tmp_path, archive):
    told = tell("copy", os.fsencode(tmp_path) + b"/no\xe9", archive)

    assert told.code == 4
    assert told.error["path"].endswith("no\\xe9")
    assert base64.b64decode(told.error["path_b64"]).endswith(b"no\xe9")


def test_escape_sequences_in_names_never_reach_the_terminal(ingest, plant, tmp_path, archive):
    card = plant(tmp_path / "card", {b"\x1b[2Jclear.jpg": b"x"})

    plan = ingest.run("scan", card, "--to", archive)
    done = ingest.run("copy", card, archive)

    assert plan.returncode == done.returncode == 0
    assert "clear.jpg" in plan.stdout
    assert "\x1b" not in plan.stdout + plan.stderr + done.stdout + done.stderr


def test_a_json_document_is_utf8_whatever_the_terminals_encoding(tell, plant, tmp_path, monkeypatch):
    card = plant(tmp_path / "card", {"clé 🎬.mov": b"x"})
    archive = plant(tmp_path / "Archiv Süd 🎬", {})
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")

    plan = tell("scan", card, "--to", archive)
    done = tell("copy", card, archive)
    asked = tell("query", "SELECT path FROM copies", "--root", archive)
    failed = tell("copy", tmp_path / "nö 🎬", archive)

    assert [told.code for told in (plan, done, asked, failed)] == [0, 0, 0, 4]
    assert plan.document["items"][0]["path"] == "card/clé 🎬.mov"
    assert done.document["destinations"][0]["root"] == str(archive)
    assert asked.document == [{"path": "card/clé 🎬.mov"}]
    assert failed.error["path"] == str(tmp_path / "nö 🎬")


def test_names_that_differ_only_in_case_both_arrive(tell, plant, tmp_path, archive, media):
    card = plant(tmp_path / "card", TWINS)
    if len(media(card)) != len(TWINS) + 2:
        pytest.skip("this file system does not tell names apart by case")

    told = tell("copy", card, archive)

    assert told.document["items"]["finalized"] == len(TWINS)
    assert media(archive / "card") == media(card)


def test_a_source_whose_name_begins_with_a_dash_is_copied_after_two_dashes(ingest, plant, tmp_path, archive, media):
    card = plant(tmp_path / "-card", {"-n.jpg": b"x"})

    done = ingest.run("copy", "--", "-card", "archive", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert media(archive / "-card") == media(card)


def test_unfinished_work_of_our_own_on_a_source_is_left_out_but_listed(tell, plant, tmp_path, archive, rows):
    card = plant(
        tmp_path / "card",
        {".ingest-x.part": b"ours", ".ingest/staging/x/1.part": b"ours", ".ingest/root.json": b"{}", "1.part": b"theirs",
         ".ingestible": b"theirs", "ingest-x.part": b"theirs"},
    )  # fmt: skip

    told = tell("copy", card, archive)

    assert told.code == 0, told.errors
    assert told.document["items"]["finalized"] == 4
    left = rows(archive, "SELECT source_path FROM copies WHERE state = 'excluded' ORDER BY ALL")
    assert [row["source_path"] for row in left] == [f"{card}/.ingest-x.part", f"{card}/.ingest/staging"]


def test_a_tree_deeper_than_any_path_can_say_arrives(tell, tmp_path, archive):
    depth, name = 25, b"d" * 200
    (tmp_path / "deep").mkdir()
    descend(tmp_path / "deep", depth, name, lambda folder: os.mkdir(name, dir_fd=folder))

    def plant_clip(folder):
        file = os.open(b"clip.mov", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
        os.write(file, b"far down")
        os.close(file)

    descend(tmp_path / "deep", depth, name, None, plant_clip)
    try:
        told = tell("copy", tmp_path / "deep", archive)

        assert told.code == 0, told.errors
        assert told.document["items"]["finalized"] == 1
        found = []

        def read_clip(folder):
            file = os.open(b"clip.mov", os.O_RDONLY, dir_fd=folder)
            found.append(os.read(file, 100))
            os.close(file)

        descend(archive / "deep", depth, name, None, read_clip)
        assert found == [b"far down"]
        assert tell("verify", archive, "--strict").document["ok"] == 1
        assert tell("copy", tmp_path / "deep", archive).document["items"]["duplicate"] == 1
    finally:
        shutil.rmtree(tmp_path / "deep")
        shutil.rmtree(archive / "deep", ignore_errors=True)


def descend(top, depth, name, before=None, at_the_end=None):
    """Walk down so many folders of one name, by descriptors: the path is longer than the kernel takes."""
    folder = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        if before is not None:
            before(folder)
        deeper = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    if at_the_end is not None:
        at_the_end(folder)
    os.close(folder)
