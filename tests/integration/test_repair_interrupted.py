"""Repairs that end between the row that tells of a file and the removal of what was noted of it."""

from __future__ import annotations

import os

import pytest

from ingest import engine
from ingest.errors import ExitCode
from ingest.manifest.query import query
from ingest.pipeline import addendum
from ingest.pipeline.intents import pending
from ingest.pipeline.repair import repair
from ingest.pipeline.spares import open_spares


class KilledError(Exception):
    """Where a kill would have been."""


def stop(*_):
    raise KilledError


@pytest.fixture
def again(place, monkeypatch):
    """Repair once more, and end it `in_` a function of the addendum; the rows that tell of repairs afterwards."""
    root = engine.Root(os.fsencode(place.archive()))

    def run(in_=None):
        with monkeypatch.context() as patch:
            if in_ is None:
                repair(root, open_spares(os.fsencode(place.card), root))
            else:
                patch.setattr(*in_, stop)
                with pytest.raises(KilledError):
                    repair(root, open_spares(os.fsencode(place.card), root))
        sql = "SELECT path, reason FROM copies WHERE operation = 'repair' ORDER BY finalized_at"
        with query([root], sql) as answer:
            return [row for rows in answer for row in rows]

    return run


def test_each_file_is_told_once_by_whichever_repair(place, again):
    (name,) = place.fill(1, size=80)
    assert place.copy().exit_code == ExitCode.OK
    file = place.archive() / "CARD" / name
    right = file.read_bytes()
    for damage in (1, 2):
        file.write_bytes(b"")
        told = again(in_=(addendum.Addendum, "add"))  # the first: exchanged, and not told
        assert len(told) == damage - 1
        assert file.read_bytes() == right

        told = again(in_=(addendum, "forget"))  # the second: told, and still noted
        assert len(told) == damage
        assert "was interrupted, was finished" in told[-1][1]

        assert again() == told
        assert pending(engine.Root(os.fsencode(place.archive()))) == []
    assert again() == told
