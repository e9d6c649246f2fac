"""Several sessions are taken up one after the other: what goes wrong with one keeps none of the others."""

from __future__ import annotations

import os
import shutil

import pytest

from ingest import api
from ingest.errors import ExitCode
from ingest.model.options import CopyOptions, CopyRequest
from ingest.model.states import SessionState
from ingest.pipeline import preparation


@pytest.fixture
def stopped(place):
    """Two sessions, of two cards, that were stopped before they copied anything: their ids, the older first."""

    def stop(card: str) -> str:
        place.put("A.MOV", card.encode() * 1000, on=place.folder / card)
        request = CopyRequest((os.fsencode(place.folder / card),), (os.fsencode(place.archive()),), CopyOptions())
        report = api.copy(request, place.home, stopped=lambda: True)
        assert report.state is SessionState.PAUSED_USER
        return report.id

    return stop("FIRST"), stop("SECOND")


def test_an_error_that_nobody_foresaw_in_one_does_not_keep_the_next(place, stopped, monkeypatch):
    older, newer = stopped
    whole = preparation.scan

    def poisoned(context):
        if context.facts.id == older:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        whole(context)

    monkeypatch.setattr(preparation, "scan", poisoned)

    first, second = place.resume()

    assert [first.id, second.id] == [older, newer]
    assert (first.exit_code, second.exit_code) == (ExitCode.ERROR, ExitCode.OK)
    assert "internal: OverflowError: Python int too large" in first.problem
    assert f"INGEST_DEBUG=1 ingest resume {older[:8]}" in first.problem
    assert second.state is SessionState.COMPLETED
    assert (place.archive() / "SECOND/A.MOV").read_bytes() == b"SECOND" * 1000
    # By itself it is an error as ever.
    with pytest.raises(OverflowError):
        place.resume(older)
    monkeypatch.undo()
    (mended,) = place.resume()
    assert (mended.id, mended.state) == (older, SessionState.COMPLETED)


def test_who_asked_to_stop_is_not_told_of_a_bug(place, stopped, monkeypatch):
    """A library makes another error of an interrupt."""

    def interrupted(_):
        raise RuntimeError("interrupted")

    monkeypatch.setattr(preparation, "scan", interrupted)

    with pytest.raises(RuntimeError, match="interrupted"):
        api.resume(place.home, stopped=lambda: True)


def test_the_command_says_which_and_ends_with_the_worst_code(place, ingest, stopped):
    older, newer = stopped
    shutil.rmtree(place.folder / "FIRST")

    said = ingest.run("resume")

    assert said.returncode == ExitCode.PAUSED
    assert "The source is empty" not in said.stdout
    assert f"Session {older[:8]}" in said.stdout
    assert "FULLY ARCHIVED: all 1 file of the source" in said.stdout
    assert f"Session {newer[:8]}" in said.stdout
