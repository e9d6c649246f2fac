from __future__ import annotations

import os
import subprocess
import uuid

import pytest

from ingest.storage.filesystems import by_device, uuid_at, uuid_of
from ingest.storage.volumes import volume_of


def told(point):
    """What the system's own tool says of a file system, asked of its disk."""
    origin = subprocess.run(["findmnt", "-n", "-o", "SOURCE", point], capture_output=True, text=True, check=True)
    asked = ["blkid", "-p", "-o", "value", "-s", "UUID", origin.stdout.strip()]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_file_system_tells_its_own_uuid(make_disk, kind):
    point = make_disk(kind)
    (point / "folder").mkdir()

    assert uuid_at(os.fsencode(point)) == uuid_at(os.fsencode(point / "folder")) == told(point)
    assert volume_of(os.fsencode(point)).fs_uuid == told(point)


@pytest.mark.root
def test_what_lives_in_memory_has_none_that_lasts(make_disk):
    assert volume_of(os.fsencode(make_disk("tmpfs"))).fs_uuid is None


def test_what_tells_nothing_has_none():
    descriptor = os.open("/proc", os.O_RDONLY)
    try:
        assert uuid_of(descriptor) is None
    finally:
        os.close(descriptor)
    assert uuid_at(b"/no such folder") is None


def test_a_serial_number_is_what_the_system_has_noted(tmp_path):
    """FAT has no UUID; links of the kind that the system makes lead to a device that is there."""
    links = tmp_path / "by-uuid"
    links.mkdir()
    (links / "1234-ABCD").symlink_to("/dev/null")
    (links / str(uuid.uuid4())).symlink_to("/dev/no such device")

    assert by_device(os.stat("/dev/null").st_rdev, str(links)) == "1234-ABCD"
    assert by_device(os.stat("/dev/zero").st_rdev, str(links)) is None
    assert by_device(1, str(tmp_path / "no such folder")) is None
