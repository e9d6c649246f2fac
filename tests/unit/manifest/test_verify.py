"""An archive, held against its own manifests."""

from __future__ import annotations

import os
import socket

import pytest

from ingest import engine
from ingest.errors import CancelledError, IngestError, MissingError, UsageError
from ingest.manifest.schema import NewerFormatError
from ingest.model.states import ItemState
from ingest.pipeline import verify as stage
from ingest.pipeline.verify import verify

SESSION = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
LATER = "1b4e28ba-3fa1-11d2-883f-0016d3cca427"

FILES = {b"CARD/DCIM/1.mov": b"one" * 1000, b"CARD/DCIM/2.mov": b"two" * 1000, b"CARD/\xff\n.xml": b"three"}


def paths(findings) -> list[bytes]:
    return [finding.path for finding in findings]


def test_a_sound_archive_is_sound(holding):
    archive = holding(FILES)

    report = verify([archive.root], strict=True)

    assert report.sound
    assert (report.checked, report.ok, report.parts, report.extra) == (3, 3, 1, ())
    assert report.bytes == sum(map(len, FILES.values()))
    assert sum(report.verify_method.values()) == 3
    assert set(report.verify_method) == {"direct", "evicted", "reread"}
    assert report.verify_method[archive.root.cold] == 3


def test_a_file_that_is_gone_is_missing(holding):
    archive = holding(FILES)
    os.unlink(os.fsencode(archive.path) + b"/CARD/\xff\n.xml")

    report = verify([archive.root])

    assert paths(report.missing) == [b"CARD/\xff\n.xml"]
    assert (report.checked, report.ok, report.changed) == (3, 2, ())


def test_a_file_whose_folder_is_gone_is_missing(holding):
    archive = holding(FILES)
    (archive.path / "CARD").rename(archive.path / "moved")

    report = verify([archive.root])

    assert len(report.missing) == 3


def test_a_file_whose_folder_is_a_file_now_is_missing(holding):
    archive = holding({b"A/1": b"x"})
    (archive.path / "A").rename(archive.path / "B")
    archive.put(b"A", b"not a folder")

    assert paths(verify([archive.root]).missing) == [b"A/1"]


@pytest.mark.parametrize("at", [0, 1, 1499, 2999])
def test_a_flipped_byte_is_found(holding, at):
    archive = holding(FILES)
    data = bytearray(FILES[b"CARD/DCIM/1.mov"])
    data[at] ^= 0x40
    archive.put(b"CARD/DCIM/1.mov", bytes(data))

    report = verify([archive.root])

    assert paths(report.changed) == [b"CARD/DCIM/1.mov"]
    assert report.changed[0].size == report.changed[0].expected_size == 3000
    assert (report.checked, report.ok) == (3, 2)


def test_another_size_is_found_without_reading(holding):
    archive = holding(FILES)
    archive.put(b"CARD/DCIM/1.mov", b"short")

    report = verify([archive.root])

    assert [(f.size, f.expected_size) for f in report.changed] == [(5, 3000)]
    assert sum(report.verify_method.values()) == 2


def test_another_time_is_no_damage(holding):
    archive = holding(FILES)
    os.utime(archive.path / "CARD/DCIM/1.mov", (1, 1))

    assert verify([archive.root]).sound


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_cannot_be_read_is_changed_with_the_reason(holding):
    archive = holding(FILES)
    (archive.path / "CARD/DCIM/1.mov").chmod(0)

    report = verify([archive.root])

    assert paths(report.changed) == [b"CARD/DCIM/1.mov"]
    assert "ermission" in report.changed[0].reason


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "socket"])
def test_something_else_under_a_files_name_is_changed(holding, kind, tmp_path):
    archive = holding(FILES)
    place = archive.path / "CARD/DCIM/1.mov"
    place.rename(tmp_path / "original")
    match kind:
        case "link":
            place.symlink_to(tmp_path / "original")
        case "folder":
            place.mkdir()
        case "fifo":
            os.mkfifo(place)
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                here = os.open(place.parent, os.O_RDONLY)
                made.bind(f"/proc/self/fd/{here}/1.mov")
                os.close(here)

    report = verify([archive.root])

    assert [(f.path, f.reason) for f in report.changed] == [(b"CARD/DCIM/1.mov", "it is not a regular file")]


