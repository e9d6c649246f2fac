"""`ingest storage`: what is known of archives; forgetting and moving them touches the journal alone."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

LISTED = {
    "path", "uuid", "known", "accessible", "problem", "kind", "file_system", "read_only", "bytes", "sessions", "resumable",
    "last_verified",
}  # fmt: skip
TOLD = LISTED | {
    "files", "last_copied", "first_seen", "last_seen", "origin", "mount_point", "fs_uuid", "rotational", "inodes_free",
    "read_back", "features", "how",
}  # fmt: skip


@pytest.fixture
def tmp_path(same_place):
    return same_place


@pytest.fixture
def stored(tell):
    """The entries of `storage list`, or of `storage status` with a name."""

    def ask(*arguments):
        told = tell("storage", *(arguments or ("list",)))
        assert told.code == told.document["exit_code"] == 0, told.errors
        return told.document["storage"]

    return ask


@pytest.fixture
def brought(once, card, archive):
    """The archive, after a card came to it."""
    assert once("copy", card, archive).code == 0
    return archive


@pytest.fixture
def paused(tell, plant, tmp_path):
    """A session that waits for room on a disk in memory, and where that is mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    points = [tmp_path / "small"]
    points[0].mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", points[0]], check=True)
    told = tell("copy", plant(tmp_path / "CARD", {"clip.mov": os.urandom(3 << 20)}), points[0])
    assert told.document["state"] == "paused(space)"
    yield told.document["session"], points
    for point in points:
        if os.path.ismount(point):
            subprocess.run(["umount", point], check=True)


# Listing and looking


def test_without_a_journal_nothing_is_known(ingest, stored):
    assert stored() == stored("status") == []
    assert "No archive is known" in ingest.run("storage", "list").stdout
    assert list(ingest.home.iterdir()) == []


def test_an_archive_is_listed_with_room_sessions_and_where_it_is(ingest, stored, brought):
    (entry,) = stored()
    said = ingest.run("storage", "list")

    assert set(entry) == LISTED
    assert (entry["path"], entry["known"], entry["accessible"], entry["problem"]) == (str(brought), True, True, None)
    assert entry["kind"] == "local"
    assert 0 < entry["bytes"]["free"] <= entry["bytes"]["total"]
    assert 0 < entry["bytes"]["internal"] < 1 << 20
    assert (entry["sessions"], entry["resumable"], entry["last_verified"]) == (1, [], None)
    assert entry["uuid"] in said.stdout
    assert "last verified: never" in said.stdout


def test_status_tells_what_was_tried_there_and_leaves_nothing_behind(ingest, stored, brought, snapshot):
    before = snapshot(brought)
    (entry,) = stored("status", brought)
    said = ingest.run("storage", "status", entry["uuid"][:6]).stdout
    after = snapshot(brought)

    assert set(entry) == TOLD
    assert entry["files"] == 6
    assert entry["features"]["longest_name"] == 255
    assert entry["features"]["case_insensitive"] is False
    assert set(entry["features"]) == {
        "reflink", "hard_links", "xattr", "no_replace", "direct", "case_insensitive", "publish_method", "longest_name",
        "name_unit", "why",
    }  # fmt: skip
    assert any("buffer" in sentence for sentence in entry["how"])
    assert "hard links: yes" in said
    assert {path: entry.content for path, entry in before.items()} == {path: e.content for path, e in after.items()}


def test_listing_changes_nothing_at_all(stored, brought, snapshot):
    before = snapshot(brought)

    stored()

    assert snapshot(brought) == before


def test_a_folder_that_is_no_archive_is_only_looked_at(stored, card, snapshot):
    before = snapshot(card)

    (entry,) = stored("status", card)

    assert (entry["known"], entry["uuid"], entry["accessible"], entry["features"]) == (False, None, False, None)
    assert entry["how"]
    assert snapshot(card) == before


def test_a_name_that_nothing_has_is_not_found(tell, brought):
    told = tell("storage", "status", brought / "nowhere")

    assert (told.code, told.document["exit_code"]) == (4, 4)
    assert "storage list" in told.error["advice"]


