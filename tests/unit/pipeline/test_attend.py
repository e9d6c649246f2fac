"""Attendance: a run that does not come back from the kernel is given up, and can do nothing more."""

from __future__ import annotations

import threading
import time
from typing import ClassVar, Self

import pytest

from ingest.errors import ExitCode, IngestError, JournalError
from ingest.model.event import EventKind
from ingest.model.options import CopyOptions
from ingest.model.states import SessionState
from ingest.monitor import Silent
from ingest.pipeline import attend as attending
from ingest.pipeline.attend import attend
from ingest.pipeline.context import Work
from ingest.pipeline.watch import Down
from ingest.session.chronicle import Chronicle, chronicle_of
from ingest.session.register import find


class Sentry:
    """The sentry's twin."""

    downed: ClassVar[list[Down]] = []

    @classmethod
    def over(cls, _work: Work) -> Self:
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def down(self, place: int) -> Down | None:
        return next((down for down in self.downed if down.place == place), None)

    def downs(self) -> list[Down]:
        return list(self.downed)


class Heard(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class Run:
    """Stands in for `pipeline.run.run`: hangs until it is let go, then does as the test wants."""

    def __init__(self) -> None:
        self.began, self.free, self.over = threading.Event(), threading.Event(), threading.Event()
        self.work: Work | None = None
        self.then = lambda: SessionState.COMPLETED
        self.outcome: object = None

    def __call__(self, work: Work, _sentry: object) -> SessionState:
        self.work = work
        self.began.set()
        self.free.wait(20)
        try:
            self.outcome = self.then()
        except BaseException as error:
            self.outcome = error
            raise
        finally:
            self.over.set()
        return self.outcome


@pytest.fixture
def hung(monkeypatch):
    monkeypatch.setattr(attending, "STUCK", 0.4)
    monkeypatch.setattr(attending, "HEED", 0.2)
    monkeypatch.setattr(attending, "TICK", 0.02)
    monkeypatch.setattr(attending, "Sentry", Sentry)
    monkeypatch.setattr(Sentry, "downed", [])
    run = Run()
    monkeypatch.setattr(attending, "run", run)
    yield run
    run.free.set()


@pytest.fixture
def work(begin):
    made = begin(roots=2)
    return Work(
        made.database, made.facts, CopyOptions(), [], [], [None for _ in made.facts.roots], Heard(), lambda: False,
        SessionState.PENDING, chronicle=Chronicle(made.facts.key),
    )  # fmt: skip


def test_a_run_that_ends_is_heard(hung, work):
    hung.free.set()

    assert attend(work, work.database) is SessionState.COMPLETED
    assert work.warnings == []


def test_what_a_run_raises_is_raised(hung, work):
    def fail():
        raise IngestError("why", operation="copy")

    hung.then = fail
    hung.free.set()

    with pytest.raises(IngestError, match="why"):
        attend(work, work.database)


def test_a_run_that_stands_before_a_dead_place_is_given_up(hung, work, monkeypatch):
    first = len(work.facts.sources)
    now = time.monotonic()
    monkeypatch.setattr(Sentry, "downed", [Down(first, "no answer for 20 s", now - 20, now)])
    began = time.monotonic()

    state = attend(work, work.database)

    assert state is SessionState.PAUSED_NETWORK
    assert 0.4 <= time.monotonic() - began < 5
    entry = find(work.database, work.facts.id)
    assert (entry.state, entry.exit_code) == (SessionState.PAUSED_NETWORK, ExitCode.PAUSED)
    assert "does not answer (no answer for 20 s)" in entry.problem
    assert work.warnings == work.monitor.warnings == [entry.problem]
    told = [event for event in chronicle_of(work.database, work.facts.key) if event.kind is not EventKind.WARNING]
    assert [(event.kind, event.root) for event in told] == [(EventKind.ROOT_PAUSED, 0), (EventKind.ENDED, None)]


def test_a_run_that_was_given_up_can_write_and_say_nothing_more(hung, work, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(Sentry, "downed", [Down(0, "no answer", now - 20, now)])
    attend(work, work.database)
    said = list(work.monitor.warnings)

    def go_on():
        hung.work.monitor.warning("here I am")
        with hung.work.database.write():
            raise AssertionError("it wrote")

    hung.then = go_on
    hung.free.set()
    assert hung.over.wait(20)

    assert isinstance(hung.outcome, JournalError)
    assert work.monitor.warnings == said
    with work.database.write():
        pass  # whoever gave it up goes on


def test_the_workers_of_a_run_that_was_given_up_end(hung, work, monkeypatch):
    class Workers:
        killed = False

        def kill(self) -> None:
            self.killed = True

    workers = Workers()
    now = time.monotonic()
    monkeypatch.setattr(Sentry, "downed", [Down(0, "no answer", now - 20, now)])
    given = threading.Thread(target=lambda: (hung.began.wait(20), setattr(hung.work, "workers", workers)))
    given.start()

    attend(work, work.database)

    assert workers.killed


def test_a_run_that_moves_is_never_given_up(hung, work, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(Sentry, "downed", [Down(0, "no answer", now - 20, now)])

    def move() -> None:
        hung.began.wait(20)
        for _ in range(40):
            hung.work.alive()
            time.sleep(0.05)
        hung.free.set()

    threading.Thread(target=move, daemon=True).start()

    assert attend(work, work.database) is SessionState.COMPLETED


def test_a_run_that_only_takes_long_is_not_given_up(hung, work):
    threading.Timer(1.5, hung.free.set).start()

    assert attend(work, work.database) is SessionState.COMPLETED


def test_who_wants_to_stop_does_not_wait_for_a_run_that_hangs(hung, work):
    work.stopped = lambda: True

    assert attend(work, work.database) is SessionState.PAUSED_USER
    entry = find(work.database, work.facts.id)
    assert (entry.state, entry.exit_code) == (SessionState.PAUSED_USER, ExitCode.CANCELLED)
    assert entry.state.resumable


def test_the_second_ctrl_c_ends_it_at_once(hung, work, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(attending, "_stuck", interrupted)

    with pytest.raises(KeyboardInterrupt):
        attend(work, work.database)
    with pytest.raises(JournalError), hung.work.database.write():
        pass
