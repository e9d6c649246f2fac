"""May the card be erased? Only if every file on it has copies that count: proven, present, on disks of their own."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest

# Folders of one disk serve as the card and as two archives where the disks are not the point.
ONE_DISK = "--same-volume"


def reasons(told):
    return {os.path.basename(each["path"]): each["reason"] for each in told.document["not_covered"]}


@pytest.fixture
def tmp_path(same_place):
    return same_place


@pytest.fixture
def home_twice(once, card, archive, backup):
    """A card that was brought home to two archives."""
    assert once("copy", card, archive, "--also", backup).code == 0


def test_a_card_with_two_proven_copies_is_safe_and_nothing_is_touched(
    tell, ingest, card, archive, backup, home_twice, snapshot
):
    before = [snapshot(place) for place in (card, archive, backup)]

    told = tell("check", card, ONE_DISK)
    said = ingest.run("check", card, ONE_DISK)

    assert told.code == said.returncode == told.document["exit_code"] == 0, told.errors
    assert told.document["safe"] is True
    assert told.document["not_covered"] == []
    assert (told.document["files"], told.document["covered"], told.document["copies_required"]) == (6, 6, 2)
    assert told.document["bytes"]["read"] == sum(path.stat().st_size for path in card.rglob("*") if path.is_file())
    assert told.document["bytes"]["read_back"] == 0, "what was proven when it was copied is not read again"
    assert {place["root"] for place in told.document["roots"]} == {str(archive), str(backup)}
    assert "SAFE TO ERASE" in said.stdout
    assert [snapshot(place) for place in (card, archive, backup)] == before


def test_two_archives_on_one_volume_are_one_copy_unless_it_is_allowed(tell, ingest, card, home_twice, make_disk):
    twin = shutil.copytree(card, make_disk("ext4") / "CARD")

    told = tell("check", twin)
    said = ingest.run("check", twin)

    assert told.code == said.returncode == 1
    assert told.document["safe"] is False
    assert (told.document["files"], told.document["covered"]) == (6, 0)
    for kept in told.document["not_covered"]:
        assert kept["copies"] == 1
        assert "1 of 2 copies count" in kept["reason"]
        assert "same volume" in kept["reason"]
        assert kept["advice"]
    assert "NOT SAFE: 6 files" in said.stdout
    assert tell("check", twin, ONE_DISK).code == 0


def test_two_disks_are_two_copies(tell, card, make_disk):
    disk, other = make_disk("ext4"), make_disk("ext4")
    assert tell("copy", card, disk, "--also", other).code == 0

    assert tell("check", card).document["safe"] is True


def test_an_archive_on_the_cards_own_disk_does_not_count_unless_it_is_allowed(tell, card, archive, make_disk):
    disk = make_disk("ext4")
    source = shutil.copytree(card, disk / "CARD")
    (near := disk / "backup").mkdir()
    assert tell("copy", source, archive, "--also", near).code == 0

    told, one = tell("check", source), tell("check", source, "--copies", "1", "--root", near)

    assert (told.code, told.document["covered"]) == (1, 0)
    assert all("1 of 2 copies count" in reason for reason in reasons(told).values())
    for each in (told, one):
        assert all("is on the card's own disk" in reason for reason in reasons(each).values()), each.document
    assert one.code == 1
    assert tell("check", source, ONE_DISK).code == 0


def test_archives_that_are_asked_about_together_are_no_copies_of_each_other(tell, archive, backup, home_twice):
    halves = [place / "EOS_DIGITAL" for place in (archive, backup)]

    told = tell("check", *halves, "--copies", "1", ONE_DISK)

    assert (told.code, told.document["files"], told.document["covered"]) == (1, 12, 0)
    assert all("is itself among what is asked about" in reason for reason in reasons(told).values()), told.document
    assert tell("check", halves[0], "--copies", "1", ONE_DISK).code == 0


def test_one_file_of_a_folder_is_asked_about_alone(tell, archive, plant, tmp_path):
    card = plant(tmp_path / "CARD", {"a.mov": b"a", "b.mov": b"b"})
    assert tell("copy", card, archive).code == 0
    inside = archive.rename(card / "archive")
    one = ("--copies", "1", ONE_DISK, "--root", inside)

    told, whole = tell("check", card / "a.mov", *one), tell("check", card, *one)

    assert (told.code, told.document["files"]) == (0, 1), told.document
    assert (whole.code, whole.document["covered"]) == (1, 0)
    assert "is itself among what is asked about" in reasons(whole)["b.mov"]


def test_what_lies_in_an_archive_has_no_copy_in_it(tell, archive, plant, tmp_path):
    card = plant(tmp_path / "CARD", {"a.mov": b"same", "b.mov": b"same"})
    assert tell("copy", card, archive).code == 0

    told = tell("check", archive / "CARD/a.mov", "--copies", "1", ONE_DISK)

    assert told.code == 1
    assert "is in the archive that the source itself lies in" in reasons(told)["a.mov"]


@pytest.mark.parametrize("make", [lambda path: path.write_text("a note"), lambda path: path.symlink_to("/nowhere")])
def test_what_has_only_the_name_of_an_archives_record_is_no_archive_around_the_card(
    tell, once, card, archive, make, tmp_path
):
    assert once("copy", card, archive).code == 0
    make(tmp_path / ".ingest")

    assert tell("check", card, "--copies", "1", ONE_DISK).code == 0


@pytest.mark.root
def test_an_archive_that_is_seen_through_another_file_system_is_no_copy_of_itself(tell, once, card, archive, tmp_path):
    assert once("copy", card, archive).code == 0
    upper, work, merged = [tmp_path / name for name in ("upper", "work", "merged")]
    for folder in (upper, work, merged):
        folder.mkdir()
    # Relative paths: then the mount table does not tell where its layers are.
    options = f"lowerdir={archive.name},upperdir={upper.name},workdir={work.name}"
    command = ["mount", "-t", "overlay", "-o", options, "overlay", merged]
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    if done.returncode:
        pytest.skip(f"no overlay here: {done.stderr!r}")
    try:
        told = tell("check", merged / "EOS_DIGITAL", "--copies", "1", "--root", archive)
    finally:
        subprocess.run(["umount", merged], check=True)

    assert (told.code, told.document["covered"]) == (1, 0)
    assert all("is in the archive that the source itself lies in" in each for each in reasons(told).values()), reasons(
        told
    )


def test_a_copy_that_is_another_name_of_another_file_on_the_card_does_not_count(tell, plant, archive, tmp_path):
    card = plant(tmp_path / "CARD", {"a.mov": b"same", "b.mov": b"same"})
    for name in ("a.mov", "b.mov"):
        os.utime(card / name, ns=(10**18, 10**18))
    assert tell("copy", card, archive).code == 0
    for name, other in (("a.mov", "b.mov"), ("b.mov", "a.mov")):
        (archive / "CARD" / name).unlink()
        os.link(card / other, archive / "CARD" / name)

    told = tell("check", card, "--copies", "1", ONE_DISK)

    assert (told.code, told.document["covered"]) == (1, 0)


def test_one_copy_is_enough_where_one_is_asked_for(tell, once, card, archive):
    assert once("copy", card, archive).code == 0

    assert tell("check", card, ONE_DISK).code == 1
    assert tell("check", card, "--copies", "1", ONE_DISK).code == 0
    assert tell("check", card, "--copies", "0").code == 2


def test_a_file_that_came_to_the_card_later_is_not_covered(tell, card, home_twice):
    (card / "DCIM/100EOSR5/IMG_0003.CR3").write_bytes(b"a new picture")

    told = tell("check", card, ONE_DISK)

    assert told.code == 1
    assert (told.document["files"], told.document["covered"]) == (7, 6)
    assert reasons(told) == {"IMG_0003.CR3": "no archive here has it"}
    assert told.document["not_covered"][0]["copies"] == 0


def test_a_file_that_was_edited_after_the_copy_is_not_covered_though_size_and_time_are_the_same(tell, card, home_twice):
    picture = card / "DCIM/100EOSR5/IMG_0001.CR3"
    facts = picture.stat()
    with picture.open("r+b") as file:
        file.write(b"edited")
    os.utime(picture, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    told = tell("check", card, ONE_DISK)
    fast = tell("check", card, ONE_DISK, "--fast")

    assert told.code == 1
    assert list(reasons(told)) == ["IMG_0001.CR3"]
    assert fast.code == 0, "what --fast cannot see, as its help says"


def test_fast_reads_no_file_of_the_card(ingest, card, home_twice, strace, tmp_path):
    trace = tmp_path / "trace"
    command = [strace, "-f", "-y", "-qq", "-e", "trace=read,pread64,readv,preadv,mmap", "-o", trace,
               *ingest.command("check", card, ONE_DISK, "--fast", "--json")]  # fmt: skip

    done = subprocess.run(command, env=ingest.environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["safe"] is True
    assert f"<{card}/" not in trace.read_text()


def test_fast_believes_only_path_size_and_time_that_were_recorded(tell, card, home_twice):
    touched = card / "DCIM/100EOSR5/IMG_0001.JPG"
    os.utime(touched, ns=(0, 1))

    told = tell("check", card, ONE_DISK, "--fast")

    assert told.code == 1
    assert reasons(told) == {"IMG_0001.JPG": "no session recorded it with this size and time"}
    assert tell("check", card, ONE_DISK).code == 0, "its content is what was copied"


def test_the_name_and_the_place_of_the_card_do_not_matter_unless_it_is_fast(tell, card, home_twice, tmp_path):
    elsewhere = card.rename(tmp_path / "another name")

    assert tell("check", elsewhere, ONE_DISK).code == 0
    assert tell("check", elsewhere, ONE_DISK, "--fast").code == 1
    assert tell("check", elsewhere / "DCIM", ONE_DISK).document["files"] == 4
    assert tell("check", elsewhere / "DCIM/100EOSR5/MVI_0002.MP4", ONE_DISK).document["files"] == 1


def test_a_copy_that_is_not_there_any_more_does_not_count(tell, card, archive, backup, home_twice):
    (archive / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4").unlink()

    told = tell("check", card, ONE_DISK)

    assert told.code == 1
    reason = reasons(told)["MVI_0002.MP4"]
    assert f"{archive}/EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4 is not there any more" in reason
    assert told.document["not_covered"][0]["copies"] == 1


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda path: os.truncate(path, 5), "is 5 bytes long, not"),
        (lambda path: os.utime(path, ns=(0, 0)), "was changed after it was proven"),
        (lambda path: (path.unlink(), path.mkdir()), "is no regular file any more"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "is no regular file any more"),
    ],
    ids=["cut off", "touched", "a folder", "a link"],
)
def test_a_copy_that_is_not_as_it_was_does_not_count(tell, card, archive, home_twice, harm, sentence):
    harm(archive / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4")

    told = tell("check", card, ONE_DISK)

    assert told.code == 1
    assert list(reasons(told)) == ["MVI_0002.MP4"]
    assert sentence in reasons(told)["MVI_0002.MP4"]


def test_duplicates_are_read_back_before_they_count(tell, card, archive, backup, home_twice):
    again = tell("copy", card, archive, "--also", backup)
    assert again.document["items"]["duplicate"] == 6

    sound = tell("check", card, ONE_DISK)
    rotten = archive / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3"
    rot(rotten)
    told = tell("check", card, ONE_DISK)

    assert sound.code == 0
    assert sound.document["bytes"]["read_back"] == 2 * sound.document["bytes"]["read"]
    assert told.code == 1
    assert f"{rotten} holds other bytes than were recorded" in reasons(told)["IMG_0001.CR3"]


def rot(path):
    """Other bytes, of the same size and time."""
    facts = path.stat()
    with path.open("r+b") as file:
        file.write(b"rot")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_what_was_proven_of_an_archive_is_not_proven_of_a_clone_that_became_an_archive_of_its_own(
    tell, once, card, plant, archive, tmp_path
):
    assert once("copy", card, archive).code == 0
    clone = shutil.copytree(archive, tmp_path / "clone")
    (clone / ".ingest/root.json").unlink()
    assert tell("copy", plant(tmp_path / "OTHER", {"a.mov": b"a"}), clone).code == 0
    rot(clone / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3")

    told = tell("check", card, "--copies", "1", ONE_DISK, "--root", clone)

    assert told.code == 1
    assert list(reasons(told)) == ["IMG_0001.CR3"]
    assert "holds other bytes than were recorded" in reasons(told)["IMG_0001.CR3"]
    assert told.document["bytes"]["read_back"] == told.document["bytes"]["read"], "all of it was read back now"


def test_a_clone_beside_its_archive_is_read_back(tell, once, card, archive, tmp_path):
    assert once("copy", card, archive).code == 0
    clone = shutil.copytree(archive, tmp_path / "clone")
    rot(clone / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3")

    told = tell("check", card, "--copies", "1", ONE_DISK, "--root", clone)

    assert told.code == 1
    assert list(reasons(told)) == ["IMG_0001.CR3"]
    assert told.document["bytes"]["read_back"] == told.document["bytes"]["read"]


def test_what_was_proven_on_one_disk_is_not_proven_of_a_clone_on_another(tell, card, make_disk):
    (archive := make_disk("ext4") / "archive").mkdir()
    assert tell("copy", card, archive).code == 0
    clone = shutil.copytree(archive, make_disk("ext4") / "clone")
    rot(clone / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3")

    told = tell("check", card, "--copies", "1", "--root", clone)

    assert told.code == 1
    assert list(reasons(told)) == ["IMG_0001.CR3"]
    assert told.document["bytes"]["read_back"] == told.document["bytes"]["read"]


def replaced_unrecorded(tell, card, archive, picture, change):
    """Bring a card home, and again with a file changed, of which the archive's manifests do not tell."""
    assert tell("copy", card, archive).code == 0
    before = set((archive / ".ingest/manifests").glob("*/items-*"))
    (archive / "EOS_DIGITAL" / picture).unlink()
    change(card / picture)
    assert tell("copy", card, archive).document["items"]["finalized"] == 1
    for part in set((archive / ".ingest/manifests").glob("*/items-*")) - before:
        part.unlink()


