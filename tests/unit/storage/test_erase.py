"""The one primitive that removes a file of a source."""

from __future__ import annotations

import errno
import os

import pytest

from ingest import engine
from ingest.storage import erase as erasing
from ingest.storage.erase import Erasure, Outcome, erase, sight


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "card"
    (folder / "DCIM").mkdir(parents=True)
    (folder / "DCIM/a.mov").write_bytes(b"essence")
    return folder


@pytest.fixture
def root(source):
    return engine.Root(os.fsencode(source), cross=True)


PATH = b"DCIM/a.mov"


def test_a_file_that_is_as_it_was_seen_is_erased_and_nothing_else(source, root):
    (source / "DCIM/b.mov").write_bytes(b"other")

    told = erase(root, PATH, sight(root, PATH))

    assert told == Erasure(PATH, Outcome.ERASED)
    assert os.listdir(source / "DCIM") == ["b.mov"]


def other_bytes(path):
    path.write_bytes(b"essence!")


def other_time(path):
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def other_file(path):
    facts = path.stat()
    twin = path.with_name("twin")
    twin.write_bytes(b"essence")
    os.utime(twin, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    twin.rename(path)


def a_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [other_bytes, other_time, other_file, a_link, a_folder, a_pipe])
def test_whatever_else_stands_under_the_name_is_spared(source, root, change):
    seen = sight(root, PATH)
    change(source / "DCIM/a.mov")
    before = sorted(os.listdir(source / "DCIM"))

    told = erase(root, PATH, seen)

    assert told.outcome is Outcome.SPARED
    assert told.reason
    assert sorted(os.listdir(source / "DCIM")) == before


def test_a_file_that_is_gone_is_told_as_such(source, root):
    seen = sight(root, PATH)
    (source / "DCIM/a.mov").unlink()

    told = erase(root, PATH, seen)

    assert (told.outcome, told.errno) == (Outcome.SPARED, errno.ENOENT)


def test_nothing_outside_the_source_is_reached(source, root, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a.mov").write_bytes(b"essence")
    seen = sight(root, PATH)
    (source / "DCIM").rename(source / "moved")
    (source / "DCIM").symlink_to(tmp_path / "outside")

    told = erase(root, PATH, seen)
    up = erase(root, b"../outside/a.mov", seen)

    assert told.outcome is up.outcome is Outcome.SPARED
    assert (tmp_path / "outside/a.mov").exists()
    assert (source / "moved/a.mov").exists()


def test_a_folder_that_moved_away_takes_its_files_along(source, root):
    """Nothing is reached by a path that somebody else may have filled meanwhile."""
    seen = sight(root, PATH)
    (source / "DCIM").rename(source / "moved")
    (source / "DCIM").mkdir()
    (source / "DCIM/a.mov").write_bytes(b"another")

    assert erase(root, PATH, seen).outcome is Outcome.SPARED
    assert (source / "DCIM/a.mov").read_bytes() == b"another"


def test_a_file_with_another_name_keeps_that(source, root):
    os.link(source / "DCIM/a.mov", source / "DCIM/z.mov")

    assert erase(root, PATH, sight(root, PATH)).outcome is Outcome.ERASED
    assert (source / "DCIM/z.mov").read_bytes() == b"essence"


def test_an_exchange_in_the_last_moment_is_noticed(source, root, monkeypatch):
    """No system call removes a file instead of a name; what happened is at least told."""
    seen = sight(root, PATH)
    unlink = os.unlink

    def late(name, *, dir_fd):
        (source / "DCIM/a.mov").rename(source / "DCIM/moved")
        (source / "DCIM/a.mov").write_bytes(b"another")
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", late)

    told = erase(root, PATH, seen)

    assert told.outcome is Outcome.DOUBTFUL
    assert "another file" in (told.reason or "")
    assert (source / "DCIM/moved").read_bytes() == b"essence"


def test_a_removal_that_failed_after_it_happened_is_told_as_a_doubt(source, root, monkeypatch):
    seen = sight(root, PATH)
    unlink = os.unlink

    def answer_lost(name, *, dir_fd):
        unlink(name, dir_fd=dir_fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "unlink", answer_lost)

    told = erase(root, PATH, seen)

    assert (told.outcome, told.errno) == (Outcome.DOUBTFUL, errno.EIO)
    assert "gone" in (told.reason or "")


def test_a_removal_that_is_refused_is_told(source, root, monkeypatch):
    def refuse(name, *, dir_fd):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "unlink", refuse)

    told = erase(root, PATH, sight(root, PATH))

    assert (told.outcome, told.errno) == (Outcome.SPARED, errno.EROFS)
    assert (source / "DCIM/a.mov").exists()


def test_made_up_inode_numbers_are_not_believed(root, monkeypatch):
    """FAT and FUSE give a file another one when they have forgotten it meanwhile."""
    monkeypatch.setattr(erasing, "_FLEETING", frozenset({root.magic}))

    assert sight(root, PATH).inode == 0
    assert erase(root, PATH, sight(root, PATH)).outcome is Outcome.ERASED