def test_a_path_that_leaves_the_root_is_not_followed(archive, record, tmp_path):
    (tmp_path / "outside").write_bytes(b"x")
    archive.add([record(1, b"../outside", b"x")])

    report = verify([archive.root])

    assert report.ok == 0
    assert paths(report.missing) + paths(report.changed) == [b"../outside"]


def test_only_what_arrived_is_looked_for(archive, record):
    archive.put(b"1", b"x")
    archive.add(
        [record(1, b"1", b"x")]
        + [record(n, b"%d" % n, b"x", state=state) for n, state in enumerate(ItemState, 2) if not state.arrived]
        + [record(99, None, b"x", state=ItemState.FAILED, blake3=None)]
    )

    report = verify([archive.root])

    assert report.sound
    assert report.checked == 1


def test_a_duplicate_is_looked_for_once_where_it_stands(archive, record):
    archive.put(b"1", b"x")
    archive.add([record(1, b"1", b"x"), record(2, b"1", b"x", state=ItemState.DUPLICATE, finalized_ns=None)])

    assert verify([archive.root]).checked == 1


def test_the_latest_row_of_a_path_decides(archive, record):
    archive.put(b"1", b"new")
    archive.add([record(2, b"1", b"new")], LATER)
    archive.add([record(1, b"1", b"old")], SESSION)

    assert verify([archive.root]).sound


def test_an_empty_file_is_checked_like_any(holding):
    archive = holding({b"empty": b""})

    assert verify([archive.root]).ok == 1


def test_many_files_in_many_batches_are_all_checked(holding):
    archive = holding({b"DCIM/%03d/%05d.jpg" % (n % 7, n): b"%d" % n for n in range(1000)})
    archive.put(b"DCIM/003/00003.jpg", b"X")
    (archive.path / "DCIM/004/00004.jpg").unlink()
    seen = []

    report = verify([archive.root], threads=3, progress=lambda files, size: seen.append((files, size)))

    assert (report.checked, report.ok) == (1000, 998)
    assert (paths(report.changed), paths(report.missing)) == ([b"DCIM/003/00003.jpg"], [b"DCIM/004/00004.jpg"])
    assert seen == sorted(seen)
    assert seen[-1] == (1000, report.bytes)
    assert len(seen) > 3


def test_no_more_is_asked_for_than_the_threads_can_take(holding, monkeypatch):
    archive = holding({b"%d" % n: b"x" for n in range(1000)})
    pulled, seen = [], []
    honest = stage.expected

    def counting(*given):
        for file in honest(*given):
            pulled.append(file.path)
            yield file

    monkeypatch.setattr(stage, "expected", counting)

    verify([archive.root], threads=1, progress=lambda *_: seen.append(len(pulled)))

    assert len(pulled) == 1000
    assert seen[0] < 300


def test_two_roots_are_each_held_against_their_own(archive, archive_at, record, tmp_path):
    other = archive_at(tmp_path / "other", "7fa459ea-ee8a-3ca4-894e-db77e160355e")
    for each in (archive, other):
        each.put(b"1", b"x")
        each.add([record(1, b"1", b"x")])
    other.put(b"1", b"y")

    report = verify([archive.root, other.root, archive.root])

    assert report.checked == 2
    assert [(f.root, f.path) for f in report.changed] == [(other.root.path, b"1")]


def test_extra_is_told_only_when_it_is_asked_for(holding):
    archive = holding(FILES)
    archive.put(b"CARD/new.mov", b"x")

    assert verify([archive.root]).extra == ()
    assert verify([archive.root]).sound


