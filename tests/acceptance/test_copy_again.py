"""The same card again: nothing is copied twice to one root, everything is copied to a new one."""

from __future__ import annotations

import pytest


@pytest.fixture
def archived(tell, card, archive):
    """The card has been brought home to the archive; the first answer."""
    told = tell("copy", card, archive)
    assert told.code == 0, told.errors
    return told


def test_running_again_copies_nothing_and_says_so(ingest, tell, card, archive, archived, snapshot):
    before = snapshot(archive / "EOS_DIGITAL")

    told = tell("copy", card, archive)
    said = ingest.run("copy", card, archive)

    assert told.code == said.returncode == 0
    assert told.document["items"]["finalized"] == 0
    assert told.document["items"]["duplicate"] == 6
    assert told.document["bytes"]["copied"] == 0
    assert told.document["destinations"][0]["copies"]["duplicate"] == 6
    assert "Nothing had to be copied." in said.stdout
    assert "6 files were there already" in said.stdout
    assert "FULLY ARCHIVED" in said.stdout
    assert snapshot(archive / "EOS_DIGITAL") == before
    assert sorted(entry.name for entry in archive.iterdir()) == [".ingest", "EOS_DIGITAL"]


def test_a_journal_that_is_lost_makes_no_second_copy(ingest, tell, card, archive, archived, tmp_path, snapshot):
    before = snapshot(archive / "EOS_DIGITAL")
    other = type(ingest)(tmp_path / "another-home")

    told = tell("copy", card, archive, by=other)

    assert told.code == 0, told.errors
    assert told.document["items"]["duplicate"] == 6
    assert snapshot(archive / "EOS_DIGITAL") == before


def test_only_what_is_new_on_the_card_is_copied(tell, card, archive, archived, media):
    (card / "DCIM/100EOSR5/IMG_0003.CR3").write_bytes(b"a new one")

    told = tell("copy", card, archive)

    assert told.document["items"]["finalized"] == 1
    assert told.document["items"]["duplicate"] == 6
    assert media(archive / "EOS_DIGITAL") == media(card)


def test_the_same_card_to_a_second_disk_tomorrow_is_copied_in_full(tell, card, archived, backup, media):
    told = tell("copy", card, backup)

    assert told.document["items"]["finalized"] == 6
    assert told.document["items"]["duplicate"] == 0
    assert media(backup / "EOS_DIGITAL") == media(card)


def test_a_second_destination_added_later_gets_everything_and_the_first_nothing(
    tell, card, archive, archived, backup, media, snapshot
):
    before = snapshot(archive / "EOS_DIGITAL")
    amount = archived.document["bytes"]["discovered"]

    told = tell("copy", card, archive, "--also", backup)

    assert told.code == 0, told.errors
    first, second = told.document["destinations"]
    assert (first["copies"]["finalized"], first["copies"]["duplicate"]) == (0, 6)
    assert (second["copies"]["finalized"], second["copies"]["duplicate"]) == (6, 0)
    assert told.document["bytes"]["copied"] == amount
    assert media(backup / "EOS_DIGITAL") == media(card)
    assert snapshot(archive / "EOS_DIGITAL") == before


def test_a_file_that_went_missing_in_the_archive_is_copied_again(tell, card, archive, archived, media):
    (archive / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4").unlink()

    told = tell("copy", card, archive)

    assert told.document["items"]["finalized"] == 1
    assert told.document["items"]["duplicate"] == 5
    assert media(archive / "EOS_DIGITAL") == media(card)


def test_a_summer_time_change_of_the_cards_clock_copies_nothing_again(tell, card, archive, archived, plant, snapshot):
    import os

    before = snapshot(archive / "EOS_DIGITAL/DCIM/100EOSR5")
    for file in [file for file in card.rglob("*") if file.is_file()]:
        moment = file.stat().st_mtime_ns + 3_600_000_000_000
        os.utime(file, ns=(moment, moment))

    told = tell("copy", card, archive)

    assert told.code == 0, told.errors
    assert told.document["items"]["duplicate"] == 6
    after = snapshot(archive / "EOS_DIGITAL/DCIM/100EOSR5")
    assert {name: entry.inode for name, entry in after.items()} == {name: entry.inode for name, entry in before.items()}


def test_duplicates_copy_keeps_both(tell, card, archive, archived):
    told = tell("copy", card, archive, "--label", "EOS_DIGITAL", "--duplicates", "copy")

    assert told.code == 0, told.errors
    assert told.document["items"]["finalized"] == 6
    twin = archive / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001_1.CR3"
    assert twin.read_bytes() == (card / "DCIM/100EOSR5/IMG_0001.CR3").read_bytes()


def test_a_root_whose_marker_is_gone_becomes_a_new_root_with_a_warning(ingest, tell, card, archive, archived, snapshot):
    before = snapshot(archive / "EOS_DIGITAL")
    old = archived.document["destinations"][0]["uuid"]
    (archive / ".ingest/root.json").unlink()

    told = tell("copy", card, archive)

    assert told.code == 0, told.errors
    assert told.document["destinations"][0]["uuid"] != old
    assert "was another root before" in told.errors
    assert any("was another root before" in warning for warning in told.document["warnings"])
    assert snapshot(archive / "EOS_DIGITAL") == before
