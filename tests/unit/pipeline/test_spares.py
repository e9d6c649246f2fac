"""Where right bytes are looked for: guesses in a good order, and never more than guesses."""

from __future__ import annotations

import os

import pytest

from ingest import engine
from ingest.errors import UsageError
from ingest.manifest.recorded import Recorded
from ingest.manifest.schema import SCHEMA
from ingest.pipeline.spares import Spares, offers, open_spares


def recorded(path=b"A001/100/clip.mov", source=b"/media/me/A001/100/clip.mov", size=4):
    return Recorded(path, size, 0, b"\x01" * 32, source, "s", None, SCHEMA.empty_table())


def tree(tmp_path, *names, size=4):
    for name in names:
        place = tmp_path / "other" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x" * size)
    return Spares(engine.Root(os.fsencode(tmp_path / "other")))


def offered(spares, row, sources=(b"/media/me/A001",)):
    return offers(None, spares, [row], sources)[row.path]


@pytest.mark.parametrize(
    "name",
    ["100/clip.mov", "A001/100/clip.mov", "me/A001/100/clip.mov", "media/me/A001/100/clip.mov", "clip.mov"],
)
def test_every_end_of_the_path_it_came_from_is_a_place(tmp_path, name):
    assert offered(tree(tmp_path, name), recorded()) == [name.encode()]


def test_the_path_below_the_recorded_source_comes_first_then_the_path_here(tmp_path):
    spares = tree(tmp_path, "clip.mov", "A001_2/100/clip.mov", "100/clip.mov")

    assert offered(spares, recorded(path=b"A001_2/100/clip.mov")) == [
        b"100/clip.mov",
        b"A001_2/100/clip.mov",
        b"clip.mov",
    ]


def test_one_of_another_size_comes_after_those_of_the_right_size_and_links_and_folders_never(tmp_path):
    spares = tree(tmp_path, "clip.mov")
    tree(tmp_path, "100/clip.mov", size=3)
    (tmp_path / "other/A001").mkdir()
    (tmp_path / "other/A001/100").symlink_to(tmp_path / "other/100")
    (tmp_path / "other/me/A001/100/clip.mov").mkdir(parents=True)

    assert offered(spares, recorded()) == [b"clip.mov", b"100/clip.mov"]


def test_nothing_there_is_no_offer(tmp_path):
    assert offered(tree(tmp_path, "other.mov"), recorded()) == []


def test_a_single_file_is_the_offer(tmp_path):
    tree(tmp_path, "100/clip.mov")
    (tmp_path / "archive").mkdir()
    root = engine.Root(os.fsencode(tmp_path / "archive"))

    spares = open_spares(os.fsencode(tmp_path / "other/100/clip.mov"), root)

    assert offered(spares, recorded(source=b"/elsewhere/x")) == [b"clip.mov"]


def test_one_place_is_not_two(tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "again").symlink_to(tmp_path / "archive")
    root = engine.Root(os.fsencode(tmp_path / "archive"))

    with pytest.raises(UsageError):
        open_spares(os.fsencode(tmp_path / "again"), root)
