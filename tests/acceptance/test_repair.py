"""``ingest repair``: what a user and a script can rely on."""

from __future__ import annotations

import os
import shutil
from random import Random

import pytest

MIB = 1 << 20
CLIP = Random("clip").randbytes(4 * MIB + 99)
TREE = {"100/clip.mov": CLIP, "100/still.jpg": b"still" * 9000, "empty": b""}


@pytest.fixture
def tmp_path(same_place):
    return same_place


@pytest.fixture
def home(once, plant, tmp_path):
    """A card and two archives of it."""
    card = plant(tmp_path / "A001", TREE)
    archive, backup = plant(tmp_path / "archive", {}), plant(tmp_path / "backup", {})
    assert once("copy", card, archive, "--also", backup).code == 0
    return card, archive, backup


def flip(path, *offsets):
    facts = path.stat()
    with path.open("r+b") as file:
        for at in offsets:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_the_document_has_the_keys_of_the_contract_and_rows_tell_of_the_repair(tell, rows, home):
    _, archive, backup = home
    clip = archive / "A001/100/clip.mov"
    flip(clip, 2 * MIB)
    damaged = clip.read_bytes()

    told = tell("repair", archive, "--from", backup)

    assert told.code == 0, told
    document = told.document
    assert set(document) == {
        "checked",
        "ok",
        "repaired",
        "failed",
        "bytes",
        "session",
        "manifests",
        "dry_run",
        "exit_code",
    }
    assert (document["checked"], document["ok"], document["failed"], document["dry_run"]) == (3, 2, [], False)
    (one,) = document["repaired"]
    assert set(one) == {"path", "reason", "ranges", "bytes_fetched", "quarantine", "exchange", "strategy"}
    assert (one["path"], one["ranges"]) == (str(clip), [[2 * MIB, 3 * MIB]])
    assert document["bytes"]["fetched"] == one["bytes_fetched"] == MIB
    short = document["session"].replace("-", "")[:8]
    assert one["quarantine"] == str(archive / ".ingest/quarantine" / short / "A001/100/clip.mov")
    with open(one["quarantine"], "rb") as kept:
        assert kept.read() == damaged
    assert document["manifests"] == [
        str(archive / f".ingest/manifests/session={document['session']}/items-0001.parquet")
    ]
    (latest,) = rows(archive, "SELECT * FROM latest WHERE path = 'A001/100/clip.mov'")
    (first,) = rows(archive, "SELECT * FROM copies WHERE path = 'A001/100/clip.mov' AND operation = 'copy'")
    assert (latest["operation"], latest["session"], latest["state"]) == ("repair", document["session"], "finalized")
    assert (latest["strategy"], latest["publish_method"]) == (one["strategy"], one["exchange"])
    assert latest["verify_method"]
    for same in ("size", "mtime_ns", "blake3_hex", "source_path", "kind", "destination_root", "destination_path"):
        assert latest[same] == first[same]
    (session,) = rows(archive, f"SELECT * FROM sessions WHERE session = '{document['session']}'")
    assert (session["state"], session["counts"]["finalized"]) == ("completed", 1)
    assert session["sources"] == [str(backup)]
    assert clip.stat().st_mtime_ns == first["mtime_ns"]


def test_a_sound_archive_is_left_as_it_is(tell, ingest, home, snapshot):
    _, archive, backup = home
    before = snapshot(archive / "A001"), set(snapshot(archive)), snapshot(backup)

    told = tell("repair", archive, "--from", backup)
    said = ingest.run("repair", archive, "--from", backup)

    assert (told.code, told.document["session"], told.document["manifests"]) == (0, None, [])
    assert said.returncode == 0
    assert "SOUND: there was nothing to repair" in said.stdout
    assert (snapshot(archive / "A001"), set(snapshot(archive)), snapshot(backup)) == before


