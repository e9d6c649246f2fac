"""Doctor looks at everything and changes nothing; its exit code says whether anything is wrong."""

from __future__ import annotations

import sqlite3
from contextlib import closing


def statuses(told):
    return {finding["check"]: finding["status"] for finding in told.document["findings"]}


def test_a_new_home_is_in_order(ingest, tell):
    told = tell("doctor")

    assert told.code == told.document["exit_code"] == 0, told.document
    assert all(set(finding) == {"check", "status", "detail", "advice"} for finding in told.document["findings"])
    assert set(statuses(told).values()) <= {"ok", "note"}
    assert {"engine", "home", "journal"} <= set(statuses(told))
    assert list(ingest.home.iterdir()) == []


def test_a_home_that_does_not_exist_yet_is_in_order(ingest, tell, tmp_path):
    told = tell("doctor", by=type(ingest)(tmp_path / "not" / "yet"))

    assert told.code == 0, told.document
    assert not (tmp_path / "not").exists()


def test_after_a_copy_it_names_the_journal_and_the_archive_and_leaves_both_alone(ingest, tell, card, archive, snapshot):
    assert tell("copy", card, archive).code == 0
    before = snapshot(archive)
    journal = (ingest.home / "ingest.sqlite3").read_bytes()

    told = tell("doctor")

    assert told.code == 0, told.document
    found = statuses(told)
    assert found["journal"] == "ok"
    assert found[f"archive {archive}"] == "ok"
    assert found["sessions"] == "ok"
    assert snapshot(archive) == before
    assert (ingest.home / "ingest.sqlite3").read_bytes() == journal


def test_an_archive_in_a_drawer_is_a_note_and_nothing_wrong(tell, card, archive, tmp_path):
    assert tell("copy", card, archive).code == 0
    archive.rename(tmp_path / "drawer")

    told = tell("doctor")

    assert told.code == 0
    assert statuses(told)[f"archive {archive}"] == "note"


def test_a_damaged_journal_is_wrong_and_says_what_to_do(ingest, tell, card, archive):
    assert tell("copy", card, archive).code == 0
    journal = ingest.home / "ingest.sqlite3"
    journal.write_bytes(b"this is no database at all, not by far" * 300)

    told = tell("doctor")
    said = ingest.run("doctor")
    copied = tell("copy", card, archive)

    assert told.code == told.document["exit_code"] == said.returncode == 1
    assert statuses(told)["journal"] == "wrong"
    (finding,) = [finding for finding in told.document["findings"] if finding["status"] == "wrong"]
    assert "ingest catalog rebuild" in finding["advice"]
    assert "wrong" in said.stdout
    assert copied.code == 1
    assert copied.error["path"] == str(journal)
    assert copied.error["operation"] != "internal"


def test_an_index_that_lost_its_entries_is_found_and_a_rebuild_mends_it(ingest, tell, card, archive):
    """Its pages are sound by themselves; the next copy would not find the archive, and know it twice."""
    assert tell("copy", card, archive).code == 0
    journal = ingest.home / "ingest.sqlite3"
    with closing(sqlite3.connect(journal)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_roots_1'"
        (page,) = connection.execute(query).fetchone()
    with journal.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes([10, 0, 0, 0, 0, 0x10, 0, 0]) + bytes(4088))

    assert statuses(tell("doctor"))["journal"] == "wrong"

    rebuilt = tell("catalog", "rebuild")
    assert (rebuilt.code, [root["path"] for root in rebuilt.document["roots"]]) == (0, [str(archive)])
    assert tell("doctor").code == 0


def test_damage_inside_the_journal_is_found(ingest, tell, card, archive):
    assert tell("copy", card, archive).code == 0
    journal = ingest.home / "ingest.sqlite3"
    with journal.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xa5" * (journal.stat().st_size - 4096 * 3))

    told = tell("doctor")

    assert told.code == 1
    assert "wrong" in statuses(told).values()


def test_a_home_that_cannot_be_written_is_wrong(stranger):
    stranger.home.chmod(0o555)

    told = stranger.tell("doctor")

    assert told.code == 1
    assert statuses(told)["home"] == "wrong"
    (finding,) = [finding for finding in told.document["findings"] if finding["status"] == "wrong"]
    assert "INGEST_HOME" in finding["advice"]


def test_a_claim_that_a_lost_journal_left_is_told_and_kept_by_clear_for_days(tell, card, archive):
    """Of a session that ended before it had a lease or staged anything, with a journal that is gone."""
    assert tell("copy", card, archive).code == 0
    claim = archive / ".ingest/claims/EOS"
    claim.write_text('{"session": "1a2b3c4d-0000-4000-8000-000000000001", "place": "here", "likeness": "1-2-3"}')

    (told,) = [each for each in tell("doctor").document["findings"] if "1a2b3c4d" in each["detail"]]
    cleared = tell("clear", archive)

    assert (told["status"], told["check"]) == ("note", f"archive {archive}")
    assert "a claim on the folder EOS" in told["detail"]
    assert f"ingest clear {archive}" in told["advice"]
    assert (cleared.code, cleared.document["cleared"]) == (0, [])
    (kept,) = cleared.document["kept"]
    assert (kept["claims"], kept["files"]) == (["EOS"], 0)
    assert "less than 7 days ago" in kept["reason"]
    assert claim.exists()
