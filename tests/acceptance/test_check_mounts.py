"""May the card be erased where mounts show something else inside it? What lies in it is no copy, what is hidden is told."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.root

# Disks in memory serve as archives: what they hold can be read back from memory only.
ONE = ("--copies", "1", "--accept-reread")
HIDDEN = "something else is mounted here: what lies beneath cannot be seen"


def reasons(told):
    return {os.path.basename(each["path"]): each["reason"] for each in told.document["not_covered"]}


def test_an_archive_that_is_mounted_inside_the_card_is_no_copy(tell, card, make_disk, bind):
    disk = make_disk("tmpfs")
    assert tell("copy", card, disk).code == 0
    assert tell("check", card, *ONE).code == 0
    bind(disk / "EOS_DIGITAL", card / "ba")

    told = tell("check", card, *ONE)
    without = tell("check", card, *ONE, "--exclude", "ba")

    assert (told.code, told.document["safe"], told.document["covered"]) == (1, False, 0)
    assert reasons(told)["ba"] == HIDDEN
    own = {each["reason"] for each in told.document["not_covered"] if not each["path"].startswith(f"{card}/ba")}
    assert len(own) == 6
    assert all("is itself among what is asked about" in each for each in own), own
    assert (without.code, without.document["covered"]) == (1, 0), "whoever removes the card's folders removes it, too"
    assert "ba" not in reasons(without)


def test_a_folder_with_a_card_and_its_archives_below_it_has_no_copy(tell, card, make_disk, tmp_path, bind):
    disk = make_disk("tmpfs")
    assert tell("copy", card, disk).code == 0
    (parent := tmp_path / "parent").mkdir()
    bind(card, parent / "card")
    bind(disk, parent / "archive")

    told = tell("check", parent, *ONE, "--same-volume", "--exclude", ".ingest")

    assert (told.code, told.document["covered"], told.document["unseen"]) == (1, 0, 2)
    assert reasons(told)["card"] == reasons(told)["archive"] == HIDDEN


def test_an_archive_on_a_disk_that_part_of_the_card_is_from_is_on_the_cards_own_disk(tell, card, make_disk, bind):
    disk = make_disk("tmpfs")
    (disk / "DL").mkdir()
    (disk / "DL/clip.mov").write_bytes(b"clip")
    (archive := disk / "archive").mkdir()
    bind(disk / "DL", card / "dl")
    assert tell("copy", card, archive).code == 0

    told = tell("check", card, *ONE)

    assert (told.code, told.document["covered"]) == (1, 0)
    assert "is on the card's own disk" in reasons(told)["clip.mov"]


def test_what_is_hidden_by_a_mount_is_told(tell, ingest, card, archive, make_disk, bind, plant, tmp_path):
    single = plant(tmp_path / "other", {"clip.mov": b"shown"}) / "clip.mov"
    assert tell("copy", card, single, archive).code == 0
    (card / "hidden.mov").write_bytes(b"nowhere else")
    disk = make_disk("tmpfs")
    (card / "a b").mkdir()
    (card / "a b/lost.mov").write_bytes(b"nowhere else")
    try:
        for what, where in ((disk, "a b"), (single, "hidden.mov")):
            subprocess.run(["mount", "--bind", what, card / where], check=True)
        told = tell("check", card, *ONE, "--same-volume")
        said = ingest.run("check", card, *ONE, "--same-volume")
        alone = tell("check", card / "hidden.mov", *ONE, "--same-volume")
    finally:
        for where in ("a b", "hidden.mov"):
            subprocess.run(["umount", card / where], check=False)

    assert (told.code, told.document["safe"], told.document["unseen"]) == (1, False, 2)
    assert told.document["files"] == told.document["covered"] == 7
    assert reasons(told) == {"a b": HIDDEN, "hidden.mov": HIDDEN}
    assert {each["path"] for each in told.document["not_covered"]} == {str(card / "a b"), str(card / "hidden.mov")}
    assert all(each["advice"] == "Unmount it, then check again" for each in told.document["not_covered"])
    assert said.returncode == 1
    assert f"NOT COVERED  {card}/a b: {HIDDEN}" in said.stdout
    assert "NOT SAFE: 2 places may hold more than could be seen. Keep the card." in said.stdout
    assert (alone.code, reasons(alone)) == (1, {"hidden.mov": HIDDEN})
    assert set(reasons(tell("check", card, *ONE, "--same-volume"))) == {"lost.mov", "hidden.mov"}


def test_a_destination_that_is_mounted_below_the_source_lies_inside_it(tell, card, make_disk, bind, snapshot):
    disk = make_disk("tmpfs")
    inside = bind(disk, card / "archive")
    (disk / "dl/new").mkdir(parents=True)
    before = snapshot(disk)

    by_path, by_place = tell("copy", card, inside), tell("copy", card, disk / "dl/new")

    for told in (by_path, by_place):
        assert told.code == 2
        assert "lies inside the source" in told.errors
    assert snapshot(disk) == before


@pytest.fixture
def overlay(tmp_path):
    """Mount an overlay: `overlay(lower, upper, work)` is where it is."""
    point = tmp_path / "overlay"
    mounted = []

    def mount(lower, upper, work):
        for folder in (point, lower, work):
            folder.mkdir(exist_ok=True)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        done = subprocess.run(
            ["mount", "-t", "overlay", "-o", options, "none", point], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no overlay here: {done.stderr!r}")
        mounted.append(point)
        return point

    yield mount
    for each in mounted:
        subprocess.run(["umount", each], check=True)


def test_an_overlay_on_a_folder_of_the_archive_is_made_of_its_copies(tell, card, make_disk, overlay):
    disk = make_disk("tmpfs")
    (archive := disk / "archive").mkdir()
    assert tell("copy", card, archive).code == 0
    shown = overlay(disk / "empty", archive / "EOS_DIGITAL", disk / "work")

    for terms in ((), ("--same-volume",)):
        told = tell("check", shown, *ONE, *terms, "--root", archive)
        assert (told.code, told.document["files"], told.document["covered"]) == (1, 6, 0)
        assert all("is itself among what is asked about" in each for each in reasons(told).values()), reasons(told)


def test_an_archive_on_an_overlay_is_on_the_disk_of_its_layers(tell, card, make_disk, overlay):
    disk = make_disk("tmpfs")
    source = shutil.copytree(card, disk / "CARD")
    (disk / "upper").mkdir()
    shown = overlay(disk / "empty", disk / "upper", disk / "work")
    (archive := shown / "archive").mkdir()
    assert tell("copy", source, archive).code == 0

    near, inside = (
        tell("check", source, *ONE),
        tell("check", disk / "upper", *ONE, "--same-volume", "--exclude", ".ingest"),
    )

    assert (near.code, near.document["covered"]) == (1, 0)
    assert all("is on the card's own disk" in each for each in reasons(near).values()), reasons(near)
    assert (inside.code, inside.document["covered"]) == (1, 0)


@pytest.mark.parametrize("through", ["its own path", "another mount"])
def test_where_case_makes_no_difference_an_archive_lies_in_the_card_by_any_spelling(
    tell, card, make_disk, bind, through
):
    disk = make_disk("exfat")
    source = shutil.copytree(card, disk / "Ékran/orig")
    (archive := disk / "Ékran/arch").mkdir()
    assert tell("copy", source, archive).code == 0
    other = disk / "ékran/ARCH" if through == "its own path" else bind(disk / "ékran/arch", "elsewhere")

    told = tell("check", disk / "Ékran", *ONE, "--root", other, "--same-volume", "--exclude", ".ingest")

    # A FUSE daemon may know one folder by two inodes: so by its path, too.
    assert (told.code, told.document["covered"]) == (1, 0), reasons(told)
    assert "is itself among what is asked about" in reasons(told)["IMG_0001.CR3"]