def test_what_a_session_put_there_that_died_before_it_recorded_it_does_not_pass_for_what_was_there(
    tell, card, archive, tmp_path
):
    """The journal knows the time of the new file; only its digest says that it is not the one that is asked about."""
    (old := tmp_path / "OLD").mkdir()
    shutil.copytree(card, old / "CARD")
    picture = "DCIM/100EOSR5/IMG_0001.CR3"
    replaced_unrecorded(tell, card, archive, picture, lambda path: path.write_bytes(b"x" * path.stat().st_size))

    told = tell("check", old / "CARD", "--copies", "1", ONE_DISK)

    assert told.code == 1
    assert list(reasons(told)) == ["IMG_0001.CR3"]


def test_other_bytes_of_the_same_size_and_time_that_only_the_journal_knows_of_are_found(tell, card, archive, tmp_path):
    (old := tmp_path / "OLD").mkdir()
    shutil.copytree(card, old / "CARD")
    picture = "DCIM/100EOSR5/IMG_0001.CR3"
    replaced_unrecorded(tell, card, archive, picture, rot)

    told = tell("check", old / "CARD", "--copies", "1", ONE_DISK)

    assert told.code == 1
    assert "holds other bytes than were recorded" in reasons(told)["IMG_0001.CR3"]


@pytest.mark.parametrize("apart", [1, -1_500_000_000, 3_600_000_000_000], ids=["1 ns", "1.5 s", "1 h"])
def test_a_copy_whose_time_is_only_nearly_the_recorded_one_is_read_back(tell, once, card, archive, apart):
    assert once("copy", card, archive).code == 0
    clips = [archive / "EOS_DIGITAL/DCIM/100EOSR5" / name for name in ("IMG_0001.CR3", "MVI_0002.MP4")]
    rot(clips[0])
    for clip in clips:
        os.utime(clip, ns=(0, clip.stat().st_mtime_ns + apart))

    told = tell("check", card, "--copies", "1", ONE_DISK)

    assert told.code == 1
    assert list(reasons(told)) == ["IMG_0001.CR3"]
    assert "holds other bytes than were recorded" in reasons(told)["IMG_0001.CR3"]
    assert told.document["bytes"]["read_back"] == sum(clip.stat().st_size for clip in clips)


