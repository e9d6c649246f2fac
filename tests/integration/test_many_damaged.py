"""A whole archive of damaged files: what is looked up for them is in memory for a page of them at a time."""

from __future__ import annotations

import gc
import os

from ingest import engine
from ingest.errors import ExitCode
from ingest.manifest.recorded import Recorded
from ingest.pipeline import repair as module
from ingest.pipeline.spares import open_spares
from ingest.pipeline.verify import verify

COUNT = 550


def test_rows_are_looked_up_a_page_at_a_time(place, monkeypatch):
    files = place.fill(COUNT, size=80)
    assert place.copy().exit_code == ExitCode.OK
    for number, name in enumerate(files):
        damaged = place.archive() / "CARD" / name
        if number % 2:
            damaged.unlink()
        else:
            damaged.write_bytes(b"x" * 80)
    asked, alive, real = [], [], module.latest

    def latest(connection, manifests, paths):
        asked.append(len(paths))
        found = real(connection, manifests, paths)
        alive.append(sum(isinstance(each, Recorded) for each in gc.get_objects()))
        return found

    monkeypatch.setattr(module, "latest", latest)
    root = engine.Root(os.fsencode(place.archive()))

    report = module.repair(root, open_spares(os.fsencode(place.card), root), at_once=50)

    assert (len(report.repaired), report.failed, report.checked) == (COUNT, (), COUNT)
    assert place.arrived() == files
    assert asked == [50] * (COUNT // 50)
    # While a page is looked up the one before it is still there.
    assert max(alive) <= 100
    assert verify([root]).sound


def test_an_unusual_number_of_files_leaves_none_out(place):
    files = place.fill(25, size=80)
    assert place.copy().exit_code == ExitCode.OK
    root = engine.Root(os.fsencode(place.archive()))
    for at_once in (1, 7, 24, 25, 26):
        for name in files:
            (place.archive() / "CARD" / name).write_bytes(b"")

        report = module.repair(root, open_spares(os.fsencode(place.card), root), at_once=at_once)

        assert (len(report.repaired), report.failed) == (25, ())
        assert place.arrived() == files


def test_a_manifest_that_can_no_longer_be_read_leaves_its_files_as_they_are(place, monkeypatch):
    """Verifying has read it a moment ago; a dying disk need not give it a second time."""
    (name,) = place.fill(1, size=80)
    assert place.copy().exit_code == ExitCode.OK
    (place.archive() / "CARD" / name).write_bytes(b"")
    root = engine.Root(os.fsencode(place.archive()))
    monkeypatch.setattr(module, "walk_chain", lambda *_: iter(()))

    report = module.repair(root, open_spares(os.fsencode(place.card), root))

    ((path, advice),) = [(each.path, each.advice) for each in report.failed]
    assert path == b"CARD/" + os.fsencode(name)
    assert "manifest" in advice
    assert (place.archive() / "CARD" / name).read_bytes() == b""
