"""Which folder a card goes to: its own name, the name that was asked for, or `<name>_2` where another card lives."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def cards(plant, tmp_path):
    """Make a card that is called as all of its make are, shot on another day: `cards(1, {...})`."""
    return lambda number, tree: plant(tmp_path / f"reader{number}" / "EOS_DIGITAL", tree, later=number * 100_000)


def folders(archive):
    return sorted(entry.name for entry in archive.iterdir() if entry.name != ".ingest")


def test_label_renames_the_cards_folder(tell, card, archive, media):
    told = tell("copy", card, archive, "--label", "Day 1, Cam A")

    assert told.code == 0, told.errors
    assert folders(archive) == ["Day 1, Cam A"]
    assert media(archive / "Day 1, Cam A") == media(card)


@pytest.mark.parametrize("label", ["-x", "..été 🎬", "caf\udce9"])
def test_a_label_may_be_any_name_that_a_folder_may_have(tell, plant, tmp_path, archive, media, label):
    card = plant(tmp_path / "card", {"a.jpg": b"a"})

    told = tell("copy", card, archive, os.fsencode(f"--label={label}"))

    assert told.code == 0, told.errors
    assert media(archive / label) == media(card)


@pytest.mark.parametrize("label", ["", "..", "/", "a/b", ".ingest", ".ingest-x"])
def test_a_label_that_is_no_name_of_one_folder_is_refused(tell, card, archive, label):
    told = tell("copy", card, archive, f"--label={label}")

    assert told.code == 2
    assert "--label" in told.error["advice"]
    assert folders(archive) == []


def test_a_label_too_long_for_a_name_is_refused(tell, card, archive):
    told = tell("copy", card, archive, "--label", "x" * 256)

    assert told.code == 2
    assert "255" in told.error["cause"]


def test_the_root_of_the_file_system_has_no_name_to_go_by(tell, archive):
    told = tell("copy", "/", archive, "--dry-run")

    assert told.code == 2
    assert "--label" in told.error["advice"]


@pytest.mark.parametrize("options", [(), ("--label", "same")])
def test_two_sources_that_would_share_a_folder_are_refused(tell, cards, archive, options):
    first = cards(1, {"a.mp4": b"1"})
    second = cards(2, {"b.mp4": b"2"})

    told = tell("copy", first, second, archive, *options)

    assert told.code == 2
    assert "--label" in told.error["advice"]
    assert folders(archive) == []


def test_other_cards_of_the_same_name_get_numbered_folders_and_each_finds_its_own_again(tell, cards, archive, media):
    three = [
        cards(n, {"DCIM/IMG_0001.JPG": b"%d" % n * 500, "DCIM/IMG_0002.JPG": b"x%d" % n})
        for n in (1, 2, 3)
    ]  # fmt: skip

    first_time = [tell("copy", each, archive) for each in three]
    second_time = [tell("copy", each, archive) for each in (three[1], three[0])]

    assert [told.code for told in first_time + second_time] == [0] * 5
    assert [told.document["items"]["finalized"] for told in first_time] == [2, 2, 2]
    assert [told.document["items"]["duplicate"] for told in second_time] == [2, 2]
    assert folders(archive) == ["EOS_DIGITAL", "EOS_DIGITAL_2", "EOS_DIGITAL_3"]
    for each, folder in zip(three, folders(archive), strict=True):
        assert media(archive / folder) == media(each)


def test_equal_sizes_and_times_but_other_bytes_are_never_taken_for_the_same_file(tell, plant, tmp_path, archive):
    first = plant(tmp_path / "reader1" / "EOS_DIGITAL", {"A001.MOV": b"first take" * 99})
    second = plant(tmp_path / "reader2" / "EOS_DIGITAL", {"A001.MOV": b"other take" * 99})

    assert tell("copy", first, archive).code == 0
    told = tell("copy", second, archive)

    assert told.code == 0, told.errors
    assert told.document["items"]["finalized"] == 1
    copies = [file.read_bytes() for file in archive.rglob("A001*.MOV")]
    assert sorted(copies) == sorted([b"first take" * 99, b"other take" * 99])
    assert (archive / "EOS_DIGITAL/A001.MOV").read_bytes() == b"first take" * 99


def test_a_changed_index_of_the_camera_alone_is_no_other_card(tell, plant, tmp_path, archive):
    source = plant(tmp_path / "A001", {"CLIP/C0001.MXF": b"essence" * 300, "MEDIAPRO.INP": b"one clip"})
    assert tell("copy", source, archive).code == 0
    plant(
        source, {"CLIP/C0002.MXF": b"more" * 300, "MEDIAPRO.INP": b"two clips now", "CLIP/C0001.MXF": b"essence" * 300}
    )

    told = tell("copy", source, archive)
    again = tell("copy", source, archive)

    assert told.code == again.code == 0, told.errors
    assert folders(archive) == ["A001"]
    assert (archive / "A001/MEDIAPRO.INP").read_bytes() == b"one clip"
    assert (archive / "A001/MEDIAPRO_1.INP").read_bytes() == b"two clips now"
    assert told.document["items"]["finalized"] == 2
    assert told.document["items"]["duplicate"] == 1
    assert again.document["items"]["duplicate"] == 3


def test_the_number_holds_on_every_destination_of_a_run_and_is_said(ingest, tell, cards, archive, backup, media):
    assert tell("copy", cards(1, {"a.mp4": b"1"}), archive).code == 0
    second = cards(2, {"a.mp4": b"22"})

    done = ingest.run("copy", second, archive, "--also", backup)

    assert done.returncode == 0, done.stderr
    assert media(archive / "EOS_DIGITAL_2") == media(backup / "EOS_DIGITAL_2") == media(second)
    assert "EOS_DIGITAL_2" in done.stderr
    assert str(archive / "EOS_DIGITAL_2") in done.stdout