def test_extra_is_whatever_no_manifest_names(holding, record):
    archive = holding(FILES)
    archive.add([record(9, b"CARD/failed.mov", b"x", state=ItemState.FAILED)])
    for name in (b"stray", b"CARD/failed.mov", b"CARD/deep/er/\xfe", rb"CARD/\xff" + b"\n.xml", b"CARD/.ingest/x"):
        archive.put(name, b"x")
    (archive.path / "CARD/link").symlink_to("/etc")
    (archive.path / "CARD/empty").mkdir()

    report = verify([archive.root], strict=True)

    assert sorted(paths(report.extra)) == sorted(
        [b"stray", b"CARD/failed.mov", b"CARD/deep/er/\xfe", rb"CARD/\xff" + b"\n.xml", b"CARD/.ingest/x", b"CARD/link"]
    )
    assert {finding.reason for finding in report.extra} == {""}
    assert report.sound


def test_extra_comes_in_more_than_one_batch(holding, monkeypatch):
    monkeypatch.setattr("ingest.manifest.expected._BATCH", 7)
    archive = holding({b"in/%d" % n: b"" for n in range(30)})
    for n in range(50):
        archive.put(b"out/%d" % n, b"")

    assert len(verify([archive.root], strict=True).extra) == 50


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list anything")
def test_a_folder_that_cannot_be_listed_is_told(holding):
    archive = holding(FILES)
    (archive.path / "lost+found").mkdir(mode=0)

    (found,) = verify([archive.root], strict=True).extra

    assert found.path == b"lost+found"
    assert found.reason


def test_a_damaged_manifest_is_changed_and_the_others_still_count(holding, record):
    archive = holding(FILES)
    archive.put(b"later", b"x")
    archive.add([record(1, b"later", b"x")], LATER)
    data = bytearray(archive.part_file(1).read_bytes())
    data[50] ^= 1
    archive.part_file(1).write_bytes(data)

    report = verify([archive.root])

    assert paths(report.changed) == [os.fsencode(os.path.relpath(archive.part_file(1), archive.path))]
    assert (report.checked, report.ok) == (1, 1)
    assert not report.sound


def test_a_part_that_the_device_holds_otherwise_than_memory_is_changed(holding, monkeypatch):
    archive = holding(FILES)
    honest = engine.prove

    def prove(root, paths, **how):
        if not paths[0].startswith(b".ingest/"):
            return honest(root, paths, **how)
        assert how["cold"]
        return [(b"\0" * 32, 1, 1, "direct", None)]

    monkeypatch.setattr(engine, "prove", prove)

    assert paths(verify([archive.root]).changed) == [os.fsencode(os.path.relpath(archive.part_file(1), archive.path))]


def test_a_removed_manifest_part_is_missing(holding, record):
    archive = holding(FILES)
    archive.put(b"later", b"x")
    archive.add([record(4, b"later", b"x")])
    archive.part_file(1).unlink()

    report = verify([archive.root])

    assert paths(report.missing) == [os.fsencode(os.path.relpath(archive.part_file(1), archive.path))]
    assert report.ok == 1


def test_no_readable_part_at_all_is_damage_and_no_success(holding):
    archive = holding(FILES)
    archive.part_file(1).write_bytes(b"")

    report = verify([archive.root], strict=True)

    assert (report.checked, len(report.changed), len(report.extra)) == (0, 1, 3)
    assert not report.sound


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b'{"version": 1, "uuid": "x"}', b'{"version": 99}'])
def test_a_marker_that_cannot_be_read_is_changed(holding, text):
    archive = holding(FILES)
    (archive.path / ".ingest/root.json").write_bytes(text)

    assert paths(verify([archive.root]).changed) == [b".ingest/root.json"]


def test_a_marker_that_is_gone_is_missing(holding):
    archive = holding(FILES)
    (archive.path / ".ingest/root.json").unlink()

    assert paths(verify([archive.root]).missing) == [b".ingest/root.json"]


def test_a_newer_manifest_is_an_error_and_no_damage(holding, monkeypatch):
    archive = holding(FILES)
    monkeypatch.setattr("ingest.manifest.schema.FORMAT_VERSION", 0)

    with pytest.raises(NewerFormatError):
        verify([archive.root])