def test_a_dry_run_says_the_same_and_changes_nothing(tell, ingest, home, snapshot):
    _, archive, backup = home
    flip(archive / "A001/100/clip.mov", 0, 4 * MIB + 1)
    (archive / "A001/empty").unlink()
    before = snapshot(archive)

    told = tell("repair", archive, "--from", backup, "--dry-run")
    said = ingest.run("repair", archive, "--from", backup, "--dry-run")

    assert snapshot(archive) == before
    assert (told.code, told.document["dry_run"], told.document["session"]) == (0, True, None)
    planned = {each["path"]: each for each in told.document["repaired"]}
    assert planned[str(archive / "A001/100/clip.mov")]["ranges"] == [[0, MIB], [4 * MIB, 4 * MIB + 99]]
    assert planned[str(archive / "A001/empty")]["bytes_fetched"] == 0
    assert "Nothing was changed" in said.stdout
    assert said.stdout.count("WOULD REPAIR") == 2


def test_each_side_is_damaged_elsewhere_and_each_repairs_the_other(tell, home):
    card, archive, backup = home
    flip(archive / "A001/100/clip.mov", 10, 3 * MIB)
    flip(backup / "A001/100/clip.mov", 2 * MIB)

    one = tell("repair", archive, "--from", backup)
    other = tell("repair", backup, "--from", archive)

    assert (one.code, other.code) == (0, 0)
    assert (one.document["bytes"]["fetched"], other.document["bytes"]["fetched"]) == (2 * MIB, MIB)
    for root in (archive, backup):
        assert (root / "A001/100/clip.mov").read_bytes() == CLIP
        assert tell("verify", root).code == 0
    del card


def test_what_neither_has_right_is_said_with_its_ranges_and_nothing_is_touched(tell, ingest, home, snapshot):
    card, archive, backup = home
    flip(archive / "A001/100/clip.mov", 10, 2 * MIB, 3 * MIB)
    flip(backup / "A001/100/clip.mov", MIB, 2 * MIB + 5, 3 * MIB + 5)
    before = snapshot(archive / "A001")

    told = tell("repair", archive, "--from", backup)
    said = ingest.run("repair", archive, "--from", backup)

    assert told.code == said.returncode == 3
    assert told.document["repaired"] == []
    assert told.document["session"] is None
    (failed,) = told.document["failed"]
    assert failed["ranges"] == [[2 * MIB, 4 * MIB]]
    assert "neither" in failed["reason"]
    assert "NOT REPAIRED" in said.stdout
    assert snapshot(archive / "A001") == before
    assert not (archive / ".ingest/quarantine").exists()

    # The card has them.
    assert tell("repair", archive, "--from", card).code == 0
    assert (archive / "A001/100/clip.mov").read_bytes() == CLIP


@pytest.mark.parametrize("where", ["above", "within", "renamed", "single", "copied"])
def test_a_card_is_found_wherever_it_is_mounted_and_whichever_folder_is_named(tell, home, tmp_path, where):
    card, archive, _ = home
    elsewhere = tmp_path / "today" / ("OTHER" if where == "renamed" else "A001")
    shutil.copytree(card, elsewhere)
    shutil.rmtree(card)
    flip(archive / "A001/100/clip.mov", 5)
    if where == "copied":
        elsewhere = shutil.move(elsewhere.parent, tmp_path / "plain")  # a copy of the archive, made by other means

    named = {"above": elsewhere.parent, "within": elsewhere / "100", "single": elsewhere / "100/clip.mov"} if where in (
        "above", "within", "single") else {}  # fmt: skip
    told = tell("repair", archive, "--from", named.get(where, elsewhere))

    assert told.code == 0, told
    assert (archive / "A001/100/clip.mov").read_bytes() == CLIP
    assert told.document["bytes"]["fetched"] == MIB


def test_another_archive_has_it_by_content_under_any_name(tell, home, tmp_path, plant):
    _, archive, _ = home
    third = plant(tmp_path / "third", {})
    assert tell("copy", plant(tmp_path / "LATER", {"renamed.mov": CLIP}), third).code == 0
    flip(archive / "A001/100/clip.mov", 5)

    told = tell("repair", archive, "--from", third)

    assert told.code == 0
    assert told.document["bytes"]["fetched"] == MIB