def test_a_time_that_the_journal_knows_the_copy_was_given_is_as_good_as_the_recorded_one(
    tell, once, ingest, card, archive, tmp_path
):
    assert once("copy", card, archive).code == 0
    clip = archive / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4"
    kept = clip.stat().st_mtime_ns // 2_000_000_000 * 2_000_000_000
    os.utime(clip, ns=(0, kept))
    with closing(sqlite3.connect(ingest.home / "ingest.sqlite3")) as journal, journal:
        row = (kept, os.fsencode(clip.relative_to(archive)))
        assert journal.execute("UPDATE locations SET mtime_ns = ? WHERE path = ?", row).rowcount == 1
    one = ("--copies", "1", ONE_DISK)

    known = tell("check", card, *one)
    unknown = tell("check", card, *one, "--root", archive, by=type(ingest)(tmp_path / "nobody's home"))

    assert (known.code, known.document["bytes"]["read_back"]) == (0, 0), known.document
    assert (unknown.code, unknown.document["bytes"]["read_back"]) == (0, clip.stat().st_size), unknown.document


def test_times_that_a_file_system_rounds_are_known_by_the_journal_and_else_read_back(
    tell, ingest, card, make_disk, tmp_path
):
    disk = make_disk("vfat")
    assert tell("copy", card, disk).code == 0
    one = ("--copies", "1", "--accept-reread")

    known = tell("check", card, *one)
    unknown = tell("check", card, *one, "--root", disk, by=type(ingest)(tmp_path / "nobody's home"))

    assert (known.code, known.document["bytes"]["read_back"]) == (0, 0), known.document
    assert unknown.code == 0, unknown.document
    assert unknown.document["bytes"]["read_back"] == unknown.document["bytes"]["read"]


