from __future__ import annotations

import os
import uuid

import pytest

from ingest.storage.roots import open_destination
from ingest.storage.volumes import Mount
from ingest.storage.whereabouts import likely, marker_at, remote


def mount(point, kind="ext4", device=1):
    return Mount(device, b"/", os.fsencode(point), kind, b"/dev/sdx1", read_only=False)


@pytest.fixture
def archive(tmp_path):
    """A root in a folder of what will be taken for a disk."""

    def make(path):
        folder = tmp_path / path
        folder.mkdir(parents=True)
        return open_destination(os.fsencode(folder)).marker.uuid

    return make


@pytest.mark.parametrize("old", ["/media/me/DISK", "/media/me/DISK/2026/shoot", "/2026/shoot", "/media/me/2026/shoot"])
def test_every_end_of_the_old_path_is_tried_below_every_mount_point(archive, tmp_path, old):
    folder = "b/2026/shoot" if old.endswith("shoot") else "b"
    marker = archive(folder)
    (tmp_path / "c").mkdir()

    found = likely(old.encode(), table=[mount("/"), mount(tmp_path / "b"), mount(tmp_path / "c")])

    assert found == [os.fsencode(tmp_path / folder)]
    assert marker_at(found[0]) == marker


def test_it_is_not_looked_for_where_it_was(archive, tmp_path):
    archive("b")

    assert likely(os.fsencode(tmp_path / "b"), table=[mount(tmp_path / "b")]) == []


def test_what_is_mounted_over_or_is_the_kernel_s_own_is_left_alone(archive, tmp_path):
    archive("b")
    archive("p")
    table = [mount(tmp_path / "b"), mount(tmp_path / "b", "fuse.sshfs"), mount(tmp_path / "p", "proc")]

    assert likely(b"/x", table=table) == []


def test_shares_are_named_and_not_looked_at(tmp_path):
    gone = tmp_path / "a share that nobody has mounted"

    found = remote(b"/mnt/nas/shoot", [mount(gone, "nfs4"), mount("/", "ext4")])

    assert found == [os.fsencode(gone / end) for end in ("mnt/nas/shoot", "nas/shoot", "shoot")] + [os.fsencode(gone)]
    assert likely(b"/mnt/nas/shoot", table=[mount(gone, "nfs4")]) == []


def test_a_share_is_not_looked_at_by_way_of_the_disk_that_it_is_mounted_on(archive, tmp_path):
    archive("nas/shoot")
    table, old = [mount("/"), mount(tmp_path / "nas", "nfs4")], b"/mnt" + os.fsencode(tmp_path / "nas/shoot")

    assert likely(old, table=table) == []
    assert os.fsencode(tmp_path / "nas/shoot") in remote(old, table)


def test_a_source_carries_no_marker_so_a_folder_is_enough(tmp_path):
    (tmp_path / "b/DCIM").mkdir(parents=True)
    (tmp_path / "b/EOS").write_bytes(b"a file")

    found = likely(b"/media/EOS/DCIM", archive=False, table=[mount(tmp_path / "b")])

    assert found == [os.fsencode(tmp_path / "b/DCIM"), os.fsencode(tmp_path / "b")]


def test_what_cannot_be_read_carries_no_marker(tmp_path):
    assert marker_at(os.fsencode(tmp_path)) is None
    assert marker_at(os.fsencode(tmp_path / str(uuid.uuid4()))) is None
    (tmp_path / ".ingest").mkdir()
    (tmp_path / ".ingest/root.json").write_text("no JSON")
    assert marker_at(os.fsencode(tmp_path)) is None