def test_an_archive_in_a_drawer_is_listed_with_the_reason(ingest, stored, brought, tmp_path):
    brought.rename(tmp_path / "drawer")

    (entry,) = stored()

    assert (entry["accessible"], entry["problem"], entry["bytes"]["total"]) == (
        False,
        "No such file or directory",
        None,
    )
    assert "CANNOT BE REACHED" in ingest.run("storage", "list").stdout


def test_an_empty_mount_point_is_not_the_archive(stored, brought, tmp_path):
    brought.rename(tmp_path / "drawer")
    brought.mkdir()

    (entry,) = stored()

    assert not entry["accessible"]
    assert "mounted" in entry["problem"]


def test_another_archive_in_its_place_is_told(stored, brought, tell, card, backup, tmp_path):
    assert tell("copy", card, backup).code == 0
    brought.rename(tmp_path / "drawer")
    backup.rename(brought)

    first, second = stored()

    assert not first["accessible"]
    assert second["uuid"] in first["problem"]


def test_a_place_is_what_the_configuration_says(ingest, tell, stored, brought, card):
    (ingest.home / "config.toml").write_text(
        f'[[storage]]\npath = "{brought}"\nkind = "network"\nbuffer = "2MiB"\nworkers = 1\n'
    )

    (entry,) = stored("status", brought)
    planned = tell("scan", card, "--to", brought)
    checked = tell("doctor")

    assert entry["kind"] == "network"
    assert {"1 workers: configured", "buffer 2048 KiB: configured"} <= set(entry["how"])
    assert "buffer 2048 KiB: configured" in planned.document["how"]
    assert {f["check"]: f["status"] for f in checked.document["findings"]}["configuration"] == "ok"


def test_a_wrong_configuration_is_told_with_file_line_and_key_before_anything_happens(ingest, tell, card, archive):
    file = ingest.home / "config.toml"
    file.write_text('[[storage]]\npath = "/mnt/nas"\nbufer = "2MiB"\n')

    told = [tell("copy", card, archive), tell("resume"), tell("storage", "list"), tell("scan", card)]
    checked = tell("doctor")

    assert {each.code for each in told} == {2}
    assert {each.error["path"] for each in told} == {str(file)}
    assert all("line 3, bufer" in each.error["cause"] for each in told)
    assert checked.code == 1
    assert {f["check"]: f["status"] for f in checked.document["findings"]}["configuration"] == "wrong"
    assert list(archive.iterdir()) == []


def test_a_share_that_is_not_mounted_is_not_found_by_any_command(tell, card, archive):
    url = "smb://nowhere.invalid/films"

    told = [
        tell("copy", card, url), tell("copy", url, archive), tell("scan", card, "--to", url), tell("verify", url),
        tell("storage", "status", url),
    ]  # fmt: skip

    assert {each.code for each in told} == {4}
    assert {each.error["path"] for each in told} == {url}
    assert all("mount -t cifs //nowhere.invalid/films" in each.error["advice"] for each in told)


# When it was last verified


def test_the_journal_remembers_when_an_archive_was_found_whole(ingest, tell, stored, brought):
    assert tell("verify", brought).code == 0
    (whole,) = stored()
    said = ingest.run("storage", "list").stdout
    findings = {f["check"]: f["detail"] for f in tell("doctor").document["findings"]}
    (brought / "EOS_DIGITAL/.cameraid").write_bytes(b"R6-0042\n")
    assert tell("verify", brought).code == 3
    (after,) = stored()

    assert whole["last_verified"] is not None
    assert whole["last_verified"] in said
    assert whole["last_verified"][:10] in findings[f"archive {brought}"]
    assert after["last_verified"] == whole["last_verified"]


def test_of_two_archives_only_the_whole_one_is_remembered_as_verified(tell, once, stored, card, archive, backup):
    assert once("copy", card, archive, "--also", backup).code == 0
    (backup / "EOS_DIGITAL/.cameraid").unlink()

    assert tell("verify", archive, backup).code == 3

    assert [entry["last_verified"] is not None for entry in stored()] == [True, False]


def test_verifying_one_session_says_nothing_of_the_archive(tell, once, stored, card, archive):
    session = once("copy", card, archive).document["session"]

    assert tell("verify", archive, "--session", session).code == 0

    assert stored()[0]["last_verified"] is None


def test_verify_needs_no_journal_and_makes_none(ingest, tell, brought, tmp_path):
    told = tell("verify", brought, by=type(ingest)(tmp_path / "elsewhere"))

    assert told.code == 0
    assert not (tmp_path / "elsewhere").exists()


