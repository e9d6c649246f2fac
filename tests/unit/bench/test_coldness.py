"""Cold is what was seen, not what was asked for."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import pytest

from ingest import engine
from ingest.bench import coldness
from ingest.bench.bay import remove
from ingest.bench.coldness import Card, Seen
from ingest.bench.contenders import Contender, Course, race
from ingest.bench.results import Kind, Race, Step
from ingest.bench.workloads import Workload, plant

TREE = Workload("w", 3, 10_000)


@pytest.fixture
def card(tmp_path):
    """A tree on a disk whose cache the kernel tells of, flushed."""
    if engine.Root(os.fsencode(tmp_path)).cold != "evicted":
        pytest.skip("needs a disk, and a kernel that tells what its cache holds (Linux 6.5)")
    plant(tmp_path / "CARD", TREE)
    os.sync()
    return tmp_path / "CARD"


@pytest.fixture
def memory():
    """A folder that lives in memory."""
    folder = Path(tempfile.mkdtemp(prefix="ingest-test-", dir="/dev/shm"))
    yield folder
    remove(folder)


def test_a_card_is_cold_when_its_pages_were_dropped_and_not_before(card):
    assert Card(card).look() == Seen(3, 3, 0)
    assert Card(card).chill() == Seen(3, 0, 0)
    assert Card(card).look().cold is True


def test_a_page_that_somebody_holds_is_noticed(card):
    with open(next(card.rglob("*.MP4")), "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[0] is not None  # a touched page is held

        seen = Card(card).chill()

    assert (seen, seen.cold) == (Seen(3, 1, 0), False)


def test_what_lives_in_memory_is_never_called_cold(memory):
    plant(memory / "CARD", TREE)

    assert Card(memory / "CARD").chill().cold is False


def test_of_many_files_a_sample_is_asked_about_and_the_largest(tmp_path, monkeypatch):
    plant(tmp_path / "CARD", Workload("w", 1000, 1))
    largest = tmp_path / "CARD/DCIM/101CLIPS/C000777.MP4"
    largest.write_bytes(b"22")
    asked = []
    monkeypatch.setattr(engine, "pages_in_memory", lambda _, paths: asked.extend(paths) or [0] * len(paths))

    Card(tmp_path / "CARD").look()

    assert coldness.SAMPLE // 2 < len(asked) <= coldness.SAMPLE + 1
    assert os.fsencode(largest.relative_to(tmp_path / "CARD")) in asked
    assert len({os.path.dirname(path) for path in asked}) == 2, "spread over the tree"


def test_where_nothing_tells_nothing_is_claimed():
    assert Seen(3, 0, 1).cold is Seen().cold is None
    assert Seen.all_of([Seen(3, 0, 0), Seen(3, 1, 0)]) == Seen(6, 1, 0)


@pytest.mark.parametrize(("where", "cold"), [("card", True), ("memory", False)])
def test_a_race_says_what_was_seen_before_each_run_that_counts(request, where, cold):
    folder = request.getfixturevalue(where)
    if where == "memory":
        plant(folder := folder / "CARD", TREE)

    def read(course):
        for path in course.card.rglob("*.MP4"):
            path.read_bytes()
        return (Step("read", 1.0),)

    course = Course(folder, folder.parent / "run")
    found = race([Contender("a", Kind.PEER, read)], course, 2, warm_up=True, tell=lambda _: None)

    seen = Race(TREE, engine=False, reference="a", results=found).seen
    assert (seen.asked, seen.cold) == (6, cold)
