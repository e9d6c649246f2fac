"""A card comes home: everything on it arrives, byte for byte, and what was left behind is named."""

from __future__ import annotations

import os

import pytest


def test_a_fresh_card_arrives_byte_for_byte_with_its_times_and_empty_folders(tell, card, archive, media):
    told = tell("copy", card, archive)

    assert told.code == 0, told.errors
    assert media(archive / "EOS_DIGITAL") == media(card)
    assert [entry.name for entry in archive.iterdir() if entry.name != ".ingest"] == ["EOS_DIGITAL"]


def test_one_run_fills_two_destinations_alike(tell, card, archive, backup, media):
    told = tell("copy", card, archive, "--also", backup)

    assert told.code == 0, told.errors
    assert media(archive / "EOS_DIGITAL") == media(backup / "EOS_DIGITAL") == media(card)
    amount = sum(file.stat().st_size for file in card.rglob("*") if file.is_file())
    assert told.document["bytes"] == {
        "discovered": amount, "read": amount, "copied": 2 * amount, "verified": 2 * amount, "resumed": 0,
    }  # fmt: skip


def test_a_card_is_left_as_it_was(tell, card, archive, snapshot):
    before = snapshot(card)

    assert tell("copy", card, archive).code == 0

    assert snapshot(card) == before


def test_staging_is_left_empty(tell, card, archive, backup):
    assert tell("copy", card, archive, "--also", backup).code == 0

    for root in (archive, backup):
        assert list((root / ".ingest" / "staging").iterdir()) == []
        left = {entry.name for entry in (root / ".ingest").iterdir()}
        # A session that takes more than a moment has leases, too.
        assert left - {"leases"} == {"claims", "manifests", "root.json", "staging"}
        for emptied in left & {"claims", "leases"}:
            assert list((root / ".ingest" / emptied).iterdir()) == []


def test_systems_litter_stays_behind_and_is_listed_but_other_dot_files_are_footage(
    tell, plant, tmp_path, archive, rows
):
    litter = {
        ".DS_Store", "Thumbs.db", "desktop.ini", ".Spotlight-V100/store.db", ".Trashes/x", ".fseventsd/y", "@eaDir/z",
        "__MACOSX/w", "DCIM/._clip.mp4",
    }  # fmt: skip
    kept = {".cameraid", "DCIM/clip.mp4", "DCIM/._orphan.mp4", ".hidden/notes.txt", "DS_Store", "thumbs.db.bak"}
    source = plant(tmp_path / "CARD", {name: name.encode() for name in litter | kept})

    told = tell("copy", source, archive)

    assert told.code == 0, told.errors
    arrived = {str(f.relative_to(archive / "CARD")) for f in (archive / "CARD").rglob("*") if f.is_file()}
    assert arrived == kept
    assert told.document["items"]["finalized"] == len(kept)
    assert told.document["items"]["excluded"] == len(litter)
    listed = rows(archive, "SELECT source_path, reason FROM copies WHERE state = 'excluded'")
    tops = {os.fspath(source / (name if "._" in name else name.split("/")[0])) for name in litter}
    assert {row["source_path"] for row in listed} == tops
    assert {row["reason"] for row in listed} == {"litter"}


