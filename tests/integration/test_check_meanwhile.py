"""A card that somebody writes to while it is checked is not safe to erase."""

from __future__ import annotations

import os

import pytest

from ingest import api


@pytest.fixture
def checked(place):
    """Check the card while, after its first files were read, something happens: reasons by path, and the totals."""

    def check(act, **terms):
        pending = [act]

        def progress(_files, _bytes):
            if pending:
                pending.pop()()

        found = api.check(
            [os.fsencode(place.card)], place.home, copies=1, same_volume=True, accept_reread=True, progress=progress,
            **terms,
        )  # fmt: skip
        told = {os.fsdecode(each.path): each.reason for each in found}
        assert not pending
        return told, found.totals

    return check


def test_a_card_that_nobody_writes_to_is_safe(place, checked):
    place.fill(3)
    place.copy()

    told, totals = checked(lambda: None)

    assert (told, totals.safe) == ({}, True)


@pytest.mark.parametrize("fast", [False, True])
def test_a_file_that_is_written_in_place_and_given_its_time_back_is_not_covered(place, checked, fast):
    place.fill(3)
    place.copy()
    file = place.card / "DCIM/000/C00001.MP4"
    before = file.stat()

    def rewrite():
        with file.open("r+b") as there:
            there.write(b"other")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    told, totals = checked(rewrite, fast=fast)

    assert told == {"DCIM/000/C00001.MP4": "it is not as it was when it was read"}
    assert not totals.safe
    assert file.stat().st_mtime_ns == before.st_mtime_ns


def test_a_file_that_takes_the_name_of_one_that_was_read_is_not_covered(place, checked):
    files = place.fill(1)
    place.copy()
    file = place.card / "DCIM/000/C00000.MP4"
    before = file.stat()

    def exchange():
        twin = file.with_name("twin")
        twin.write_bytes(files["DCIM/000/C00000.MP4"])
        os.utime(twin, ns=(before.st_atime_ns, before.st_mtime_ns))
        twin.rename(file)

    told, _ = checked(exchange)

    assert told == {"DCIM/000/C00000.MP4": "it is not as it was when it was read"}


@pytest.mark.parametrize("name", ["DCIM/000/NEW.MP4", "NEW/NEW.MP4", "NEW.MP4"])
def test_what_comes_to_a_folder_after_it_was_listed_is_told(place, checked, name):
    place.fill(3)
    place.copy()

    told, totals = checked(lambda: place.put(name, b"new"))

    folder = os.path.dirname(name)
    assert told == {folder: "its files changed, came or went while they were looked at"}
    assert (totals.files, totals.covered, totals.unseen, totals.safe) == (3, 3, 1, False)


def test_what_is_not_asked_about_may_come(place, checked):
    place.fill(1)
    place.copy()

    told, totals = checked(lambda: place.put("note.tmp", b"new"), exclude=["*.tmp"])

    assert (told, totals.safe) == ({}, True)
