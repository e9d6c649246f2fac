"""The plan of a copy: what would happen, and nothing written anywhere while it is made."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="module")
def desk(shared):
    """A card of which one file is in the archive, one has changed, and the rest is new."""
    archive = shared.plant("archive", {})
    card = shared.plant("CARD", {"100/a.mov": b"a" * 5000, "notes.txt": b"old"})
    assert shared.tell("copy", card, archive).code == 0
    shared.plant("CARD", {"notes.txt": b"newer", "b.mov": b"b" * 100, ".DS_Store": b"x", "100/a.mov": b"a" * 5000})
    os.mkfifo(card / "pipe")
    return shared, card, archive


@pytest.mark.parametrize("command", ["scan", "copy --dry-run", "scan as a new user", "scan for people"])
def test_a_plan_writes_nothing_anywhere(desk, snapshot, command, tmp_path):
    shared, card, archive = desk
    before = snapshot(shared.folder)

    match command:
        case "scan":
            code = shared.tell("scan", card, "--to", archive).code
        case "copy --dry-run":
            code = shared.tell("copy", card, archive, "--dry-run").code
        case "scan as a new user":
            code = type(shared)(tmp_path).tell("scan", card, "--to", archive).code
            assert list(tmp_path.iterdir()) == []
        case _:
            code = shared.run("scan", card, "--to", archive).returncode

    assert code == 0
    assert snapshot(shared.folder) == before


def test_the_plan_tells_each_items_decision_place_and_reason(desk):
    shared, card, archive = desk

    told = shared.tell("scan", card, "--to", archive)

    items = {os.path.relpath(item.pop("source_path"), card): item for item in told.document["items"]}
    assert {name: (item["decision"], item["path"], item["size"]) for name, item in items.items()} == {
        "100/a.mov": ("duplicate", "CARD/100/a.mov", 5000),
        "notes.txt": ("new", "CARD/notes_1.txt", 5),
        "b.mov": ("new", "CARD/b.mov", 100),
        ".DS_Store": ("excluded", None, 1),
        "pipe": ("skipped", None, 0),
    }
    assert all(set(item) == {"decision", "path", "reason", "size"} for item in items.values())
    assert items[".DS_Store"]["reason"] == "litter"
    assert items["pipe"]["reason"] == "special"
    assert items["notes.txt"]["reason"]


def test_the_plan_counts_and_adds_up(desk):
    shared, card, archive = desk

    told = shared.tell("scan", card, "--to", archive)

    counts = {name: number for name, number in told.document["counts"].items() if number}
    assert counts == {"new": 2, "duplicate": 1, "excluded": 1, "skipped": 1}
    assert told.document["bytes"] == 5106
    (place,) = told.document["destinations"]
    assert place["root"] == str(archive)
    assert place["files"] == 2
    assert place["bytes_needed"] >= 105
    assert place["bytes_free"] > place["bytes_needed"]
    assert place["enough"] is True


def test_the_plan_says_how_it_would_be_copied_and_why(tell, ingest, card, archive):
    plan = tell("copy", card, archive, "--dry-run", "--batch", "17", "--workers", "3", "--cache", "keep")
    shown = ingest.run("scan", card, "--to", archive).stdout

    how = plan.document["how"]
    for sentence in ("batches of 17 files: asked for", "3 workers: asked for", "cache keep: asked for"):
        assert sentence in how
    for choice in ("worker", "thread", "buffer", "batches", "read mode", "flush", "cache"):
        assert [sentence for sentence in how if choice in sentence.partition(":")[0]], choice
    section = shown.partition("\nHow:\n")[2].splitlines()
    assert section == ["  " + sentence for sentence in tell("scan", card, "--to", archive).document["how"]]
    assert section


def test_a_plan_for_no_archive_says_nothing_of_how(tell, ingest, card):
    assert tell("scan", card).document["how"] == []
    assert "How:" not in ingest.run("scan", card).stdout


def test_what_the_plan_says_is_what_the_copy_does(tell, card, archive, plant):
    plant(archive / "L", {".cameraid": b"another"})
    plan = tell("copy", card, archive, "--label", "L", "--dry-run")
    same = tell("scan", card, "--to", archive, "--label", "L")

    told = tell("copy", card, archive, "--label", "L")

    assert plan.document["items"] == same.document["items"]
    assert plan.document["counts"] == same.document["counts"]
    promised = {item["path"] for item in plan.document["items"] if item["decision"] == "new"}
    assert told.document["items"]["finalized"] == len(promised) == 6
    assert promised == {str(f.relative_to(archive)) for f in (archive / "L").rglob("*") if f.is_file()} - {
        "L/.cameraid"
    }


def test_several_destinations_tell_each_their_need(tell, card, archive, backup):
    assert tell("copy", card, archive).code == 0

    told = tell("scan", card, "--to", archive, "--to", backup)

    assert [place["files"] for place in told.document["destinations"]] == [0, 6]
    assert {item["decision"] for item in told.document["items"]} == {"new"}
    assert {item["reason"] for item in told.document["items"]} == {"new on 1 of 2 destinations"}


def test_another_cards_folder_is_foreseen(tell, plant, tmp_path, archive):
    first = plant(tmp_path / "1" / "EOS", {"a.mp4": b"1"})
    second = plant(tmp_path / "2" / "EOS", {"a.mp4": b"22"})
    assert tell("copy", first, archive).code == 0

    told = tell("scan", second, "--to", archive)

    assert [item["path"] for item in told.document["items"]] == ["EOS_2/a.mp4"]


def test_without_a_destination_everything_is_new_and_has_no_place(ingest, tell, card):
    told = tell("scan", card)
    said = ingest.run("scan", card)

    assert {item["decision"] for item in told.document["items"]} == {"new"}
    assert {item["path"] for item in told.document["items"]} == {None}
    assert told.document["destinations"] == []
    assert "6 new" in said.stdout


def test_filters_steer_the_plan_as_they_steer_the_copy(tell, card):
    told = tell("scan", card, "--only", "*.jpg", "--exclude", "MISC")

    decided = {os.path.relpath(i["source_path"], card): (i["decision"], i["reason"]) for i in told.document["items"]}
    assert decided["DCIM/100EOSR5/IMG_0001.JPG"] == ("new", None)
    assert decided["MISC"] == ("excluded", "--exclude")
    assert decided["DCIM/100EOSR5/IMG_0001.CR3"] == ("excluded", "--only")


def test_a_destination_that_is_not_there_is_exit_4(tell, card, tmp_path):
    told = tell("scan", card, "--to", tmp_path / "nowhere")

    assert told.code == 4
    assert "is the disk mounted" in (told.error["cause"] + told.error["advice"]).lower()