def test_a_root_without_manifests_is_not_found(archive):
    with pytest.raises(MissingError):
        verify([archive.root])
    with pytest.raises(MissingError):
        verify([archive.root], session="1b4e")


@pytest.fixture
def two_sessions(archive, record):
    archive.put(b"both", b"b")
    archive.put(b"first", b"1")
    archive.put(b"second", b"2")
    archive.add([record(1, b"both", b"b"), record(2, b"first", b"1")], SESSION)
    archive.add([record(1, b"both", b"b", state=ItemState.DUPLICATE), record(3, b"second", b"2")], LATER)
    return archive


@pytest.mark.parametrize(
    ("prefix", "damaged"), [("1b4e28ba-2", b"first"), (LATER, b"second"), (SESSION.upper(), b"first")]
)
def test_a_session_is_named_by_a_unique_beginning(two_sessions, prefix, damaged):
    for name in (b"first", b"second"):
        two_sessions.put(name, b"X")

    report = verify([two_sessions.root], session=prefix)

    assert report.checked == 2
    assert paths(report.changed) == [damaged]


def test_a_file_that_a_later_session_found_again_still_belongs_to_the_first(two_sessions):
    two_sessions.put(b"both", b"X")

    assert paths(verify([two_sessions.root], session=SESSION).changed) == [b"both"]


def test_a_beginning_that_several_sessions_share_is_a_usage_error(two_sessions):
    with pytest.raises(UsageError, match="2 sessions") as caught:
        verify([two_sessions.root], session="1b4e28ba")

    assert SESSION in caught.value.advice


def test_a_session_that_is_not_here_is_not_found(two_sessions):
    with pytest.raises(MissingError, match="ffff"):
        verify([two_sessions.root], session="ffff")


def test_files_of_other_sessions_are_not_extra(two_sessions):
    assert verify([two_sessions.root], session=SESSION, strict=True).extra == ()


def test_a_cancelled_page_ends_the_work(holding):
    page = engine.Page()
    page.cancel()

    with pytest.raises(CancelledError):
        verify([holding(FILES).root], page=page)


def test_an_error_in_one_thread_ends_the_others_and_comes_out(holding):
    archive = holding({b"%d" % n: b"x" for n in range(500)})

    def interrupt(files: int, size: int) -> None:
        raise KeyboardInterrupt

    page = engine.Page()

    with pytest.raises(KeyboardInterrupt):
        verify([archive.root], progress=interrupt, page=page)

    assert page.words()[engine.CANCEL] == 1


def test_a_root_that_went_away_is_an_error_and_not_a_list_of_missing_files(holding, tmp_path):
    archive = holding(FILES)
    archive.path.rename(tmp_path / "unplugged")

    with pytest.raises(IngestError) as caught:
        verify([archive.root])

    assert caught.value.path == archive.root.path
    assert "mounted" in caught.value.advice


def test_a_root_that_goes_away_in_the_middle_is_an_error(holding, tmp_path):
    archive = holding({b"%d" % n: b"x" for n in range(300)})

    def unplug(files: int, size: int) -> None:
        if archive.path.exists():
            archive.path.rename(tmp_path / "unplugged")

    with pytest.raises(IngestError):
        verify([archive.root], progress=unplug)


def test_verifying_changes_nothing(holding):
    archive = holding(FILES)
    before = {at: os.stat(at).st_mtime_ns for at, _, _ in os.walk(archive.path)}

    verify([archive.root], strict=True)

    assert {at: os.stat(at).st_mtime_ns for at, _, _ in os.walk(archive.path)} == before


def test_more_rows_than_the_memory_holds_spill(archive, record):
    for k in range(8):
        archive.add(
            [
                record(n, b"DCIM/%04d/%06d-%s.mov" % (n % 97, n, b"x" * 100), b"")
                for n in range(k * 4000, k * 4000 + 4000)
            ]
        )

    report = verify([archive.root], memory="16MB")

    assert (report.checked, len(report.missing)) == (32_000, 32_000)
