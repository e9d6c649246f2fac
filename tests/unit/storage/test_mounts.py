"""What real mounts are taken for, and what is found out by trying them."""

from __future__ import annotations

import os
import subprocess

import pytest

from ingest import engine
from ingest.model.options import CopyOptions
from ingest.storage.features import ignores_case, probe
from ingest.storage.marker import STAGING
from ingest.storage.roots import open_destination, pin
from ingest.storage.tuning import NETWORK_BUFFER, tune
from ingest.storage.urls import located
from ingest.storage.volumes import Storage, volume_of

pytestmark = pytest.mark.root


def seen(folder):
    return volume_of(os.fsencode(folder))


def tried(folder):
    """The features of a folder that becomes an archive, and a look at what was left there."""
    destination = open_destination(os.fsencode(folder))
    found = probe(destination.root)
    assert os.listdir(destination.path + b"/" + STAGING) == []
    return found


# What they are taken for


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_disk_is_local_and_known_by_its_uuid(make_disk, kind):
    volume = seen(make_disk(kind))

    assert (volume.storage, volume.type, volume.block, volume.remote) == (Storage.LOCAL, kind, True, False)
    assert (volume.read_only, volume.name_limit) == (False, 255)


def test_memory_is_no_disk(make_disk):
    volume = seen(make_disk("tmpfs"))

    assert (volume.storage, volume.memory, volume.block) == (Storage.LOCAL, True, False)


def test_a_share_is_a_network_away_and_tuned_for_one(sshfs, tmp_path):
    (tmp_path / "films").mkdir()
    share = sshfs(tmp_path / "films")

    volume = seen(share)
    tuned = tune(CopyOptions(), [seen(tmp_path)], [volume])

    assert (volume.storage, volume.type, volume.served) == (Storage.NETWORK, "fuse.sshfs", True)
    assert volume.same_as(seen(tmp_path)) is False
    assert (tuned.workers, tuned.buffer, tuned.together) == (1, NETWORK_BUFFER, (False,))


@pytest.mark.parametrize(
    ("subtype", "storage", "served"),
    [
        ("sshfs", Storage.NETWORK, True), ("rclone", Storage.NETWORK, True), ("s3fs", Storage.NETWORK, True),
        ("smbnetfs", Storage.NETWORK, True), ("gvfsd-fuse", Storage.NETWORK, True), ("exfat", Storage.REMOVABLE, False),
        ("mergerfs", Storage.LOCAL, False),
    ],
)  # fmt: skip
def test_fuse_is_known_by_its_subtype(fuse, subtype, storage, served):
    volume = seen(fuse(subtype))

    assert (volume.storage, volume.served, volume.type) == (storage, served, f"fuse.{subtype}")
    assert (volume.daemon, volume.block, volume.name_limit) == (True, False, 143)


def test_exfat_by_its_fuse_driver_is_removable(exfat):
    volume = seen(exfat)

    assert (volume.storage, volume.daemon, volume.remote) == (Storage.REMOVABLE, True, False)
    assert volume.type.startswith("fuseblk")


def test_an_overlay_is_local_and_on_no_disk_that_is_known(overlay):
    volume = seen(overlay)

    assert (volume.storage, volume.type, volume.block, volume.rotational) == (Storage.LOCAL, "overlay", False, None)


def test_a_bind_mount_is_the_same_volume_and_two_disks_are_two(bind, make_disk, tmp_path):
    disk = make_disk("ext4")
    bound = bind(disk)

    assert seen(bound).same_as(seen(disk)) is True
    assert seen(disk).same_as(seen(tmp_path)) is False


def test_subvolumes_of_one_btrfs_are_one_volume(make_disk):
    disk = make_disk("btrfs")
    subprocess.run(["btrfs", "subvolume", "create", disk / "sub"], check=True, capture_output=True)

    assert (disk / "sub").stat().st_dev != disk.stat().st_dev
    assert seen(disk / "sub").same_as(seen(disk)) is True


