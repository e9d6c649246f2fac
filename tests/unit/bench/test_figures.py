"""The table of bars: what it judges, what it admits, and how it measures what is too small for a stopwatch."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

from ingest.bench import peers
from ingest.bench.memory import Peak
from ingest.bench.results import Kind, Race, Result, Run, Step
from ingest.bench.workloads import Workload, plant
from ingest.errors import IngestError

BENCHES = Path(__file__).parents[3] / "benches"


@pytest.fixture
def benches(monkeypatch):
    """A module of `benches/` by its name, as `python benches/figures.py` imports it."""
    monkeypatch.syspath_prepend(BENCHES)
    return importlib.import_module


@pytest.fixture
def chosen(tmp_path):
    return Namespace(size="small", runs=1, asked_runs=1, disk=tmp_path, memory=tmp_path, workloads=["big"])


def test_it_ends_with_9_for_a_missed_bar_and_with_1_for_one_that_was_not_measured(benches):
    bars = benches("bars")
    met, missed = bars.Bar("a", 0.5, 0.9, ""), bars.Bar("b", 1.0, 0.9, "")
    unmeasured, found = bars.Bar("c", None, 0.9, "not measured: it is not installed"), bars.Finding("d", "", "wins")

    assert bars.outcome([met, found], judged=True) == 0
    assert bars.outcome([met, unmeasured], judged=True) == 1
    assert bars.outcome([missed, met, unmeasured], judged=True) == 9
    assert bars.outcome([], judged=True) == 1
    assert bars.outcome([missed, unmeasured], judged=False) == 0
    assert unmeasured.row(judged=True) == "| c | not measured: it is not installed | <= 0.9 x | NOT MEASURED |"


def test_a_peer_that_is_not_installed_has_a_row_that_says_so(benches, chosen, monkeypatch):
    monkeypatch.setattr(peers, "find", lambda _: None)

    rows = list(benches("figures").disk(chosen))

    assert len(rows) == 4
    assert all(one.measured is None and "is not installed" in one.shown for one in rows)
    assert [one.what.rpartition("beside ")[2] for one in rows] == ["equal work E", "rsync twice", "ocopy + sync", "E"]
    assert benches("bars").outcome(rows, judged=True) == 1


@pytest.mark.parametrize(("asked", "made"), [(1, 1), (3, 3), (7, 5)])
def test_memory_is_measured_as_often_as_asked_and_the_worst_is_shown(benches, chosen, monkeypatch, asked, made):
    figures, seen = benches("figures"), []

    def peak_of_copy(_, number, runs):
        seen.append((number, runs))
        return Peak(rss=200_000_000 - number * 1_000_000, pss=5, processes=3, seconds=1.0)

    monkeypatch.setattr(figures, "peak_of_copy", peak_of_copy)
    chosen.runs = asked
    (bar,) = figures.memory(chosen)

    assert seen == [(number, made) for number in range(1, made + 1)]
    assert bar.measured == 199.0
    assert f"the worst of {made}" in bar.shown


@pytest.mark.parametrize(("ours", "theirs", "says"), [
    ([1.0, 1.1, 1.0], [2.0, 2.0, 2.0], "what is chosen wins"),
    ([2.0, 2.0, 2.0], [1.0, 1.1, 1.0], "what is chosen LOSES"),
    ([1.0, 1.0, 3.0], [2.0, 2.0, 2.0], "no clear difference"),
    ([1.99, 1.99, 1.99], [2.0, 2.0, 2.0], "no clear difference"),
])  # fmt: skip
def test_a_choice_wins_only_where_every_round_says_so(benches, ours, theirs, says):
    results = tuple(
        Result(name, Kind.INGEST, tuple(Run((Step("copy", each),)) for each in seconds))
        for name, seconds in (("ingest", ours), ("ingest mmap", theirs))
    )
    race = Race(Workload("w", 1, 1), engine=False, reference="ingest", results=results)

    assert benches("choices").verdict(race, "ingest mmap") == says


def test_what_is_chosen_is_tried_beside_everything_else_and_not_beside_itself(benches, chosen, monkeypatch):
    choices = benches("choices")
    asked = []
    monkeypatch.setattr(choices, "report", lambda one, *_: asked.append(one) or Namespace(races=[None]))
    monkeypatch.setattr(choices, "figures", lambda *_: "")
    monkeypatch.setattr(choices, "verdict", lambda *_: "")
    chosen.workloads = ["big", "clips", "small"]

    rows = list(choices.choices(chosen))

    values = {name: sum(len(each) - 1 for each in tried.values()) for name, tried in choices.TRIED.items()}
    for one, name in zip(asked, chosen.workloads, strict=True):
        taken, _ = choices.decided(chosen.disk, one.workloads[0])
        own, *others = one.choices
        assert own == choices.Choice()
        assert len(others) == len(set(others)) >= values[name]
        assert all(getattr(other, option) != taken[option] for other in others for option in choices.TRIED[name])
    assert len(rows) == sum(len(one.choices) - 1 for one in asked)


def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_an_account_takes_each_moment_once_and_only_its_own(benches):
    account = benches("metered").Account()
    inner = account.charged(burn)

    burn(0.02)
    began = time.thread_time()
    account.charged(lambda: (burn(0.02), inner(0.02)))()
    whole = time.thread_time() - began

    assert 0.04 <= account.seconds <= whole
    assert account.calls == 1


def test_telling_is_metered_in_the_real_program(tmp_path):
    plant(tmp_path / "CARD", Workload("w", 3, 1000))
    (tmp_path / "archive").mkdir()
    command = [sys.executable, BENCHES / "metered.py", tmp_path / "told.json", "copy", tmp_path / "CARD"]
    command += [tmp_path / "archive", "--new-root", "--events", tmp_path / "events"]

    done = subprocess.run(
        command, env={**os.environ, "INGEST_HOME": str(tmp_path / "home")}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "FULLY ARCHIVED" in done.stdout
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["threads"] == 1, "the pulse, and nobody else's thread"
    events = (tmp_path / "events").read_text().splitlines()
    assert told["calls"] >= len(events) > 3
    assert 0 < told["going"] < 1
    assert told["setting_up"] > 0


def test_a_terminal_on_which_nothing_is_drawn_is_noticed(benches):
    terminal = benches("progress").terminal

    with terminal() as name, open(name, "wb", buffering=0) as stream:
        stream.write(b"\x1b[2K")
        assert os.isatty(stream.fileno())
    with pytest.raises(IngestError, match="no bar"), terminal():
        pass