def test_what_verify_found_damaged_is_relied_on_by_nobody(tell, once, card, archive, backup):
    assert once("copy", card, archive, "--also", backup).code == 0
    rotten = archive / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3"
    rot(rotten)
    one = ("--copies", "1", ONE_DISK, "--root", archive)
    assert tell("check", card, *one).code == 0, "nobody has read it since"

    assert tell("verify", archive).code == 3
    told = tell("check", card, *one)
    assert tell("catalog", "rebuild", archive).code == 0
    again = tell("check", card, *one)
    copied = tell("copy", card, archive)

    for each in (told, again):
        assert (each.code, each.document["bytes"]["read_back"]) == (1, rotten.stat().st_size)
        assert "holds other bytes than were recorded" in reasons(each)["IMG_0001.CR3"]
    assert (copied.document["items"]["finalized"], copied.document["items"]["duplicate"]) == (1, 5)
    assert rotten.with_name("IMG_0001_1.CR3").read_bytes() == (card / "DCIM/100EOSR5/IMG_0001.CR3").read_bytes()


def test_what_was_mended_is_read_back_until_all_of_the_archive_was_found_whole(tell, once, card, archive, backup):
    assert once("copy", card, archive, "--also", backup).code == 0
    rotten = archive / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3"
    rot(rotten)
    session = tell("sessions").document["sessions"][0]["session"]
    assert tell("verify", archive, "--session", session).code == 3
    assert tell("repair", archive, "--from", backup).code == 0

    told = tell("check", card, ONE_DISK)
    assert tell("verify", archive).code == 0
    after = tell("check", card, ONE_DISK)

    assert (told.code, told.document["bytes"]["read_back"]) == (0, rotten.stat().st_size)
    assert (after.code, after.document["bytes"]["read_back"]) == (0, 0)