def test_an_edited_file_of_the_same_name_and_size_is_not_believed(tell, home, snapshot):
    card, archive, _ = home
    (card / "100/still.jpg").write_bytes(b"STILL" * 9000)
    flip(archive / "A001/100/still.jpg", 7)
    before = snapshot(archive / "A001")

    told = tell("repair", archive, "--from", card)

    assert told.code == 3
    assert told.document["failed"][0]["ranges"] == [[0, 45000]]
    assert snapshot(archive / "A001") == before


def test_a_link_or_a_folder_in_a_files_place_is_said_and_stays(tell, home, tmp_path, snapshot):
    _, archive, backup = home
    target = tmp_path / "mine.jpg"
    (archive / "A001/100/still.jpg").rename(target)
    (archive / "A001/100/still.jpg").symlink_to(target)
    (archive / "A001/empty").unlink()
    (archive / "A001/empty").mkdir()
    flip(archive / "A001/100/clip.mov", 5)
    before = snapshot(target.parent / "mine.jpg") if target.is_dir() else target.read_bytes()

    told = tell("repair", archive, "--from", backup)

    assert told.code == 3
    assert [each["path"] for each in told.document["repaired"]] == [str(archive / "A001/100/clip.mov")]
    failed = sorted(each["path"] for each in told.document["failed"])
    assert failed == [str(archive / "A001/100/still.jpg"), str(archive / "A001/empty")]
    assert all("Move away" in each["advice"] for each in told.document["failed"])
    assert (archive / "A001/100/still.jpg").is_symlink()
    assert target.read_bytes() == before


def test_damaged_manifests_and_markers_are_said_with_advice_and_files_are_repaired_all_the_same(
    tell, home, plant, tmp_path
):
    _, archive, backup = home
    assert tell("copy", plant(tmp_path / "A002", {"b.mov": b"b" * 5000}), archive).code == 0
    parts = sorted(
        archive.glob(".ingest/manifests/session=*/items-*.parquet"), key=lambda part: part.stat().st_mtime_ns
    )
    flip(parts[-1], 400)
    marker = (archive / ".ingest/root.json").read_bytes()
    (archive / ".ingest/root.json").write_bytes(b"{")
    flip(archive / "A001/100/clip.mov", 5)

    told = tell("repair", archive, "--from", backup)

    assert told.code == 3
    assert len(told.document["repaired"]) == 1
    failed = {each["path"]: each["advice"] for each in told.document["failed"]}
    assert set(failed) == {str(parts[-1]), str(archive / ".ingest/root.json")}
    assert all(failed.values())
    assert (archive / ".ingest/root.json").read_bytes() == b"{"
    (archive / ".ingest/root.json").write_bytes(marker)
    assert tell("verify", archive).document["changed"] == [
        each for each in tell("verify", archive).document["changed"] if each["path"] == str(parts[-1])
    ]


def test_usage_and_places_that_are_not_there(tell, home, tmp_path, plant):
    card, archive, _ = home
    other = plant(tmp_path / "no-archive", {"x": b"x"})

    assert tell("repair", archive, "--from", archive).code == 2
    assert tell("repair", archive, "--from", str(archive) + "/.").code == 2
    assert tell("repair", archive).code == 2
    assert tell("repair", archive, "--from", tmp_path / "gone").code == 4
    assert tell("repair", tmp_path / "gone", "--from", card).code == 4
    no_manifest = tell("repair", other, "--from", card)
    assert (no_manifest.code, no_manifest.error["cause"]) == (4, "there is no manifest here")
    assert sorted(path.name for path in other.iterdir()) == ["x"], "nothing was made there"


def test_the_same_place_by_a_bind_mount_is_refused(tell, home, bind):
    _, archive, _ = home

    told = tell("repair", archive, "--from", bind(archive, "again"))

    assert (told.code, told.error["operation"]) == (2, "--from")


