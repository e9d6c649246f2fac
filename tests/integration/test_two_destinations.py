"""One destination fails, the other does not notice."""

from __future__ import annotations

import os
import subprocess

import pytest

from ingest import api
from ingest.errors import ExitCode
from ingest.model.states import SessionState
from ingest.storage.space import Room

MANY, BATCH = 600, 20  # files: many times what is under way at once


@pytest.fixture
def two(place):
    return place.archive(0), place.archive(1)


def test_both_get_everything_from_one_read(place, two):
    files = place.fill(40)

    report = place.copy(*two)

    assert place.arrived(two[0]) == place.arrived(two[1]) == files
    size = sum(map(len, files.values()))
    assert (report.bytes["read"], report.bytes["copied"], report.bytes["verified"]) == (size, 2 * size, 2 * size)
    assert [root.copies for root in report.roots] == [{"finalized": 40}] * 2


def test_a_destination_that_goes_away_in_the_middle_waits_and_the_other_is_completed(place, two, recorder):
    files = place.fill(MANY, 4000)
    away = place.folder / "pulled"
    recorder.at_first_end = lambda: two[1].rename(away)

    first = place.copy(*two, monitor=recorder, batch=BATCH)

    assert (first.state, first.exit_code) == (SessionState.PAUSED_NETWORK, ExitCode.PAUSED)
    assert place.arrived(two[0]) == files
    assert first.roots[0].copies == {"finalized": MANY}
    assert first.roots[0].state is SessionState.COMPLETED
    assert first.roots[1].state is SessionState.PAUSED_NETWORK
    assert first.items["waiting"] > 0
    assert not two[1].exists(), "a destination that vanished is never made again"
    assert api.verify([os.fsencode(two[0])]).ok == MANY

    away.rename(two[1])
    (second,) = place.resume()

    assert (second.state, second.items["finalized"]) == (SessionState.COMPLETED, MANY)
    assert place.arrived(two[1]) == files
    assert api.verify([os.fsencode(two[1])]).ok == MANY


def test_another_folder_in_its_place_is_not_written_to(place, two, recorder):
    place.fill(MANY, 4000)

    def swap() -> None:
        two[1].rename(place.folder / "pulled")
        two[1].mkdir()

    recorder.at_first_end = swap
    report = place.copy(*two, monitor=recorder, batch=BATCH)

    assert report.roots[1].state is SessionState.PAUSED_NETWORK
    assert list(two[1].iterdir()) == []
    assert report.roots[0].copies == {"finalized": MANY}


def test_a_destination_that_is_still_away_does_not_keep_the_other_from_being_completed(place, two):
    files = place.fill(20)
    place.copy(*two, stopped=lambda: True)
    two[1].rename(place.folder / "pulled")

    (report,) = place.resume()

    assert report.exit_code is ExitCode.PAUSED
    assert place.arrived(two[0]) == files
    (place.folder / "pulled").rename(two[1])
    (report,) = place.resume()
    assert (report.state, place.arrived(two[1])) == (SessionState.COMPLETED, files)


def test_a_destination_without_room_waits_and_the_other_is_completed(place, two, monkeypatch):
    from ingest.pipeline import preparation

    files = place.fill(20)
    small = os.stat(two[1]).st_ino
    real = preparation.room_for
    monkeypatch.setattr(
        preparation,
        "room_for",
        lambda fd, *more: Room(10, 1, 1, None) if os.fstat(fd).st_ino == small else real(fd, *more),
    )

    first = place.copy(*two)
    assert (first.state, first.exit_code) == (SessionState.PAUSED_SPACE, ExitCode.PAUSED)
    assert place.arrived(two[0]) == files
    assert not (two[1] / "CARD").exists()
    assert "10 bytes are needed" in first.problem

    monkeypatch.undo()
    (second,) = place.resume()
    assert (second.state, place.arrived(two[1])) == (SessionState.COMPLETED, files)


@pytest.mark.root
def test_a_disk_that_runs_full_keeps_what_it_has_and_goes_on_later(place, two, monkeypatch):
    from ingest.pipeline import preparation

    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", two[1]], check=False, capture_output=True
    ).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        files = place.fill(60, 100_000)
        monkeypatch.setattr(preparation, "room_for", lambda *_: Room(0, 1, 0, None))

        first = place.copy(*two)
        assert (first.state, first.exit_code) == (SessionState.PAUSED_SPACE, ExitCode.PAUSED)
        assert first.roots[0].copies == {"finalized": 60}
        assert first.roots[1].state is SessionState.PAUSED_SPACE
        kept = place.arrived(two[1])
        assert kept
        assert all(files[name] == data for name, data in kept.items())

        subprocess.run(["mount", "-o", "remount,size=30m", two[1]], check=True)
        (second,) = place.resume()
        assert (second.state, second.items["finalized"]) == (SessionState.COMPLETED, 60)
        assert place.arrived(two[1]) == files
    finally:
        subprocess.run(["umount", two[1]], check=True)


def test_one_archive_that_has_it_already_is_left_as_it_is(place, two):
    files = place.fill(10)
    place.copy(two[0])
    inodes = {path: path.stat().st_ino for path in two[0].rglob("*.MP4")}

    report = place.copy(*two)

    assert [root.copies for root in report.roots] == [{"duplicate": 10}, {"finalized": 10}]
    assert place.arrived(two[1]) == files
    assert {path: path.stat().st_ino for path in two[0].rglob("*.MP4")} == inodes