def test_a_journal_that_cannot_be_told_does_not_change_what_was_found(ingest, tell, brought):
    (ingest.home / "ingest.sqlite3").write_bytes(b"this is no database, not by far" * 300)

    told = tell("verify", brought)

    assert told.code == 0
    assert told.document["ok"] == 6
    assert "could not be told" in told.errors


# Forgetting


def test_a_forgotten_archive_is_known_no_more_and_its_disk_is_as_it_was(tell, stored, brought, snapshot):
    before = snapshot(brought)
    sessions = tell("sessions").document

    told = tell("storage", "forget", brought)

    assert told.code == 0
    assert told.document["root"] == str(brought)
    assert stored() == []
    assert snapshot(brought) == before
    assert tell("sessions").document == sessions
    assert tell("storage", "forget", brought).code == 4


def test_a_forgotten_archive_is_known_again_when_it_is_used_again(tell, stored, card, brought):
    assert tell("storage", "forget", brought).code == 0

    told = tell("copy", card, brought)

    assert told.code == 0
    assert told.document["items"]["duplicate"] == 6
    (entry,) = stored()
    assert (entry["path"], entry["sessions"]) == (str(brought), 2)


@pytest.mark.root
def test_what_sessions_wait_for_is_forgotten_only_by_force_and_found_again_by_them(tell, stored, paused):
    session, (small,) = paused

    refused = tell("storage", "forget", small)
    forced = tell("storage", "forget", small, "--force")
    listed = stored()
    subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
    resumed = tell("resume")

    assert refused.code == 2
    assert session[:8] in refused.error["cause"]
    assert forced.document["waiting"] == [session]
    assert listed == []
    assert resumed.code == 0, resumed.errors
    assert [entry["path"] for entry in stored()] == [str(small)]


# Moving


def test_an_archive_that_is_elsewhere_is_known_there_after_its_marker_was_seen(tell, stored, brought, card, tmp_path):
    moved = tmp_path / "mounted elsewhere"
    brought.rename(moved)

    (unknown,) = stored("status", moved)
    told = tell("storage", "relocate", brought, moved)

    assert unknown["known_at"] == str(brought)
    assert told.code == 0, told.errors
    assert (told.document["from"], told.document["to"], told.document["sessions"]) == (str(brought), str(moved), 0)
    (entry,) = stored("status", moved)
    assert (entry["path"], entry["accessible"], entry["files"]) == (str(moved), True, 6)
    assert tell("copy", card, moved).document["items"]["duplicate"] == 6


def test_it_is_refused_where_another_archive_or_none_is(tell, card, brought, backup, tmp_path):
    assert tell("copy", card, backup).code == 0
    (tmp_path / "empty").mkdir()

    told = [tell("storage", "relocate", brought, place) for place in (backup, tmp_path / "empty", tmp_path / "nothing")]

    assert [each.code for each in told] == [2, 2, 4]
    assert "no marker" in told[1].error["cause"]
    assert tell("storage", "relocate", tmp_path / "never", backup).code == 4


def test_it_is_refused_while_the_archive_is_at_its_old_path_too(tell, brought, tmp_path):
    shutil.copytree(brought, tmp_path / "clone")

    told = tell("storage", "relocate", brought, tmp_path / "clone")

    assert told.code == 2
    assert "clone" in told.error["cause"]
    assert "root.json" in told.error["advice"]


@pytest.mark.root
def test_a_paused_session_goes_on_where_its_archive_was_moved_to(tell, paused, media, tmp_path):
    session, points = paused
    old, new = points[0], tmp_path / "usb2"
    new.mkdir()
    subprocess.run(["mount", "--bind", old, new], check=True)
    points.append(new)
    subprocess.run(["umount", old], check=True)
    subprocess.run(["mount", "-o", "remount,size=64m", new], check=True)

    told = tell("storage", "relocate", old, new)
    resumed = tell("resume")

    assert told.document["sessions"] == 1
    assert resumed.code == 0, resumed.errors
    assert resumed.document["session"] == session
    assert resumed.document["destinations"][0]["root"] == str(new)
    assert media(new / "CARD") == media(tmp_path / "CARD")
    assert list(old.iterdir()) == []
