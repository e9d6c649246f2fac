"""Whether somebody else works on a session that is taken up: what can be known of its lease decides, and nothing else."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace

import pytest

from ingest.errors import PausedError
from ingest.monitor import Silent
from ingest.pipeline import tenure
from ingest.pipeline.tenure import Tenure, require_free
from ingest.storage import leases
from ingest.storage.leases import Lease, lease_path
from ingest.storage.roots import open_destination

SESSION = "1a2b3c4d-0000-4000-8000-000000000001"


class Monitor(Silent):
    """Remembers what it was warned of."""

    def __init__(self):
        self.said = []

    def warning(self, text):
        self.said.append(text)


@pytest.fixture
def place(tree, monkeypatch):
    monkeypatch.setattr(leases, "EVERY", 0.2)
    monkeypatch.setattr(tenure, "LOOK", 0.05)
    return tree("root")


@pytest.fixture
def require(place):
    """Requires that the session is free; the warnings."""
    opened = open_destination(place.name)

    def run(stopped=lambda: False):
        monitor = Monitor()
        require_free(SESSION, [None, opened], monitor, stopped)
        return monitor.said

    return run


@pytest.fixture
def file(place):
    found = place.path / os.fsdecode(lease_path(SESSION))
    found.parent.mkdir(parents=True)
    return found


def elsewhere(**changes):
    return replace(Lease.of(SESSION), where="another boot", host="other", every=0.2, **changes)


def test_without_a_lease_nothing_is_said(require):
    assert require() == []


@pytest.mark.parametrize("data", [b"", b"{", b"\xff" * 512, json.dumps({"session": SESSION, "version": 9}).encode()])
def test_a_torn_or_foreign_lease_is_watched_and_goes(require, file, data):
    file.write_bytes(data)

    (said,) = require()

    assert "says nothing to this version" in said
    assert "was working on this session: looking for" in said
    assert not file.exists()


@pytest.mark.parametrize("what", ["a folder", "a link"])
def test_one_that_cannot_be_read_is_watched_too_and_keeps_nobody(require, file, place, what):
    if what == "a folder":
        file.mkdir()
    else:
        file.symlink_to("nowhere")

    watching, *staying = require()

    assert "cannot be read (" in watching
    assert len(staying) == (what == "a folder")
    assert all("an old lease of this session stays there" in text for text in staying)
    assert os.path.lexists(file) == (what == "a folder")


def test_where_leases_cannot_be_looked_at_that_is_said_once_and_keeps_nobody(require, place):
    place.put(b".ingest/leases", b"no folder")

    (said,) = require()

    assert "whether somebody else works on this session is not known" in said


@pytest.mark.parametrize("readable", [True, False])
def test_one_that_moves_is_somebodys(require, file, readable):
    def move():
        if readable:
            file.write_bytes(elsewhere(count=1).encode())
        else:
            (file / "x").touch()

    if readable:
        file.write_bytes(elsewhere().encode())
    else:
        file.mkdir()
    timer = threading.Timer(0.15, move)
    timer.start()

    with pytest.raises(PausedError, match="is being worked on by"):
        require()
    assert os.path.lexists(file)


def test_who_asks_to_stop_meanwhile_is_heeded(require, file):
    file.write_bytes(elsewhere().encode())

    with pytest.raises(PausedError, match="stopped"):
        require(stopped=lambda: True)
    assert file.exists()


@pytest.mark.parametrize("short", [True, False])
def test_who_is_done_soon_makes_no_lease_and_no_folder_for_it(place, monkeypatch, short):
    monkeypatch.setattr(tenure, "BEGIN", 60.0 if short else 0.05)
    with Tenure(SESSION, [place.root]):
        limit = time.monotonic() + (0.5 if short else 20)
        while not (made := (place.path / os.fsdecode(lease_path(SESSION))).exists()) and time.monotonic() < limit:
            time.sleep(0.01)

    assert made is not short
    assert not short or not (place.path / ".ingest").exists()
