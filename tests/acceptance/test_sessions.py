"""Sessions are kept: they can be listed, shown, and those that wait can be taken up again."""

from __future__ import annotations

import os
from datetime import datetime

import pytest


@pytest.fixture(scope="module")
def desk(shared):
    """Several sessions, the last with something of each kind, at least two whose ids begin alike."""
    shared.plant("archive", {})
    card = shared.plant("CARD", {"a.jpg": b"a", "b.jpg": b"b", ".DS_Store": b""})
    seen = set()
    while True:  # ids have 16 first digits: after 17 sessions two begin alike
        told = shared.tell("copy", shared.plant("EMPTY", {}), shared.folder / "archive")
        assert told.code == 0, told.errors
        first = told.document["session"][0]
        if first in seen:
            break
        seen.add(first)
    (card / "link").symlink_to("a.jpg")
    shared.plant("archive", {"CARD": None})
    os.symlink("/nowhere", shared.folder / "archive/CARD/sub")
    shared.plant("CARD/sub", {"c.jpg": b"c"})
    last = shared.tell("copy", card, shared.folder / "archive", "--label", "CARD")
    assert last.code == 7, last.errors
    return shared, last.document, first


def test_nothing_to_resume_is_no_error(ingest, tell):
    told = tell("resume")
    done = ingest.run("resume")

    assert told.code == done.returncode == 0
    assert told.document == []
    assert done.stdout == "Nothing to resume.\n"


def test_looking_at_a_journal_that_is_not_there_makes_none(ingest, tell):
    assert tell("sessions").document == {"sessions": []}
    assert tell("resume", "abc").code == 4
    assert tell("show", "abc").code == 4

    assert list(ingest.home.iterdir()) == []


def test_sessions_lists_them_oldest_first(desk):
    shared, last, _ = desk

    told = shared.tell("sessions")

    assert told.code == 0
    entries = told.document["sessions"]
    assert len(entries) >= 3
    assert entries[-1]["session"] == last["session"]
    assert entries[-1]["state"] == "completed_with_errors"
    assert entries[-1]["exit_code"] == 7
    assert entries[-1]["sources"] == [str(shared.folder / "CARD")]
    assert entries[-1]["destinations"] == [str(shared.folder / "archive")]
    created = [datetime.fromisoformat(entry["created"]) for entry in entries]
    assert created == sorted(created)
    assert all(moment.tzinfo is not None for moment in created)
    assert [entry["resumable"] for entry in entries] == [False] * len(entries)


def test_sessions_for_people_name_id_state_and_places(desk):
    shared, last, _ = desk

    done = shared.run("sessions")

    assert done.returncode == 0
    assert last["session"][:8] in done.stdout
    assert "completed_with_errors" in done.stdout
    assert str(shared.folder / "CARD") in done.stdout


def test_a_beginning_that_fits_several_sessions_is_refused(desk):
    shared, _, first = desk

    for command in (("resume", first), ("show", first)):
        told = shared.tell(*command)

        assert told.code == 2
        assert "begin with" in told.error["cause"]


def test_resume_of_a_session_that_is_complete_is_refused(desk):
    shared, _, _ = desk
    complete = shared.tell("sessions").document["sessions"][0]

    told = shared.tell("resume", complete["session"])

    assert told.code == 2
    assert "completed" in told.error["cause"]


def test_a_session_with_errors_is_not_resumed_unless_it_is_named(desk):
    shared, _, _ = desk

    assert shared.tell("resume").document == []


def test_show_gives_the_document_of_the_copy(desk):
    shared, last, _ = desk

    told = shared.tell("show", last["session"][:13])

    assert told.code == 0
    for key in (
        "session",
        "state",
        "exit_code",
        "items",
        "bytes",
        "destinations",
        "manifests",
        "failures",
        "failures_total",
    ):
        assert told.document[key] == last[key]


@pytest.mark.parametrize(
    ("state", "names", "reason"),
    [
        ("finalized", ["a.jpg", "b.jpg"], None), ("excluded", [".DS_Store"], "litter"), ("skipped", ["link"], "symlink"),
        ("failed", ["sub/c.jpg"], "outside_root"), ("duplicate", [], None),
    ],
)  # fmt: skip
def test_show_lists_the_items_of_a_state_with_what_to_do(desk, state, names, reason):
    shared, last, _ = desk

    told = shared.tell("show", last["session"], "--items", state)

    listed = told.document["items_listed"]
    assert [item["path"] for item in listed] == [str(shared.folder / "CARD" / name) for name in names]
    assert {item["state"] for item in listed} <= {state}
    if reason is not None:
        assert {item["reason"] for item in listed} == {reason}
    if state == "failed":
        assert all(item["advice"] for item in listed)


def test_show_for_people_names_the_file_its_reason_and_the_next_step(desk):
    shared, last, _ = desk

    done = shared.run("show", last["session"], "--items", "failed")

    assert done.returncode == 0
    assert f"{shared.folder}/CARD/sub/c.jpg: failed (outside_root). A link or another mount" in done.stdout


def test_show_does_not_know_a_state_that_is_none(desk):
    shared, last, _ = desk

    told = shared.tell("show", last["session"], "--items", "lost")

    assert told.code == 2
    assert "failed" in told.error["advice"]


def test_resume_by_name_completes_once_the_cause_is_gone(tell, plant, tmp_path, archive, media):
    card = plant(tmp_path / "CARD", {"sub/a.jpg": b"a", "b.jpg": b"b"})
    (archive / "CARD").mkdir()
    (archive / "CARD/sub").symlink_to("/nowhere")
    first = tell("copy", card, archive)
    (archive / "CARD/sub").unlink()

    told = tell("resume", first.document["session"][:8])

    assert first.code == 7
    assert told.code == 0, told.errors
    assert told.document["items"]["finalized"] == 2
    assert told.document["state"] == "completed"
    assert media(archive / "CARD") == media(card)
    assert len(told.document["manifests"]) == 2
    assert tell("verify", archive, "--strict").document["ok"] == 2
