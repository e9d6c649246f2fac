"""A card is never copied into itself, by whatever way its folder is reached."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def ways(card, tmp_path):
    """Make a link to a folder: another path to the same place."""

    def link(folder, name):
        (tmp_path / name).symlink_to(folder)
        return tmp_path / name

    return link


def test_a_link_into_the_card_is_no_destination(tell, card, ways, snapshot):
    before = snapshot(card)

    told = tell("copy", card, ways(card / "DCIM", "looks-like-a-disk"))

    assert told.code == 2
    assert "inside the source" in told.error["cause"]
    assert snapshot(card) == before


def test_a_link_to_a_card_inside_the_archive_is_no_source(tell, card, ways, archive, snapshot):
    inside = archive / "cards"
    card.rename(inside)
    before = snapshot(archive)

    told = tell("copy", ways(inside, "CARD"), archive)

    assert told.code == 2
    assert snapshot(archive) == before


def test_two_links_to_one_folder_are_one_destination(tell, card, archive, ways):
    told = tell("copy", card, ways(archive, "one"), "--also", ways(archive, "two"))

    assert told.code == 2
    assert list(archive.iterdir()) == []


@pytest.mark.root
def test_a_card_that_is_mounted_twice_is_no_destination_of_itself(tell, card, bind, snapshot):
    before = snapshot(card)

    told = tell("copy", card, bind(card, "second-mount"))

    assert told.code == 2
    assert snapshot(card) == before


@pytest.mark.root
def test_a_mount_of_a_folder_of_the_card_is_no_destination(tell, card, bind, snapshot):
    before = snapshot(card)

    told = tell("copy", card, bind(card / "DCIM", "second-mount"))

    assert told.code == 2
    assert snapshot(card) == before


@pytest.mark.root
def test_a_mount_of_a_folder_of_the_archive_is_no_source(tell, plant, archive, bind, snapshot):
    plant(archive / "shoot", {"clip.mov": b"clip"})
    before = snapshot(archive)

    told = tell("copy", bind(archive / "shoot", "CARD"), archive)

    assert told.code == 2
    assert snapshot(archive) == before


@pytest.mark.root
def test_one_archive_that_is_mounted_twice_is_one_destination(tell, card, archive, bind):
    told = tell("copy", card, archive, "--also", bind(archive, "second-mount"))

    assert told.code == 2
    assert [entry.name for entry in archive.iterdir() if entry.name != ".ingest"] == []


def test_folders_that_only_begin_alike_do_not_overlap(tell, card, tmp_path, media):
    beside = tmp_path / (card.name + "_archive")
    beside.mkdir()

    told = tell("copy", card, beside)

    assert told.code == 0, told.errors
    assert media(beside / card.name) == media(card)


def test_a_clone_of_a_destination_is_not_taken_for_a_second_one(tell, card, archive, backup):
    assert tell("copy", card, archive).code == 0
    (backup / ".ingest").mkdir()
    (backup / ".ingest/root.json").write_bytes((archive / ".ingest/root.json").read_bytes())

    told = tell("copy", card, archive, "--also", backup)

    assert told.code == 2
    assert "clone" in told.error["cause"]
    assert os.listdir(backup) == [".ingest"]
