"""Several runs of one session, as `--wait` makes them, told as one."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ingest.monitor import InOne, Progress, Silent


class Watcher(Silent):
    def __init__(self) -> None:
        self.told: list[Progress] = []

    def progress(self, progress: Progress) -> None:
        self.told.append(progress)


def told(phase: str, files_done: int, files: int, work_done: int, work: int) -> Progress:
    return Progress(phase, files_done, files, work_done, work, 1.0, None)


FIRST = [
    told("scanning", 0, 10, 0, 500),
    told("copying", 0, 10, 0, 1000),
    told("copying", 4, 10, 600, 1000),
]
SECOND = [
    told("pending", 0, 0, 0, 0),
    told("planning", 4, 10, 0, 500),
    told("planning", 4, 10, 50, 500),
    told("copying", 4, 10, 50, 650),
    told("copying", 9, 10, 600, 650),
    told("finalizing", 10, 10, 650, 650),
]


@pytest.fixture
def watched():
    watcher = Watcher()
    monitor = InOne(watcher)
    for run in (FIRST, SECOND):
        monitor.started("id", (), ())
        for progress in run:
            monitor.progress(progress)
    return watcher.told


def test_the_first_run_is_told_as_it_is(watched):
    assert watched[: len(FIRST)] == FIRST


def test_nothing_falls_from_one_run_to_the_next(watched):
    copying = watched[1:]
    for before, after in pairwise(copying):
        assert before.files_done <= after.files_done
        assert before.files <= after.files
        assert before.work_done <= after.work_done
        assert before.work <= after.work
    assert all(progress.work_done <= progress.work for progress in copying)


def test_what_is_made_again_is_more_work_on_top_of_what_was_done(watched):
    later = [(one.files_done, one.work_done, one.work) for one in watched[len(FIRST) :]]

    assert later == [
        (4, 600, 1000), (4, 600, 1000), (4, 650, 1000), (4, 650, 1250), (9, 1200, 1250), (10, 1250, 1250),
    ]  # fmt: skip


def test_the_end_is_whole_though_somebody_else_did_some_of_it():
    watcher = Watcher()
    monitor = InOne(watcher)
    monitor.started("id", (), ())
    monitor.progress(told("copying", 1, 10, 100, 1000))
    monitor.started("id", (), ())
    monitor.progress(told("copying", 1, 10, 0, 200))
    monitor.progress(told("copying", 10, 10, 200, 200))

    *_, open_, end = watcher.told
    assert (open_.work_done, open_.work) == (100, 1000)
    assert (end.work_done, end.work) == (300, 300)