def test_a_clone_that_is_whole_does_not_make_the_archive_whole(tell, once, card, archive, tmp_path):
    assert once("copy", card, archive).code == 0
    clone = shutil.copytree(archive, tmp_path / "clone")
    rot(archive / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3")
    assert tell("verify", archive).code == 3
    assert tell("verify", clone).code == 0

    assert tell("check", card, "--copies", "1", ONE_DISK, "--root", archive).code == 1


def overwrite_first_page(journal, table):
    """Bytes that are no page of a database, where a table begins."""
    with closing(sqlite3.connect(journal)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    with journal.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)


@pytest.mark.parametrize("table", ["locations", "roots"])
@pytest.mark.parametrize("options", [(), ("--fast",)], ids=["read", "fast"])
def test_a_journal_that_cannot_tell_what_verify_found_is_an_error_and_nothing_is_called_safe(
    tell, ingest, card, archive, backup, home_twice, table, options
):
    rot(backup / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3")
    assert tell("verify", backup).code == 3
    journal = ingest.home / "ingest.sqlite3"
    overwrite_first_page(journal, table)

    for named in ((), ("--root", archive, "--root", backup)):
        told = tell("check", card, ONE_DISK, *options, *named)

        assert told.code == 1
        assert told.error["path"] == str(journal)
        assert "ingest catalog rebuild" in told.error["advice"]


@pytest.mark.parametrize("table", ["items", "locations"])
def test_what_verify_found_is_not_forgotten_by_a_rebuild(tell, ingest, card, archive, backup, home_twice, table):
    rotten = backup / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3"
    rot(rotten)
    assert tell("verify", backup).code == 3
    overwrite_first_page(ingest.home / "ingest.sqlite3", table)
    rebuilt = tell("catalog", "rebuild", archive, backup)

    told = tell("check", card, ONE_DISK)
    everything = told.document["bytes"]["read"]
    assert tell("repair", backup, "--from", archive).code == 0
    assert tell("verify", archive, backup).code == 0
    after = tell("check", card, ONE_DISK)

    lost = table == "locations"
    assert (rebuilt.code, rebuilt.document["doubtful"]) == (0, lost)
    assert told.code == 1
    assert "holds other bytes than were recorded" in reasons(told)["IMG_0001.CR3"]
    assert told.document["bytes"]["read_back"] == (2 * everything if lost else rotten.stat().st_size)
    assert (after.code, after.document["bytes"]["read_back"]) == (0, 0)


def test_an_archive_that_is_met_after_notes_were_lost_is_read_back(tell, ingest, card, archive, backup, home_twice):
    rot(backup / "EOS_DIGITAL/DCIM/100EOSR5/IMG_0001.CR3")
    assert tell("verify", backup).code == 3
    (ingest.home / "ingest.sqlite3").write_bytes(b"no database " * 1000)
    assert tell("catalog", "rebuild", archive).code == 0

    one = ("--copies", "1", ONE_DISK, "--root", backup)
    unknown = tell("check", card, *one)
    assert tell("catalog", "rebuild", backup).code == 0
    known = tell("check", card, *one)

    assert unknown.code == known.code == 1


def test_a_rebuild_that_was_not_completed_is_not_relied_on(tell, ingest, card, archive, backup, home_twice):
    (ingest.home / "ingest.sqlite3.rebuilding").touch()

    told = tell("check", card, ONE_DISK)

    assert told.code == 1
    assert "ingest catalog rebuild" in told.error["advice"]


def test_an_archive_that_is_not_here_does_not_count_and_is_named(tell, ingest, card, archive, backup, home_twice):
    backup.rename(backup.with_name("unplugged"))

    told = tell("check", card, ONE_DISK)
    said = ingest.run("check", card, ONE_DISK)
    one = tell("check", card, "--copies", "1", ONE_DISK)
    archive.rename(archive.with_name("also unplugged"))
    none = tell("check", card)

    assert told.code == 1
    assert told.document["covered"] == 0
    assert [each["root"] for each in told.document["absent"]] == [str(backup)]
    assert f"Not counted: {backup}" in said.stdout
    assert one.code == 0
    assert none.code == 4
    assert str(archive) in none.error["cause"]


def test_an_archive_without_its_marker_is_none(tell, card, backup, home_twice):
    (backup / ".ingest/root.json").unlink()

    told = tell("check", card, ONE_DISK)

    assert told.code == 1
    assert [each["root"] for each in told.document["absent"]] == [str(backup)]


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_what_no_manifest_tells_of_does_not_count_whatever_the_journal_says(tell, card, archive, home_twice, damage):
    (part,) = (archive / ".ingest/manifests").glob("session=*/items-*.parquet")
    data = part.read_bytes()
    part.unlink()
    if damage != "gone":
        part.write_bytes(
            data[: len(data) // 2] if damage == "cut" else data[:100] + bytes([data[100] ^ 1]) + data[101:]
        )

    told = tell("check", card, ONE_DISK)

    assert told.code == 1
    assert told.document["covered"] == 0
    assert {kept["copies"] for kept in told.document["not_covered"]} == {1}
    assert len(told.document["absent"]) == (0 if damage == "gone" else 1)


def test_a_session_whose_first_part_is_missing_is_not_believed_and_others_are(
    tell, once, card, archive, plant, tmp_path
):
    """A hole in a chain: what its other parts say may have been said otherwise in the one that is missing."""
    assert once("copy", card, archive).code == 0
    other = plant(tmp_path / "OTHER", {"a.mov": b"a"})
    assert tell("copy", other, archive).code == 0
    (part,) = (archive / ".ingest/manifests").glob(
        f"session={tell('sessions').document['sessions'][0]['session']}/items*"
    )
    part.rename(part.with_name("items-0002.parquet"))

    told = tell("check", card, other, "--copies", "1", ONE_DISK)

    assert told.code == 1
    assert (told.document["files"], told.document["covered"]) == (7, 1)
    (absent,) = told.document["absent"]
    assert "cannot be believed" in absent["reason"]


def test_without_a_journal_archives_are_named(tell, ingest, card, archive, backup, home_twice, tmp_path):
    stranger = type(ingest)(tmp_path / "nobody's home")

    told = tell("check", card, ONE_DISK, "--root", archive, "--root", backup, by=stranger)
    one = tell("check", card, ONE_DISK, "--root", archive, "--root", archive, by=stranger)
    none = tell("check", card, by=stranger)
    nowhere = tell("check", card, "--root", tmp_path / "nowhere", by=stranger)
    no_archive = tell("check", card, "--root", card, by=stranger)

    assert told.code == 0, told.errors
    assert one.code == 1, "an archive that is named twice is one"
    assert none.code == nowhere.code == no_archive.code == 4
    assert "--root" in none.error["advice"]
    assert not stranger.home.exists()


def test_what_could_only_be_read_from_memory_counts_if_it_is_accepted(tell, card, make_disk):
    memory = make_disk("tmpfs")
    assert tell("copy", card, memory).document["destinations"][0]["verify_method"]["reread"] == 6

    told = tell("check", card, "--copies", "1")
    accepted = tell("check", card, "--copies", "1", "--accept-reread")

    assert told.code == 1
    assert "(reread)" in reasons(told)["IMG_0001.JPG"]
    assert accepted.code == 0


def test_a_hard_link_is_no_copy(tell, card, archive):
    assert tell("copy", card, archive, "--strategy", "hardlink").code == 0

    told = tell("check", card, "--copies", "1")

    assert told.code == 1
    assert told.document["covered"] == 0
    assert all("very file" in reason or "hard link" in reason for reason in reasons(told).values()), reasons(told)


def test_a_hard_link_to_what_another_card_brought_is_no_copy_for_this_card_either(tell, card, archive, tmp_path):
    assert tell("copy", card, archive, "--strategy", "hardlink").code == 0
    again = tell("copy", card, archive)
    assert again.document["items"]["duplicate"] == 6
    twin = shutil.copytree(card, tmp_path / "TWIN")

    told = tell("check", twin, "--copies", "1")

    assert told.code == 1
    assert all("is a hard link, not a copy" in reason for reason in reasons(told).values()), reasons(told)


def test_a_clone_on_the_cards_own_disk_does_not_count(tell, card, archive, make_disk):
    disk = make_disk("xfs")
    source = shutil.copytree(card, disk / "CARD")
    (near := disk / "archive").mkdir()
    assert tell("copy", source, near, "--also", archive, "--strategy", "reflink").code == 0

    told = tell("check", source)
    elsewhere = tell("check", card, "--copies", "1", "--root", near)

    assert told.code == 1
    sized = {name: reason for name, reason in reasons(told).items() if name != "AUTPRINT.MRK"}
    assert len(sized) == 5
    assert all("is a clone on the source's own disk" in reason for reason in sized.values()), sized
    assert elsewhere.code == 0, "for a card on another disk it is a copy like any other"


def test_the_archive_itself_is_no_copy_of_what_lies_in_it(tell, archive, backup, home_twice, bind):
    inside = archive / "EOS_DIGITAL"
    by_another_path = bind(inside, "elsewhere")

    one = tell("check", inside, ONE_DISK)
    other = tell("check", by_another_path, ONE_DISK)

    for told in (one, other):
        assert told.code == 1
        assert all("is the very file that is asked about" in reason for reason in reasons(told).values()), told.document
        assert {kept["copies"] for kept in told.document["not_covered"]} == {1}


def test_what_is_left_out_by_rule_is_counted(tell, card, home_twice):
    (card / ".DS_Store").write_bytes(b"litter")
    (card / "note.tmp").write_bytes(b"x")
    (card / "link").symlink_to("note.tmp")
    os.mkfifo(card / "pipe")

    told = tell("check", card, ONE_DISK, "--exclude", "*.tmp")

    assert told.code == 0, told.document
    assert (told.document["excluded"], told.document["skipped"], told.document["files"]) == (2, 2, 6)
    assert told.document["left_out"] == {"litter": 1, "--exclude": 1, "symlink": 1, "special": 1}
    assert tell("check", card, ONE_DISK).code == 1


def test_a_card_without_files_is_not_safe_since_it_may_not_be_mounted(tell, ingest, home_twice, tmp_path):
    (empty := tmp_path / "mount point").mkdir()

    told = tell("check", empty)
    said = ingest.run("check", empty)

    assert told.code == said.returncode == 1
    assert (told.document["safe"], told.document["files"]) == (False, 0)
    assert "Is the card mounted?" in said.stdout
    assert tell("check", tmp_path / "no card").code == 4


def test_a_file_that_cannot_be_read_is_not_covered(stranger):
    card = stranger.plant("card", {"a.mov": b"a", "locked/b.mov": b"b"})
    archive = stranger.plant("archive", {})
    assert stranger.tell("copy", card, archive).code == 0
    os.chmod(card / "a.mov", 0)
    os.chmod(card / "locked", 0)

    told = stranger.tell("check", card, "--copies", "1")

    assert told.code == 1
    assert (told.document["files"], told.document["covered"]) == (2, 0)
    assert all("cannot be read" in reason for reason in reasons(told).values())
    assert all("right" in kept["advice"] for kept in told.document["not_covered"])


def test_names_of_any_bytes_are_told_as_everywhere(tell, plant, archive, tmp_path):
    card = plant(tmp_path / "CARD", {b"a\xff.mov": b"a"})
    assert tell("copy", plant(tmp_path / "OTHER", {"b": b"b"}), archive).code == 0

    told = tell("check", card)

    (kept,) = told.document["not_covered"]
    assert kept["path"].endswith("a\\xff.mov")
    assert set(kept) == {"path", "path_b64", "reason", "copies", "advice"}


def test_a_repaired_copy_counts(tell, card, archive, backup, home_twice):
    damaged = archive / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4"
    os.truncate(damaged, 1000)
    assert tell("check", card, ONE_DISK).code == 1
    assert tell("repair", archive, "--from", backup).code == 0

    assert tell("check", card, ONE_DISK).code == 0


def test_the_same_content_twice_on_one_archive_counts_once(tell, plant, archive, tmp_path):
    card = plant(tmp_path / "CARD", {"a.mov": b"same", "b.mov": b"same"})
    assert tell("copy", card, archive).code == 0

    told = tell("check", card, ONE_DISK)

    assert {kept["copies"] for kept in told.document["not_covered"]} == {1}
    assert tell("check", card, "--copies", "1", ONE_DISK).code == 0
