"""The library in somebody's own program: no command line, no guard, no main thread needed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from ingest import api
from ingest.errors import ExitCode, MissingError, UsageError
from ingest.model.options import CopyOptions, CopyRequest
from ingest.model.states import ItemState, SessionState
from ingest.pipeline.outbox import Outbox
from ingest.workers.messages import Publish


def test_a_card_comes_home(place):
    files = place.fill(30)
    place.put("empty.txt", b"")
    (place.card / "empty folder").mkdir()

    report = place.copy()

    assert (report.state, report.exit_code) == (SessionState.COMPLETED, ExitCode.OK)
    assert place.arrived() == {**files, "empty.txt": b""}
    assert (place.archive() / "CARD/empty folder").is_dir()
    assert report.items["finalized"] == report.items["discovered"] == 31
    assert report.bytes["read"] == report.bytes["copied"] == report.bytes["verified"] == sum(map(len, files.values()))
    assert sum(report.roots[0].verify_method.values()) == 31
    assert [report.manifests] == [
        tuple(os.fsencode(p) for p in sorted(place.archive().glob(".ingest/manifests/*/*.parquet")))
    ]


def test_times_are_kept_to_the_nanosecond(place):
    place.put("a.mp4", b"x", 1_600_000_000_123_456_789)

    place.copy()

    assert (place.archive() / "CARD/a.mp4").stat().st_mtime_ns == 1_600_000_000_123_456_789


def test_no_name_is_asked_for_before_the_journal_says_validated(place, monkeypatch):
    place.fill(300)
    checked = []
    send = Outbox.send

    def look(outbox, request, handler) -> None:
        if isinstance(request, Publish):
            with closing(sqlite3.connect(place.home / "ingest.sqlite3")) as journal:
                for item, staging, path in zip(request.items, request.staging, request.paths, strict=True):
                    row = journal.execute("SELECT state, staging, path FROM copies WHERE item = ?", (item,)).fetchone()
                    assert row == ("validated", staging, path)
                    checked.append(item)
        send(outbox, request, handler)

    monkeypatch.setattr(Outbox, "send", look)
    place.copy(workers=2)

    assert sorted(checked) == list(range(1, 301))


def test_a_second_copy_copies_nothing(place):
    place.fill(20)
    place.copy()
    before = {path: path.stat().st_ino for path in place.archive().rglob("*.MP4")}

    report = place.copy()

    assert (report.items["duplicate"], report.items["finalized"], report.exit_code) == (20, 0, ExitCode.OK)
    assert {path: path.stat().st_ino for path in place.archive().rglob("*.MP4")} == before


def test_nothing_is_left_behind_in_staging(place):
    place.fill(5)
    place.copy()

    assert list((place.archive() / ".ingest/staging").iterdir()) == []


def test_a_copy_can_be_made_from_any_thread(place):
    files = place.fill(10)
    reports = []
    thread = threading.Thread(target=lambda: reports.append(place.copy()))
    thread.start()
    thread.join(60)

    assert reports[0].state is SessionState.COMPLETED
    assert place.arrived() == files


def test_two_copies_at_once_share_a_journal(place):
    files = place.fill(40)
    reports = {}
    main = sys.modules["__main__"]

    def work(number: int) -> None:
        reports[number] = place.copy(place.archive(number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)

    assert [reports[n].state for n in range(3)] == [SessionState.COMPLETED] * 3
    assert all(place.arrived(place.archive(n)) == files for n in range(3))
    assert len(api.sessions(place.home)) == 3
    assert sys.modules["__main__"] is main


def test_two_copies_at_once_to_one_archive_agree(place):
    files = place.fill(40)
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(place.copy())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)

    assert [report.exit_code for report in reports] == [ExitCode.OK, ExitCode.OK]
    assert place.arrived() == files
    assert sum(report.items["finalized"] for report in reports) == 40
    assert sum(report.items["duplicate"] for report in reports) == 40


def test_a_program_needs_no_guard(place, tmp_path):
    files = place.fill(30)
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, pathlib\n"
        "from ingest import api\n"
        "from ingest.model.options import CopyOptions, CopyRequest\n"
        "card, archive, home = sys.argv[1:]\n"
        "request = CopyRequest((card.encode(),), (archive.encode(),), CopyOptions(workers=2))\n"
        "print(api.copy(request, pathlib.Path(home)).state)\n"
    )
    done = subprocess.run(
        [sys.executable, program, place.card, place.archive(), place.home],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("completed\n", "")
    assert place.arrived() == files


def test_a_program_may_come_from_standard_input(place):
    place.fill(3)
    code = (
        "import sys, pathlib\n"
        "from ingest import api\n"
        "from ingest.model.options import CopyRequest\n"
        "print(api.copy(CopyRequest((sys.argv[1].encode(),), (sys.argv[2].encode(),)), pathlib.Path(sys.argv[3])).state)\n"
    )
    done = subprocess.run(
        [sys.executable, "-", place.card, place.archive(), place.home], input=code, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("completed\n", "")


def test_relative_paths_are_taken_from_where_the_program_stands(place, monkeypatch):
    files = place.fill(3)
    place.archive()
    monkeypatch.chdir(place.folder)

    report = api.copy(CopyRequest((b"CARD",), (b"archive-0",)), place.home)

    assert place.arrived() == files
    assert report.roots[0].path == os.fsencode(place.archive())


def test_no_process_and_no_descriptor_is_left(place):
    place.fill(10)
    place.copy()
    before = len(os.listdir("/proc/self/fd"))

    for number in range(1, 4):
        place.copy(place.archive(number), workers=2)

    assert len(os.listdir("/proc/self/fd")) <= before + 2
    children = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "spawn_main"], capture_output=True, text=True, check=False
    )
    assert children.stdout == ""


# Stopping and taking up


def test_a_copy_that_was_stopped_is_completed_by_resuming(place, recorder):
    files = place.fill(2500, 1000)
    stop = threading.Event()
    recorder.at_first_end = stop.set

    first = place.copy(monitor=recorder, stopped=stop.is_set)
    assert (first.state, first.exit_code) == (SessionState.PAUSED_USER, ExitCode.CANCELLED)
    assert first.items["waiting"] + first.items["finalized"] == 2500
    (second,) = place.resume()

    assert (second.id, second.state, second.exit_code) == (first.id, SessionState.COMPLETED, ExitCode.OK)
    assert second.items["finalized"] == 2500
    assert place.arrived() == files
    assert place.resume() == []


def test_a_copy_that_was_stopped_before_it_began_is_completed_by_resuming(place):
    files = place.fill(10)

    first = place.copy(stopped=lambda: True)
    assert first.state is SessionState.PAUSED_USER
    assert place.arrived() == {}
    (second,) = place.resume(first.id[:8])

    assert second.state is SessionState.COMPLETED
    assert place.arrived() == files


class CrashError(Exception):
    """The program ended in the middle."""


@pytest.fixture
def crash(monkeypatch):
    """Makes a method end the program in place of what it does."""

    def at(where: str):
        def end(*_: object, **__: object) -> None:
            raise CrashError

        monkeypatch.setattr(where, end)
        return monkeypatch.undo

    return at


def test_a_session_that_broke_off_can_be_resumed(place, crash):
    files = place.fill(10)
    mend = crash("ingest.pipeline.finalize.make_folders")
    with pytest.raises(CrashError):
        place.copy()
    mend()
    (entry,) = api.sessions(place.home)
    assert (entry.state, entry.resumable) == (SessionState.INTERRUPTED, True)

    (report,) = place.resume()

    assert (report.state, report.items["finalized"]) == (SessionState.COMPLETED, 10)
    assert place.arrived() == files
    assert api.verify([os.fsencode(place.archive())]).ok == 10


def test_a_source_that_was_edited_after_it_was_hashed_is_no_duplicate(place, crash):
    place.put("A.MP4", b"one version")
    place.put("CARD/A.MP4", b"one version", 1_500_000_000_000_000_000, on=place.archive())
    mend = crash("ingest.pipeline.run._copy")
    with pytest.raises(CrashError):
        place.copy()
    mend()
    place.put("A.MP4", b"two version", 1_800_000_000_000_000_000)

    (report,) = place.resume()

    assert report.items["duplicate"] == 0
    assert report.items["finalized"] + report.items["changed"] == 1


def test_a_card_that_is_not_in_the_reader_leaves_the_session_as_it_was(place):
    place.fill(10)
    first = place.copy(stopped=lambda: True)
    place.card.rename(place.folder / "pulled")
    place.card.mkdir()

    from ingest.errors import PausedError

    with pytest.raises(PausedError):
        place.resume()
    place.card.rmdir()
    (place.folder / "pulled").rename(place.card)
    (report,) = place.resume()

    assert (report.id, report.state) == (first.id, SessionState.COMPLETED)


def test_what_failed_is_tried_again_when_the_session_is_named(place):
    files = place.fill(3)
    (place.archive() / "CARD").mkdir(parents=True)
    (place.archive() / "CARD/DCIM").write_bytes(b"a file where a folder has to be")
    first = place.copy(label="CARD")
    assert (first.state, first.items["failed"]) == (SessionState.COMPLETED_WITH_ERRORS, 3)
    assert first.exit_code is not ExitCode.OK
    assert place.resume() == []

    (place.archive() / "CARD/DCIM").unlink()
    (second,) = place.resume(first.id)

    assert (second.state, second.exit_code, second.items["finalized"]) == (SessionState.COMPLETED, ExitCode.OK, 3)
    assert place.arrived() == files
    assert api.verify([os.fsencode(place.archive())]).ok == 3


# What does not make sense


def test_a_missing_source_is_an_error_before_anything_is_made(place):
    with pytest.raises(MissingError):
        api.copy(CopyRequest((b"/no/such/card",), (os.fsencode(place.archive()),)), place.home)

    assert list(place.archive().iterdir()) == []
    assert api.sessions(place.home) == []


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"workers": 65}, {"buffer": 1000}, {"buffer": 1 << 27}, {"profile": "x"}]
)
def test_options_that_make_no_sense_are_refused(place, options):
    place.fill(1)
    with pytest.raises(UsageError):
        place.copy(**options)
    assert list(place.archive().iterdir()) == []


def test_a_session_that_does_not_exist_is_missing(place):
    with pytest.raises(MissingError):
        place.resume("1a2b3c4d")
    assert place.resume() == []
    assert not place.home.exists()


def test_what_a_session_did_can_be_shown(place):
    place.fill(2)
    place.put(".DS_Store", b"x")
    report = place.copy()

    shown = api.show(place.home, report.id[:6])
    items = list(api.items(place.home, report.id[:6], [ItemState.EXCLUDED]))

    assert shown.items == report.items
    assert [os.path.basename(each.path) for each in items] == [b".DS_Store"]


def test_the_engine_s_ways_of_reading_all_bring_the_same(place):
    files = place.fill(5, 3 << 20)
    for number, mode in enumerate(["read", "mmap", "direct"]):
        report = place.copy(place.archive(number), read_mode=mode, buffer=1 << 16)
        assert report.state is SessionState.COMPLETED
        assert place.arrived(place.archive(number)) == files


def test_an_archive_on_another_disk_holds_the_same(place):
    if not os.path.ismount("/dev/shm"):
        pytest.skip("no second file system here")
    files = place.fill(5)
    archive = f"/dev/shm/ingest-test-{os.getpid()}"
    os.mkdir(archive)
    try:
        report = api.copy(CopyRequest((os.fsencode(place.card),), (archive.encode(),), CopyOptions()), place.home)
        assert report.roots[0].verify_method == {"direct": 0, "evicted": 0, "reread": 5}
        with open(f"{archive}/CARD/DCIM/000/C00000.MP4", "rb") as file:
            assert file.read() == files["DCIM/000/C00000.MP4"]
    finally:
        shutil.rmtree(archive)
