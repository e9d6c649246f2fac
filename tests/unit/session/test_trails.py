from __future__ import annotations

import os

import pytest

from ingest import engine
from ingest.errors import IngestError
from ingest.session.trails import Trails

UUID, OTHER = "6fa459ea-ee8a-3ca4-894e-db77e160355e", "6fa459ea-ee8a-3ca4-894e-db77e160355f"
SIZE = engine.TRAIL_LEAST + 5


@pytest.fixture
def trails(tmp_path):
    return Trails(tmp_path / "home", "session", wanted=True)


@pytest.fixture
def copied(trails, tree):
    """A big file with a trail, copied to one root as an item with this number; its staging file is still there."""
    card, archive = tree("card"), tree("archive")
    with card.put(b"clip.mov").open("r+b") as file:
        file.truncate(SIZE)
    mtime = os.stat(card.path / "clip.mov").st_mtime_ns

    def copy(item: int, uuid: str = UUID) -> bytes:
        name = b".ingest/staging/x/%d.part" % item
        _, _, _, _, faults, copies, *_ = engine.stage(
            card.root, [archive.root], [item], [b"clip.mov"], [SIZE], [mtime], [[name]], trails=trails.open(),
            keys=[uuid.encode()],
        )  # fmt: skip
        assert not faults
        assert not copies[0][4]
        return name

    return copy


def test_the_staging_files_that_trails_speak_of_are_known_by_root(trails, copied):
    first, second, other = copied(1), copied(2), copied(3, OTHER)

    assert trails.parts(UUID) == {first: SIZE, second: SIZE}
    assert trails.parts(OTHER) == {other: SIZE}
    assert trails.parts("") == {}


def test_an_item_that_has_ended_leaves_no_trail(trails, copied):
    copied(1)
    second = copied(2)

    trails.drop([1, 77])

    assert trails.parts(UUID) == {second: SIZE}


def test_a_session_that_is_over_leaves_nothing_and_others_keep_theirs(trails, copied, tmp_path):
    copied(1)
    other = Trails(tmp_path / "home", "other", wanted=True)
    other.open()

    trails.clear()

    assert sorted(os.listdir(tmp_path / "home/trails")) == ["other"]
    other.clear()
    assert os.listdir(tmp_path / "home") == []
    other.clear()


def test_where_they_are_not_wanted_what_an_earlier_run_left_goes(trails, copied, tmp_path):
    copied(1)

    without = Trails(tmp_path / "home", "session", wanted=False)

    assert without.parts(UUID) == {}
    assert without.open() is None
    assert trails.parts(UUID) == {}


def test_what_is_no_trail_tells_nothing(trails, copied):
    name = copied(1)
    folder = os.fsdecode(trails.open())
    with open(f"{folder}/2.trail", "wb") as file:
        file.write(b"something else")
    os.mkdir(f"{folder}/3.trail")

    assert trails.parts(UUID) == {name: SIZE}


def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "home").write_bytes(b"")

    with pytest.raises(IngestError) as caught:
        Trails(tmp_path / "home", "session", wanted=True).open()

    assert "INGEST_HOME" in caught.value.advice
