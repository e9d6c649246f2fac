"""A name that is taken stays taken: nothing in an archive is ever replaced, touched or moved."""

from __future__ import annotations

import os


def test_other_content_under_a_taken_name_gets_a_number_before_its_extension(tell, plant, tmp_path, archive):
    first = plant(
        tmp_path / "mon", {"DCIM/IMG_1.JPG": b"monday", "README": b"monday", ".conf": b"m", "a.tar.gz": b"mo"}
    )
    second = plant(tmp_path / "tue", {"DCIM/IMG_1.JPG": b"tuesday", "README": b"tue", ".conf": b"tu", "a.tar.gz": b"t"})

    assert tell("copy", first, archive, "--label", "wedding").code == 0
    told = tell("copy", second, archive, "--label", "wedding")

    assert told.code == 0, told.errors
    assert told.document["items"]["finalized"] == 4
    found = {
        str(f.relative_to(archive / "wedding")): f.read_bytes() for f in (archive / "wedding").rglob("*") if f.is_file()
    }
    assert found == {
        "DCIM/IMG_1.JPG": b"monday", "DCIM/IMG_1_1.JPG": b"tuesday", "README": b"monday", "README_1": b"tue",
        ".conf": b"m", ".conf_1": b"tu", "a.tar.gz": b"mo", "a.tar_1.gz": b"t",
    }  # fmt: skip


def test_running_it_again_finds_the_numbered_copies(tell, plant, tmp_path, archive, snapshot):
    cards = [plant(tmp_path / f"card{n}", {"a.jpg": b"%d" % n * n, "b.jpg": b"%d" % n * 7}) for n in (1, 2)]
    for card in cards:
        assert tell("copy", card, archive, "--label", "L").code == 0
    before = snapshot(archive / "L")

    again = [tell("copy", card, archive, "--label", "L") for card in cards]

    assert [told.document["items"]["duplicate"] for told in again] == [2, 2]
    assert snapshot(archive / "L") == before
    assert sorted(os.listdir(archive / "L")) == ["a.jpg", "a_1.jpg", "b.jpg", "b_1.jpg"]


def test_a_number_never_takes_a_name_that_the_card_itself_needs(tell, plant, tmp_path, archive):
    assert tell("copy", plant(tmp_path / "one", {"a.jpg": b"old"}), archive, "--label", "L").code == 0
    card = plant(tmp_path / "two", {"a.jpg": b"new a", "a_1.jpg": b"new a_1"})

    told = tell("copy", card, archive, "--label", "L")

    assert told.code == 0, told.errors
    found = {file.name: file.read_bytes() for file in (archive / "L").iterdir()}
    assert found == {"a.jpg": b"old", "a_1.jpg": b"new a_1", "a_2.jpg": b"new a"}


def test_files_that_somebody_else_put_there_are_not_touched(tell, card, archive, snapshot):
    own = archive / "EOS_DIGITAL"
    (own / "DCIM/100EOSR5").mkdir(parents=True)
    (own / "notes.txt").write_bytes(b"call the bride")
    (own / "DCIM/100EOSR5/edit.psd").write_bytes(b"layers")
    (own / ".cameraid").write_bytes(b"not the same")
    os.utime(own / "notes.txt", ns=(5, 5))
    before = snapshot(own)

    told = tell("copy", card, archive)

    assert told.code == 0, told.errors
    after = snapshot(own)
    for name in (b"notes.txt", b"DCIM/100EOSR5/edit.psd", b".cameraid"):
        assert after[name] == before[name]
    assert (own / ".cameraid_1").read_bytes() == b"R5-0042\n"


def test_an_equal_file_that_somebody_else_put_there_is_a_duplicate_and_stays(tell, card, archive, snapshot):
    clip = archive / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes((card / "DCIM/100EOSR5/MVI_0002.MP4").read_bytes())
    before = clip.stat()

    told = tell("copy", card, archive)

    assert told.code == 0, told.errors
    assert told.document["items"]["duplicate"] == 1
    assert told.document["items"]["finalized"] == 5
    assert (clip.stat().st_ino, clip.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_changed_file_in_the_archive_is_not_repaired_over_but_stands_beside_the_true_one(tell, card, archive):
    assert tell("copy", card, archive, "--label", "L").code == 0
    clip = archive / "L/DCIM/100EOSR5/IMG_0001.CR3"
    facts = clip.stat()
    damaged = bytearray(clip.read_bytes())
    damaged[1000] ^= 1
    clip.write_bytes(damaged)
    os.utime(clip, ns=(facts.st_atime_ns, facts.st_mtime_ns + 10_000_000_000))

    told = tell("copy", card, archive, "--label", "L")

    assert told.document["items"]["finalized"] == 1
    assert clip.read_bytes() == damaged
    assert (clip.parent / "IMG_0001_1.CR3").read_bytes() == (card / "DCIM/100EOSR5/IMG_0001.CR3").read_bytes()


def test_a_link_in_the_way_is_not_followed_out_of_the_archive(tell, plant, tmp_path, archive):
    outside = tmp_path / "outside"
    outside.mkdir()
    (archive / "L").mkdir()
    (archive / "L/DCIM").symlink_to(outside)
    (archive / "L/b.jpg").symlink_to(outside / "victim")
    card = plant(tmp_path / "card", {"DCIM/a.jpg": b"a", "b.jpg": b"b", "c.jpg": b"c"})

    told = tell("copy", card, archive, "--label", "L")

    assert told.code == 7, told.errors
    assert list(outside.iterdir()) == []
    assert (archive / "L/DCIM").is_symlink()
    assert (archive / "L/b.jpg").is_symlink()
    assert (archive / "L/c.jpg").read_bytes() == b"c"
    assert (archive / "L/b_1.jpg").read_bytes() == b"b"
    (failure,) = told.document["failures"]
    assert failure["path"] == str(card / "DCIM/a.jpg")
    assert failure["reason"] == "outside_root"
    assert failure["advice"]


def test_a_file_where_a_folder_should_be_fails_what_is_in_the_folder_and_nothing_else(tell, plant, tmp_path, archive):
    (archive / "L").mkdir()
    (archive / "L/DCIM").write_bytes(b"a file")
    card = plant(tmp_path / "card", {"DCIM/a.jpg": b"a", "c.jpg": b"c"})

    told = tell("copy", card, archive, "--label", "L")

    assert told.code == 7
    assert (archive / "L/DCIM").read_bytes() == b"a file"
    assert (archive / "L/c.jpg").read_bytes() == b"c"
    assert [failure["reason"] for failure in told.document["failures"]] == ["folder_is_a_file"]


def test_a_folder_where_a_file_should_be_leaves_it_a_number(tell, plant, tmp_path, archive):
    (archive / "L/clip.mov").mkdir(parents=True)
    card = plant(tmp_path / "card", {"clip.mov": b"clip"})

    told = tell("copy", card, archive, "--label", "L")

    assert told.code == 0, told.errors
    assert (archive / "L/clip.mov").is_dir()
    assert (archive / "L/clip_1.mov").read_bytes() == b"clip"
