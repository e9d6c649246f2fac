"""An archive is checked against its own manifests, with nothing else at hand, and whatever is wrong is named."""

from __future__ import annotations

import os
import shutil

import pytest


@pytest.fixture(scope="module")
def sound(shared):
    """An archive of two sessions, and the answers that made it; not to be changed."""
    archive = shared.plant("archive", {})
    files = {"100/a.mov": b"essence of a" * 9000, "100/b.mov": b"essence of b" * 9000, "empty": b""}
    answers = [shared.tell("copy", shared.plant(name, files), archive) for name in ("A001", "A002")]
    assert [told.code for told in answers] == [0, 0]
    return archive, [told.document for told in answers]


@pytest.fixture
def broken(sound, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(sound[0], tmp_path / "archive", symlinks=True)


def paths(findings):
    return [finding["path"] for finding in findings]


def part(root, number=0):
    return sorted((root / ".ingest/manifests").glob("session=*/items-*.parquet"))[number]


def flip(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def test_a_sound_archive_needs_no_journal_and_is_left_as_it_is(tell, ingest, sound, snapshot):
    archive, _ = sound
    before = snapshot(archive)

    told = tell("verify", archive, "--strict")
    said = ingest.run("verify", archive)

    assert told.code == said.returncode == 0, told.errors
    assert set(told.document) >= {"checked", "ok", "missing", "changed", "extra", "verify_method"}
    assert (told.document["checked"], told.document["ok"]) == (6, 6)
    assert told.document["missing"] == told.document["changed"] == told.document["extra"] == []
    assert set(told.document["verify_method"]) == {"direct", "evicted", "reread"}
    assert sum(told.document["verify_method"].values()) == 6
    assert "SOUND" in said.stdout
    assert snapshot(archive) == before
    assert list(ingest.home.iterdir()) == []


def test_a_flipped_bit_of_the_same_size_and_time_is_found(tell, broken):
    clip = broken / "A001/100/a.mov"
    facts = clip.stat()
    flip(clip, 70_000)
    os.utime(clip, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    told = tell("verify", broken)

    assert told.code == 3
    assert (told.document["checked"], told.document["ok"]) == (6, 5)
    (changed,) = told.document["changed"]
    assert changed["path"] == str(clip)
    assert changed["size"] == changed["expected_size"] == facts.st_size
    assert changed["reason"]
    assert isinstance(changed["ranges"], list)


def test_a_truncated_file_is_told_with_both_sizes(tell, broken):
    os.truncate(broken / "A002/100/b.mov", 5)

    told = tell("verify", broken)

    assert told.code == 3
    (changed,) = told.document["changed"]
    assert (changed["path"], changed["size"], changed["expected_size"]) == (str(broken / "A002/100/b.mov"), 5, 108_000)


def test_missing_files_and_folders_are_named_file_by_file(tell, ingest, broken):
    shutil.rmtree(broken / "A001/100")
    (broken / "A002/empty").unlink()

    told = tell("verify", broken)
    said = ingest.run("verify", broken)

    gone = ["A001/100/a.mov", "A001/100/b.mov", "A002/empty"]
    assert told.code == said.returncode == 3
    assert sorted(paths(told.document["missing"])) == [str(broken / name) for name in gone]
    assert told.document["changed"] == []
    assert told.document["ok"] == 3
    assert said.stdout.count("MISSING") == 3
    assert "DAMAGED: 3 missing, 0 changed" in said.stdout


def test_a_link_or_a_folder_in_a_files_place_is_a_change(tell, broken, tmp_path):
    twin = tmp_path / "twin"
    (broken / "A001/100/a.mov").rename(twin)
    (broken / "A001/100/a.mov").symlink_to(twin)
    (broken / "A001/empty").unlink()
    (broken / "A001/empty").mkdir()

    told = tell("verify", broken)

    assert told.code == 3
    assert sorted(paths(told.document["changed"])) == [str(broken / "A001/100/a.mov"), str(broken / "A001/empty")]


def test_extra_files_are_listed_only_with_strict_and_are_no_failure(tell, broken):
    (broken / "A001/100/mine.txt").write_bytes(b"mine")
    (broken / "stray").write_bytes(b"")
    (broken / ".ingest/note").write_bytes(b"inside")

    loose = tell("verify", broken)
    strict = tell("verify", broken, "--strict")

    assert (loose.code, loose.document["extra"]) == (0, [])
    assert strict.code == 0
    assert sorted(paths(strict.document["extra"])) == [str(broken / "A001/100/mine.txt"), str(broken / "stray")]


@pytest.mark.parametrize("at", [300, -5])
def test_a_damaged_manifest_is_told_and_the_rest_is_still_checked(tell, broken, at):
    damaged = part(broken)
    flip(damaged, at % damaged.stat().st_size)

    told = tell("verify", broken)

    assert told.code == 3
    assert paths(told.document["changed"]) == [str(damaged)]
    assert told.document["ok"] >= 3


def test_a_marker_that_is_damaged_or_gone_is_told(tell, broken):
    (broken / ".ingest/root.json").write_text("{not json")
    damaged = tell("verify", broken)
    (broken / ".ingest/root.json").unlink()
    gone = tell("verify", broken)

    assert damaged.code == gone.code == 3
    assert paths(damaged.document["changed"]) == paths(gone.document["missing"]) == [str(broken / ".ingest/root.json")]
    assert damaged.document["ok"] == gone.document["ok"] == 6


@pytest.mark.parametrize("inside", [[], [".ingest", ".ingest/manifests"]])
def test_a_folder_without_a_manifest_is_exit_4(tell, archive, inside):
    for name in inside:
        (archive / name).mkdir()

    told = tell("verify", archive)

    assert told.code == 4
    assert told.error["path"] == str(archive)
    assert told.error["advice"]


def test_one_session_is_checked_by_the_beginning_of_its_id(tell, broken, sound):
    first, second = (document["session"] for document in sound[1])
    flip(broken / "A001/100/a.mov", 3)
    same = next(n for n in range(37) if first[:n] != second[:n])

    assert tell("verify", broken, "--session", first[: max(8, same)]).code == 3
    told = tell("verify", broken, "--session", second[: max(8, same)])

    assert told.code == 0
    assert told.document["checked"] == 3
    assert tell("verify", broken, "--session", "zz").code == 4


def test_several_archives_are_checked_in_one_go(tell, sound, broken):
    flip(broken / "A001/100/a.mov", 3)

    told = tell("verify", sound[0], broken)

    assert told.code == 3
    assert (told.document["checked"], told.document["ok"]) == (12, 11)
    assert paths(told.document["changed"]) == [str(broken / "A001/100/a.mov")]


def test_what_was_damaged_and_copied_anew_beside_is_still_called_damaged(tell, shared, broken, sound, tmp_path):
    flip(broken / "A001/100/a.mov", 3)
    os.utime(broken / "A001/100/a.mov", ns=(1, 1))
    assert tell("copy", shared.folder / "A001", broken, "--label", "A001").code == 0

    told = tell("verify", broken)

    assert told.code == 3
    assert paths(told.document["changed"]) == [str(broken / "A001/100/a.mov")]
    assert told.document["checked"] == 7