def test_what_the_user_excludes_is_listed_with_the_option_that_did_it(tell, card, archive, rows):
    told = tell("copy", card, archive, "--exclude", "*.jpg", "--exclude", "MISC")

    assert told.code == 0, told.errors
    assert not (archive / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.JPG").exists()
    assert not (archive / "EOS_DIGITAL/MISC/AUTPRINT.MRK").exists()
    assert (archive / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3").exists()
    listed = rows(archive, "SELECT source_path, reason FROM copies WHERE state = 'excluded' ORDER BY ALL")
    assert listed == [
        {"source_path": str(card / "DCIM/100EOSR5/IMG_0001.JPG"), "reason": "--exclude"},
        {"source_path": str(card / "MISC"), "reason": "--exclude"},
    ]


def test_only_takes_nothing_else(tell, card, archive):
    told = tell("copy", card, archive, "--only", "*.CR3", "--only", "*.MP4")

    assert told.code == 0, told.errors
    files = sorted(file.name for file in (archive / "EOS_DIGITAL").rglob("*") if file.is_file())
    assert files == ["IMG_0001.CR3", "MVI_0002.MP4"]
    assert told.document["items"]["finalized"] == 2
    assert told.document["items"]["excluded"] == 4


def test_a_single_file_goes_under_the_name_of_its_folder_and_brings_no_neighbours(tell, card, archive):
    clip = card / "DCIM/100EOSR5/MVI_0002.MP4"

    told = tell("copy", clip, archive)

    assert told.code == 0, told.errors
    copied = archive / "100EOSR5" / "MVI_0002.MP4"
    assert [p for p in archive.rglob("*") if p.is_file() and ".ingest" not in p.parts] == [copied]
    assert copied.read_bytes() == clip.read_bytes()
    assert copied.stat().st_mtime_ns == clip.stat().st_mtime_ns
    assert told.document["items"]["discovered"] == 1


def test_a_single_file_may_lie_beside_the_archive(tell, tmp_path, archive):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"clip")

    told = tell("copy", clip, archive)

    assert told.code == 0, told.errors
    assert (archive / tmp_path.name / "clip.mp4").read_bytes() == b"clip"


def test_two_sources_each_get_a_folder_of_their_own(tell, plant, tmp_path, archive, media):
    first = plant(tmp_path / "A001", {"clip.mov": b"first", "same.mov": b"same"})
    second = plant(tmp_path / "A002", {"clip.mov": b"second", "same.mov": b"same"})

    told = tell("copy", first, second, archive)

    assert told.code == 0, told.errors
    assert media(archive / "A001") == media(first)
    assert media(archive / "A002") == media(second)
    assert told.document["items"]["finalized"] == 4


def test_two_equal_files_on_a_card_both_arrive(tell, plant, tmp_path, archive, media):
    source = plant(tmp_path / "CARD", {"100/A.MP4": b"twin" * 999, "101/A.MP4": b"twin" * 999, "e1": b"", "e2": b""})

    told = tell("copy", source, archive)

    assert told.document["items"]["finalized"] == 4
    assert told.document["items"]["duplicate"] == 0
    assert media(archive / "CARD") == media(source)


@pytest.mark.parametrize("given", ["EOS_DIGITAL/", "link"])
def test_a_source_may_be_named_in_any_way_that_leads_to_it(tell, card, archive, media, tmp_path, given):
    (tmp_path / "link").symlink_to("EOS_DIGITAL")

    told = tell("copy", given, "archive", cwd=tmp_path)

    assert told.code == 0, told.errors
    assert media(archive / ("link" if given == "link" else "EOS_DIGITAL")) == media(card)
    assert all(os.path.isabs(path) and os.path.exists(path) for path in told.document["manifests"])


def test_an_empty_source_is_no_error(tell, tmp_path, archive):
    (tmp_path / "EMPTY").mkdir()

    told = tell("copy", tmp_path / "EMPTY", archive)

    assert told.code == 0, told.errors
    assert told.document["items"]["discovered"] == 0
    assert (archive / "EMPTY").is_dir()


def test_the_summary_tells_a_tired_person_that_all_of_it_arrived_where_and_how_it_was_proven(
    ingest, card, archive, backup
):
    done = ingest.run("copy", card, archive, "--also", backup)

    assert done.returncode == 0, done.stderr
    assert "6 files arrived." in done.stdout
    assert f"{archive}: 6 new copies; 6 files read back" in done.stdout
    assert f"{backup}: 6 new copies; 6 files read back" in done.stdout
    assert "FULLY ARCHIVED: all 6 files of the source are on 2 destinations, proven." in done.stdout


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_all_arrive_in_batches_of_any_size(tell, plant, tmp_path, archive, media, batch):
    source = plant(tmp_path / "MANY", {f"{n % 7}/{n:04}.jpg": b"%d" % n for n in range(50 if batch == 1 else 1500)})

    told = tell("copy", source, archive, "--batch", str(batch))

    assert told.code == 0
    assert media(archive / "MANY") == media(source)


def test_more_files_than_one_batch_all_arrive_from_several_workers(tell, plant, tmp_path, archive, media):
    source = plant(tmp_path / "MANY", {f"{n % 7}/{n:04}.jpg": b"%d" % n * (n % 90) for n in range(700)})

    told = tell("copy", source, archive, "--workers", "3")

    assert told.document["items"]["finalized"] == 700
    assert media(archive / "MANY") == media(source)