def test_a_disk_that_was_remounted_read_only_says_so(make_disk):
    disk = make_disk("ext4")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

    assert seen(disk).read_only


# Shares by URL


def test_a_url_leads_to_where_its_share_is_mounted(fuse):
    share = fuse("smbnetfs", "//NAS/Films")

    assert located(b"smb://me:secret@nas/films") == os.fsencode(share)
    assert located(b"smb://nas/Films/2024%20summer/A001") == os.fsencode(share) + b"/2024 summer/A001"
    assert located(b"//nas/films/a") == os.fsencode(share) + b"/a"


def test_a_card_comes_home_to_a_share_that_is_named_by_its_url(sshfs, ingest, tmp_path):
    for name in ("films", "CARD"):
        (tmp_path / name).mkdir()
    (tmp_path / "CARD/a.mov").write_bytes(b"clip")
    share = sshfs(tmp_path / "films", "fsname=//nas/Films", "subtype=smbnetfs")
    (tmp_path / "films/2024").mkdir()

    done = ingest.run("copy", tmp_path / "CARD", "smb://me@NAS/films/2024")
    listed = ingest.run("storage", "list")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "films/2024/CARD/a.mov").read_bytes() == b"clip"
    assert f"{share}/2024  " in listed.stdout
    assert "network, fuse.smbnetfs" in listed.stdout


# What they can do


@pytest.mark.parametrize(("kind", "reflink"), [("ext4", False), ("xfs", True), ("btrfs", True), ("tmpfs", False)])
def test_what_linux_s_own_file_systems_can_do_is_found_out(make_disk, kind, reflink):
    found = tried(make_disk(kind))

    assert found.reflink.there is reflink
    assert (found.hard_links.there, found.xattr.there, found.no_replace.there) == (True, True, True)
    assert found.ignores_case.there is False
    assert (found.longest_name, found.by_characters, found.publish) == (255, False, "noreplace")


def test_exfat_knows_no_links_and_one_name_for_both_cases(exfat):
    found = tried(exfat)

    assert (found.reflink.there, found.hard_links.there) == (False, False)
    assert found.hard_links.why
    assert found.ignores_case.there is True
    assert found.longest_name == 255
    assert found.by_characters is True


def test_sshfs_gives_names_by_links_that_cannot_be_told_for_one_file(sshfs, tmp_path):
    (tmp_path / "films").mkdir()
    found = tried(sshfs(tmp_path / "films"))

    assert found.reflink.there is False
    assert (found.no_replace.there, found.publish) == (False, "link")
    assert found.hard_links.there is True
    assert "cannot be told for one file" in found.hard_links.why
    assert (found.ignores_case.there, found.longest_name) == (False, 255)


def test_an_overlay_is_tried_like_any_other(overlay):
    found = tried(overlay)

    assert (found.ignores_case.there, found.longest_name, found.hard_links.there) == (False, 255, True)


def test_ext4_ignores_case_where_it_was_made_to(stage, tmp_path):
    image = tmp_path / "folding.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    made = subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-O", "casefold", image], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no such ext4 here: {made.stderr.strip()}")
    disk = stage.mount("folding", "-o", "loop", image)
    (disk / "both").mkdir()
    (disk / "one").mkdir()
    subprocess.run(["chattr", "+F", disk / "one"], check=True)

    assert tried(disk / "both").ignores_case.there is False
    assert tried(disk / "one").ignores_case.there is True


def test_of_a_root_that_cannot_be_written_only_its_case_is_known(make_disk):
    disk = make_disk("ext4")
    open_destination(os.fsencode(disk))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

    found = probe(engine.Root(os.fsencode(disk)))

    assert found.ignores_case.there is False
    assert (found.reflink.there, found.hard_links.there, found.longest_name, found.publish) == (None, None, None, None)
    assert "Read-only" in found.xattr.why


def test_where_there_is_no_archive_nothing_is_known_of_case(tmp_path):
    assert ignores_case(pin(os.fsencode(tmp_path))).there is None
