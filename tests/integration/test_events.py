"""What a monitor is told, and in which order."""

from __future__ import annotations

import os
import shutil
import threading
from itertools import pairwise

import pytest

from ingest.model.states import ItemState, SessionState
from ingest.pipeline.meter import Meter


def test_a_session_is_told_from_its_start_to_its_end(place, recorder):
    place.fill(20)
    place.put(".DS_Store", b"x")

    report = place.copy(monitor=recorder)

    kinds = [kind for kind, _ in recorder.told]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert (kinds.count("started"), kinds.count("finished")) == (1, 1)
    assert recorder.all("started") == [(report.id, (os.fsencode(place.card),), (os.fsencode(place.archive()),))]
    assert recorder.all("finished") == [report]


def test_every_copy_is_told_once_when_it_ends(place, recorder):
    files = place.fill(20)
    place.put(".DS_Store", b"x")
    one, other = place.archive(0), place.archive(1)

    place.copy(one, other, monitor=recorder)

    told = [(record.source_path, root) for record, root in recorder.all("ended")]
    assert len(told) == len(set(told)) == 2 * 21
    arrived = [record for record, _ in recorder.all("ended") if record.state is ItemState.FINALIZED]
    assert len(arrived) == 2 * len(files)
    assert all(record.verify_method and record.blake3 and record.finalized_ns for record in arrived)
    for record in arrived:
        assert record.started_ns <= record.copied_ns <= record.validated_ns <= record.finalized_ns


def test_what_is_told_as_finalized_is_there(place, recorder):
    place.fill(50)
    missing = []
    tell = recorder.ended

    def look(record, root) -> None:
        tell(record, root)
        if record.state is ItemState.FINALIZED and not os.path.exists(root + b"/" + record.path):
            missing.append(record.path)

    recorder.ended = look
    place.copy(monitor=recorder)

    assert missing == []
    assert len(recorder.all("ended")) == 50


def test_progress_goes_forward_through_the_phases(place, recorder):
    files = place.fill(400, 200_000)

    place.copy(monitor=recorder)

    told = recorder.all("progress")
    copying = [progress for progress in told if progress.phase == SessionState.COPYING]
    assert copying, "there is progress while bytes move"
    order = [
        str(phase)
        for phase in (SessionState.SCANNING, SessionState.PLANNING, SessionState.COPYING, SessionState.FINALIZING)
    ]
    places = [order.index(progress.phase) for progress in told]
    assert places == sorted(places)
    for before, after in pairwise(copying):
        assert after.work_done >= before.work_done
        assert after.files_done >= before.files_done
    assert all(progress.work_done <= progress.work for progress in copying)
    assert copying[-1].work >= 2 * sum(map(len, files.values()))


@pytest.fixture
def plans(monkeypatch):
    """What each run has planned: files, and bytes."""
    made: list[tuple[int, int]] = []
    plan = Meter.plan

    def note(meter, files, work, counter) -> None:
        made.append((files, work))
        plan(meter, files, work, counter)

    monkeypatch.setattr(Meter, "plan", note)
    return made


SIZE = 40_000
NOON = 1_700_000_000_000_000_000