def test_a_read_only_archive_is_refused_before_it_is_read_and_a_read_only_source_is_enough(tell, home, make_disk):
    import subprocess

    card, archive, backup = home
    disk = make_disk("tmpfs")
    shutil.copytree(backup, disk / "backup")
    shutil.copytree(archive, disk / "archive")
    flip(archive / "A001/100/clip.mov", 5)
    flip(disk / "archive/A001/100/clip.mov", 5)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

    assert tell("repair", disk / "archive", "--from", backup).code == 5
    looked = tell("repair", disk / "archive", "--from", backup, "--dry-run")
    assert (looked.code, len(looked.document["repaired"])) == (0, 1)
    assert tell("repair", archive, "--from", disk / "backup").code == 0
    del card


def test_a_second_repair_waits_for_its_turn(tell, home):
    import fcntl

    _, archive, backup = home
    folder = os.open(archive / ".ingest", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        told = tell("repair", archive, "--from", backup)
    finally:
        os.close(folder)

    assert (told.code, told.error["cause"]) == (8, "another process repairs this archive")
    assert tell("repair", archive, "--from", backup).code == 0


def test_names_that_are_no_text_are_repaired_too(tell, plant, tmp_path):
    card = plant(tmp_path / "RAW", {b"\xff\xfe.mov": CLIP, "plain": b"x"})
    archive, backup = plant(tmp_path / "archive", {}), plant(tmp_path / "backup", {})
    assert tell("copy", card, archive, "--also", backup).code == 0
    name = os.fsencode(archive) + b"/RAW/\xff\xfe.mov"
    os.truncate(name, MIB + 5)

    told = tell("repair", archive, "--from", card)

    assert told.code == 0
    (one,) = told.document["repaired"]
    assert "path_b64" in one
    assert "quarantine_b64" in one
    with open(name, "rb") as file:
        assert file.read() == CLIP
    assert tell("verify", archive, "--strict").code == 0


def test_an_archive_can_be_repaired_twice_in_the_same_file(tell, rows, home):
    _, archive, backup = home
    clip = archive / "A001/100/clip.mov"

    for at in (5, 3 * MIB):
        flip(clip, at)
        assert tell("repair", archive, "--from", backup).code == 0

    assert clip.read_bytes() == CLIP
    assert len(list(archive.glob(".ingest/quarantine/*/A001/100/clip.mov"))) == 2
    told = rows(archive, "SELECT operation FROM copies WHERE path = 'A001/100/clip.mov' ORDER BY finalized_at")
    assert [row["operation"] for row in told] == ["copy", "repair", "repair"]


def test_one_flipped_byte_in_64_mib_reads_at_most_two_blocks_from_the_other_archive(
    ingest, tell, plant, tmp_path, strace
):
    import re
    import subprocess

    size = 64 * MIB
    data = Random("big").randbytes(MIB)
    card = plant(tmp_path / "BIG", {"big.mov": b"".join(number.to_bytes(8, "big") + data[8:] for number in range(64))})
    archive, backup = plant(tmp_path / "archive", {}), plant(tmp_path / "backup", {})
    assert tell("copy", card, archive, "--also", backup).code == 0
    flip(archive / "BIG/big.mov", size // 2 + 12_345)
    log = tmp_path / "reads"

    command = [strace, "-f", "-qq", "-o", log, "-P", backup / "BIG/big.mov", "-e", "trace=read,pread64,readv,preadv,preadv2,mmap,copy_file_range,sendfile,splice,ioctl",
               *ingest.command("repair", archive, "--from", backup, "--json")]  # fmt: skip
    done = subprocess.run(command, env=ingest.environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines()
    assert calls, "the other archive's file was read"
    assert all("pread64(" in call or "read(" in call for call in calls), calls
    assert sum(int(re.search(r"= (\d+)$", call)[1]) for call in calls) <= 2 * MIB
