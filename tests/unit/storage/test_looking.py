"""Places are looked at by somebody who can be left behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

import pytest

from ingest.storage.features import Feature
from ingest.storage.looking import Depth, Spot, looked
from ingest.storage.roots import open_destination
from ingest.workers.prober import visit


def spots(*paths, depth=Depth.CLOSELY):
    return [Spot(os.fsencode(path), archive=True, depth=depth) for path in paths]


def test_an_archive_a_folder_and_nothing_are_told_apart_in_the_order_asked(tmp_path):
    for name in ("archive", "folder"):
        (tmp_path / name).mkdir()
    destination = open_destination(os.fsencode(tmp_path / "archive"))

    archive, nothing, folder = visit(spots(*(tmp_path / name for name in ("archive", "nothing", "folder"))))

    assert (archive.uuid, archive.problem) == (destination.marker.uuid, None)
    assert (archive.device, archive.inode) == (destination.root.dev, destination.root.ino)
    assert 0 < archive.internal < 1 << 20
    assert 0 < archive.free <= archive.total
    assert archive.features is None
    assert (nothing.problem, nothing.volume, nothing.total) == ("No such file or directory", None, None)
    assert (folder.problem, folder.uuid, folder.internal) == (None, None, None)
    assert list((tmp_path / "folder").iterdir()) == []


def test_only_archives_are_tried_and_only_when_asked(tmp_path):
    for name in ("archive", "folder"):
        (tmp_path / name).mkdir()
    open_destination(os.fsencode(tmp_path / "archive"))

    archive, folder = visit(spots(tmp_path / "archive", tmp_path / "folder", depth=Depth.THOROUGHLY))

    assert archive.features.hard_links == Feature(there=True)
    assert folder.features is None
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_damaged_marker_is_a_problem_that_is_told(tmp_path):
    destination = open_destination(os.fsencode(tmp_path))
    os.unlink(destination.path + b"/.ingest/root.json")
    (tmp_path / ".ingest/root.json").write_text("{}")

    (look,) = visit(spots(tmp_path))

    assert "marker" in look.problem


def test_what_takes_longer_comes_after_what_is_seen_at_a_glance(tmp_path):
    destination = open_destination(os.fsencode(tmp_path))
    (spot,) = spots(tmp_path)

    first, last = looked(spot)

    assert (first.uuid, first.whole, first.internal) == (destination.marker.uuid, False, None)
    assert first.volume is not None
    assert (last.uuid, last.whole) == (first.uuid, True)
    assert last.internal > 0
    (glance,) = looked(Spot(spot.path, archive=True))
    assert (glance.uuid, glance.whole, glance.volume) == (first.uuid, True, None)


def test_nothing_is_asked_of_nobody():
    assert visit([]) == []


@pytest.mark.root
def test_a_share_that_does_not_answer_keeps_nobody_waiting(fuse, tmp_path):
    frozen = fuse("sshfs", hang=True)
    began = time.monotonic()

    silent, here = visit(spots(frozen, tmp_path), silence=1.5)

    assert time.monotonic() - began < 20
    assert "has not answered" in silent.problem
    assert silent.errno == errno.ETIMEDOUT
    assert (here.problem, here.volume is None) == (None, False)


@pytest.mark.root
def test_whoever_reads_what_we_print_does_not_wait_for_the_one_who_was_left_behind(fuse):
    frozen = fuse("sshfs", hang=True)
    code = (
        "from ingest.storage.looking import Spot; from ingest.workers.prober import visit; "
        f"print(visit([Spot({os.fsencode(frozen)!r}, archive=False)], silence=1.0)[0].problem)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)

    assert "has not answered" in done.stdout