def fill(place, files: range) -> None:
    for number in files:
        place.put(f"DCIM/C{number:05d}.MP4", (b"%08d" % number) * (SIZE // 8))


def end(recorder):
    last = recorder.all("progress")[-1]
    return last.files_done, last.files, last.work_done, last.work


def test_of_a_card_that_is_there_already_every_byte_that_is_read_is_told(place, recorder, plans):
    fill(place, range(50))
    place.copy()

    place.copy(monitor=recorder)

    assert plans[1:] == [(50, 50 * SIZE)]
    assert end(recorder) == (50, 50, 50 * SIZE, 50 * SIZE)


def test_without_the_journal_the_archive_is_read_too_and_so_it_is_planned(place, recorder, plans):
    fill(place, range(50))
    place.copy()
    shutil.rmtree(place.home)

    place.copy(monitor=recorder)

    assert plans[1:] == [(50, 2 * 50 * SIZE)]
    assert end(recorder) == (50, 50, 2 * 50 * SIZE, 2 * 50 * SIZE)


def test_half_a_card_is_compared_and_half_is_copied_and_both_are_work(place, recorder, plans):
    fill(place, range(30))
    place.copy()
    fill(place, range(30, 50))

    place.copy(monitor=recorder)

    assert plans[1:] == [(50, (30 + 2 * 20) * SIZE)]
    assert end(recorder)[2:] == (70 * SIZE, 70 * SIZE)


def test_what_one_archive_has_and_another_has_not_is_compared_and_copied(place, recorder, plans):
    fill(place, range(20))
    place.copy(place.archive(0))

    place.copy(place.archive(0), place.archive(1), monitor=recorder)

    assert plans[1:] == [(20, 3 * 20 * SIZE)]
    assert end(recorder)[2:] == (60 * SIZE, 60 * SIZE)


def test_what_is_hashed_to_find_the_card_s_folder_is_told_of(place, recorder, plans):
    fill(place, range(20))
    place.copy()
    for clip in (place.archive() / "CARD").rglob("*.MP4"):
        os.utime(clip, ns=(NOON + 7_000_000_000,) * 2)

    place.copy(monitor=recorder)

    # The card once, while it is planned; the archive, whose files are no longer as they were recorded, when compared.
    assert plans[1:] == [(20, 20 * SIZE)]
    assert end(recorder)[2:] == (40 * SIZE, 40 * SIZE)
    planning = [progress for progress in recorder.all("progress") if progress.phase == SessionState.PLANNING]
    assert all(progress.work_done <= 40 * SIZE for progress in planning)


def test_a_session_that_is_taken_up_tells_of_all_its_files_and_ends_whole(place, recorder, plans):
    fill(place, range(400))
    stop = threading.Event()
    recorder.at_first_end = stop.set
    place.copy(monitor=recorder, stopped=stop.is_set, batch=20, workers=1)
    ended = len(recorder.all("ended"))
    recorder.told.clear()

    place.resume(monitor=recorder)

    told = recorder.all("progress")
    assert 0 < ended < 400
    assert all(ended <= progress.files_done <= progress.files == 400 for progress in told if progress.files)
    last = told[-1]
    assert (last.files_done, last.files, last.eta) == (400, 400, 0.0)
    assert plans[1:] == [(400, last.work_done)], "what was planned is what it came to"
    assert last.work == last.work_done <= 2 * (400 - ended) * SIZE


def test_a_monitor_hears_one_call_at_a_time(place, recorder):
    """Begin and end come from the thread that was called, what is between them from the run's own, and progress, which
    goes on while that one waits, from a third.
    """
    place.fill(50)
    place.copy(place.archive(0), place.archive(1), monitor=recorder)

    assert threading.get_ident() in recorder.threads
    assert len(recorder.threads) == 2
    assert recorder.at_once == 1


def test_a_run_that_takes_a_session_up_tells_only_what_it_does(place, recorder):
    place.fill(2500, 1000)
    stop = threading.Event()
    recorder.at_first_end = stop.set
    place.copy(monitor=recorder, stopped=stop.is_set)
    first = {record.source_path for record, _ in recorder.all("ended")}

    recorder.told.clear()
    place.resume(monitor=recorder)

    second = {record.source_path for record, _ in recorder.all("ended")}
    assert first
    assert not first & second
    assert len(first | second) == 2500


def test_warnings_come_before_the_end_and_stand_in_the_report(place, recorder):
    place.put("A.MP4", b"another card's footage", on=place.archive() / "CARD")
    place.put("A.MP4", b"footage")

    report = place.copy(monitor=recorder)

    assert recorder.all("warning") == list(report.warnings)
    assert "CARD_2" in report.warnings[0]
    assert place.arrived(label="CARD_2") == {"A.MP4": b"footage"}
