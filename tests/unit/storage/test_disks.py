"""Disks as sysfs shows them, in trees made for the test."""

from __future__ import annotations

import os

import pytest

from ingest.storage.disks import Disk, disk_of


@pytest.fixture
def sysfs(tmp_path):
    """A sysfs: `add(number, place, **files)` puts a disk there and gives its device number."""

    class Tree:
        path = str(tmp_path / "sys")

        def add(self, number: str, place: str, below: list[str] | None = None, **files: str) -> int:
            folder = tmp_path / "sys" / "devices" / place
            for name, text in files.items():
                file = folder / name.replace("__", "/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text + "\n")
            for one in below or []:
                (folder / "slaves").mkdir(parents=True, exist_ok=True)
                (folder / "slaves" / one.rpartition("/")[2]).symlink_to(tmp_path / "sys" / "devices" / one)
            numbers = tmp_path / "sys" / "dev" / "block"
            numbers.mkdir(parents=True, exist_ok=True)
            (numbers / number).symlink_to(folder)
            major, _, minor = number.partition(":")
            return os.makedev(int(major), int(minor))

        def disk(self, device: int) -> Disk | None:
            return disk_of(device, self.path)

    return Tree()


@pytest.mark.parametrize(("says", "rotational"), [("1", True), ("0", False)])
def test_a_real_disk_is_believed(sysfs, says, rotational):
    sda = sysfs.add("8:0", "pci0/ata1/block/sda", queue__rotational=says, removable="0", device__model="WDC WD40EFRX")

    found = sysfs.disk(sda)
    assert (found.rotational, found.removable) == (rotational, False)


def test_a_partition_is_its_disk(sysfs):
    sysfs.add("8:16", "usb1/block/sdb", queue__rotational="1", removable="1")
    part = sysfs.add("8:17", "usb1/block/sdb/sdb1", partition="1")

    found = sysfs.disk(part)
    assert (found.rotational, found.removable) == (True, True)


@pytest.mark.parametrize("says", ["0", "1"])
@pytest.mark.parametrize("name", ["vda", "vdab", "xvda"])
def test_nobody_in_a_guest_knows_whether_a_virtual_disk_spins(sysfs, name, says):
    disk = sysfs.add("254:0", f"pci0/virtio1/block/{name}", queue__rotational=says, removable="0")

    found = sysfs.disk(disk)
    assert (found.rotational, found.removable) == (None, False)


@pytest.mark.parametrize("model", ["Virtual Disk", "Virtual disk", "VMware Virtual S QEMU HARDDISK", "QEMU HARDDISK", "VBOX HARDDISK"])  # fmt: skip
def test_an_emulated_disk_is_known_by_its_model(sysfs, model):
    sda = sysfs.add("8:0", "pci0/host0/block/sda", queue__rotational="1", device__model=model)

    assert sysfs.disk(sda).rotational is None


@pytest.mark.parametrize("name", ["sda", "nvme0n1", "mmcblk0", "vd", "dvda", "nvda1"])
def test_a_name_that_only_looks_like_a_virtual_one_s_is_a_disk(sysfs, name):
    disk = sysfs.add("8:0", f"pci0/block/{name}", queue__rotational="1")

    assert sysfs.disk(disk).rotational is True


def test_a_partition_of_a_virtual_disk_is_one(sysfs):
    sysfs.add("254:0", "pci0/virtio1/block/vda", queue__rotational="1")
    part = sysfs.add("254:1", "pci0/virtio1/block/vda/vda1", partition="1")

    assert sysfs.disk(part).rotational is None


@pytest.mark.parametrize(("under", "rotational"), [("virtio1/block/vda", None), ("ata1/block/sda", True)])
def test_a_mapped_disk_is_what_it_lies_on(sysfs, under, rotational):
    sysfs.add("254:0", under, queue__rotational="1")
    sysfs.add("254:2", f"{under}/{under.rpartition('/')[2]}2", partition="2")
    sysfs.add("9:0", "virtual/block/md0", below=[f"{under}/{under.rpartition('/')[2]}2"], queue__rotational="1")
    crypt = sysfs.add("253:0", "virtual/block/dm-0", below=["virtual/block/md0"], queue__rotational="1")

    assert sysfs.disk(crypt).rotational is rotational


def test_a_file_as_a_disk_is_what_the_file_lies_on(sysfs, tmp_path):
    image = tmp_path / "card.img"
    image.touch()
    here = image.stat().st_dev
    sysfs.add(f"{os.major(here)}:{os.minor(here)}", "virtio1/block/vda", queue__rotational="1")
    loop = sysfs.add("7:77", "virtual/block/loop77", queue__rotational="1", loop__backing_file=str(image))

    assert sysfs.disk(loop).rotational is None


def test_a_file_as_a_disk_that_has_gone_is_a_disk(sysfs):
    loop = sysfs.add("7:77", "virtual/block/loop77", queue__rotational="1", loop__backing_file="/gone (deleted)")

    assert sysfs.disk(loop).rotational is True


def test_disks_that_lie_on_each_other_have_an_end(sysfs):
    sysfs.add("253:0", "virtual/block/dm-0", below=["virtual/block/dm-1"], queue__rotational="1")
    circle = sysfs.add("253:1", "virtual/block/dm-1", below=["virtual/block/dm-0"], queue__rotational="1")

    assert sysfs.disk(circle).rotational is True


@pytest.mark.parametrize("device", [os.makedev(0, 42), os.makedev(8, 0)])
def test_what_sysfs_does_not_know_is_no_disk(sysfs, device):
    assert sysfs.disk(device) is None
    assert disk_of(device, "/nowhere") is None


# What lies on what


def test_two_partitions_lie_on_one_disk_and_another_disk_is_another(sysfs):
    sda = sysfs.add("8:0", "ata1/block/sda", queue__rotational="1")
    parts = [sysfs.add(f"8:{number}", f"ata1/block/sda/sda{number}", partition=str(number)) for number in (1, 2)]
    sdb = sysfs.add("8:16", "ata2/block/sdb", queue__rotational="1")

    one, other, whole = (sysfs.disk(device).lies_on for device in (*parts, sda))
    assert one == other == whole
    assert len(one) == 1
    assert not one & sysfs.disk(sdb).lies_on


def test_what_is_made_of_disks_lies_on_each_of_them(sysfs):
    sda = sysfs.add("8:0", "ata1/block/sda", queue__rotational="1")
    sysfs.add("8:1", "ata1/block/sda/sda1", partition="1")
    sdb = sysfs.add("8:16", "ata2/block/sdb", queue__rotational="1")
    sysfs.add("9:0", "virtual/block/md0", below=["ata1/block/sda/sda1", "ata2/block/sdb"], queue__rotational="1")
    crypt = sysfs.add("253:0", "virtual/block/dm-0", below=["virtual/block/md0"], queue__rotational="1")

    assert sysfs.disk(crypt).lies_on == sysfs.disk(sda).lies_on | sysfs.disk(sdb).lies_on


def test_a_circle_of_disks_lies_on_something(sysfs):
    sysfs.add("253:0", "virtual/block/dm-0", below=["virtual/block/dm-1"], queue__rotational="1")
    circle = sysfs.add("253:1", "virtual/block/dm-1", below=["virtual/block/dm-0"], queue__rotational="1")

    assert len(sysfs.disk(circle).lies_on) == 1
