from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from ingest.storage.space import MARGIN, PER_FILE, Room, room_for, taken_by


@pytest.fixture
def volume(monkeypatch):
    """A volume with these figures under every descriptor."""

    def is_(**figures: int) -> None:
        whole = {"f_frsize": 4096, "f_bsize": 1 << 20, "f_blocks": 1 << 20, "f_bfree": 1 << 20, "f_bavail": 1 << 19,
                 "f_files": 1000, "f_ffree": 900, "f_favail": 800}  # fmt: skip
        monkeypatch.setattr("os.fstatvfs", lambda _: SimpleNamespace(**{**whole, **figures}))

    return is_


def test_what_is_free_is_what_this_user_may_have(volume):
    volume(f_bavail=3, f_bfree=1000, f_favail=5, f_ffree=1000)

    room = room_for(0, 1, 1)

    assert (room.free_bytes, room.free_inodes) == (3 * 4096, 5)


def test_every_file_costs_a_little_beyond_its_bytes(volume):
    volume()

    assert room_for(0, 10, 1000, folders=2).needed_bytes == 1000 + 12 * PER_FILE + MARGIN


def test_the_margin_is_never_more_than_a_hundredth_of_the_volume(volume):
    volume(f_blocks=100)

    assert room_for(0, 1, 0).needed_bytes == PER_FILE + 4096


def test_nothing_to_copy_needs_nothing(volume):
    volume(f_bavail=0, f_favail=0)

    assert room_for(0, 0, 0).enough


def test_a_file_system_that_makes_inodes_as_it_goes_has_enough_of_them(volume):
    volume(f_files=0, f_ffree=0, f_favail=0)

    room = room_for(0, 1_000_000, 1)

    assert room.free_inodes is None
    assert room.enough is (room.free_bytes >= room.needed_bytes)


def test_inodes_can_run_out_while_there_is_room(volume):
    volume(f_favail=100)

    room = room_for(0, 200, 10)

    assert room.free_bytes > room.needed_bytes
    assert not room.enough
    assert "inodes" in room.shortage


@pytest.mark.parametrize(
    ("needed", "free", "enough"),
    [(0, 0, True), (10, 10, True), (11, 10, False)],
)
def test_the_last_byte_counts(needed, free, enough):
    assert Room(needed, free, 1, None).enough is enough


def test_a_shortage_of_bytes_is_told_in_bytes():
    assert Room(2_000_000, 1_000, 5, 1).shortage == "2,000,000 bytes are needed and 1,000 are free"


def test_a_real_folder_can_be_asked(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        room = room_for(descriptor, 1, 1)
        facts = os.fstatvfs(descriptor)
    finally:
        os.close(descriptor)

    assert 0 < room.free_bytes <= facts.f_blocks * facts.f_frsize
    assert room.enough


def test_what_is_there_of_files_that_are_being_made_has_its_room_already(tree):
    archive = tree("archive")
    archive.put(b"s/half", bytes(1 << 20))
    archive.put(b"s/whole", bytes(5000))
    with archive.put(b"s/reserved").open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
        file.truncate(4096)
    reserved = (archive.path / "s/reserved").stat().st_blocks * 512

    number, room = taken_by(archive.root, {b"s/half": 1 << 30, b"s/whole": 5000, b"s/none": 7, b"gone/x": 7})

    assert (number, room) == (2, (1 << 20) + 5000)
    assert taken_by(archive.root, {b"s/reserved": 1 << 20}) == (1, max(4096, reserved))
    assert taken_by(archive.root, {b"s/half": 1000}) == (1, 1000), "never more than the whole file will take"
