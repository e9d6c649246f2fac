"""Medians, ratios and the comparison with a baseline: the arithmetic behind every figure."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from ingest.bench import baseline, chart, document, suite, table
from ingest.bench.machine import machine
from ingest.bench.ours import Choice
from ingest.bench.peers import PEERS
from ingest.bench.results import Kind, Race, Records, Report, Result, Run, Step
from ingest.bench.workloads import Workload
from ingest.errors import IngestError, UsageError

TREE = Workload("clips", 4, 1_000_000)


def result(name, kind, *seconds):
    return Result(name, kind, tuple(Run((Step("copy", each, each / 2),)) for each in seconds))


def report(tmp_path, *races, records=()):
    return Report("1", "2026-11-20T00:00:00+00:00", machine(tmp_path), "custom", 3, True, races, tuple(records))


@pytest.fixture
def race():
    results = (result("ingest", Kind.INGEST, 2.0, 9.0, 4.0), result("cp", Kind.PEER, 1.0, 3.0, 8.0))
    return Race(TREE, engine=False, reference="cp", results=results)


@pytest.fixture
def asked(tmp_path):
    """What measures the race."""
    return suite.Request("custom", (TREE,), (), (Choice(),), (), tmp_path)


@pytest.fixture
def read(tmp_path):
    """A document, as a later bench reads it."""

    def through_json(told):
        path = tmp_path / "earlier.json"
        path.write_text(json.dumps(document.document(told, [], [], 0)))
        return baseline.read_baseline(path)

    return through_json


def test_the_ratio_is_the_median_of_the_ratios_round_by_round_and_not_the_ratio_of_medians(race):
    ours = race.result("ingest")

    assert race.ratio(ours) == 2.0
    assert ours.median / race.result("cp").median == pytest.approx(4 / 3)


def test_a_run_is_the_sum_of_its_steps_and_what_is_not_known_is_not_counted():
    run = Run((Step("b3sum", 1.0, 0.5), Step("drop", 0.25), Step("check", 2.0, 1.5)))

    assert (run.seconds, run.cpu) == (3.25, 2.0)
    assert Run((Step("copy", 1.0),)).cpu is None


def test_the_rate_is_of_the_card_and_not_of_what_was_moved(race):
    assert race.rate(race.result("ingest")) == pytest.approx(4.0 / 4.0)


def test_a_machine_that_is_slower_in_everything_is_no_regression(tmp_path, race, read):
    slower = replace(race, results=tuple(
        replace(one, runs=tuple(Run((Step("copy", 3 * run.seconds),)) for run in one.runs)) for one in race.results
    ))  # fmt: skip

    (compared,) = baseline.compare(report(tmp_path, slower), read(report(tmp_path, race)))

    assert (compared.contender, compared.measure) == ("ingest", "cp")
    assert compared.speed == pytest.approx(1.0)


def test_a_peer_is_never_a_regression_of_ours(tmp_path, race, read, asked):
    then = read(report(tmp_path, replace(race, results=(result("cp", Kind.PEER, 1.0),))))

    assert baseline.compare(report(tmp_path, race), then) == []
    with pytest.raises(IngestError, match="none of what is to be measured"):
        baseline.uncompared(replace(asked, choices=(), peers=(PEERS["cp"],)), then, strict=False)


@pytest.mark.parametrize("other", [
    {"workloads": (Workload("clips", 5, 1_000_000),)}, {"workloads": (Workload("big", 4, 1_000_000),)},
    {"engine": True}, {"choices": (Choice(read_mode="mmap"),)}, {"workloads": (), "items": (100,)},
])  # fmt: skip
def test_where_nothing_is_in_common_nothing_is_measured(tmp_path, race, read, asked, other):
    then = read(report(tmp_path, race))

    assert baseline.uncompared(asked, then, strict=True) == []
    with pytest.raises(IngestError, match="none of what is to be measured"):
        baseline.uncompared(replace(asked, **other), then, strict=False)


def test_what_only_one_of_both_has_is_named_though_something_else_is_compared(tmp_path, race, read, asked):
    vanished = replace(race, results=(*race.results, result("ingest 2 destinations", Kind.INGEST, 1.0, 1.0, 1.0)))
    then = read(report(tmp_path, vanished, records=[Records(100, [1.0], [5])]))
    now = replace(asked, choices=(Choice(), Choice(read_mode="mmap")), items=(1000,))

    left = baseline.uncompared(now, then, strict=False)

    assert [str(one) for one in left] == [
        "clips, 4 x 1,000,000 bytes: ingest mmap (not in the baseline)",
        "records: 1,000 items (not in the baseline)",
        "clips, 4 x 1,000,000 bytes: ingest 2 destinations (in the baseline only)",
        "records: 100 items (in the baseline only)",
    ]
    told = report(tmp_path, race)
    assert all(f"  not compared: {one}" in table.lines(told, [], left) for one in left)
    assert document.document(told, [], left, 0)["not_compared"][0] == {
        "workload": "clips, 4 x 1,000,000 bytes", "contender": "ingest mmap", "why": "not in the baseline",
    }  # fmt: skip


@pytest.mark.parametrize("more", [{"choices": (Choice(), Choice(workers=2))}, {"items": (1000,)}])
def test_a_gate_lets_nothing_pass_that_it_cannot_compare(tmp_path, race, read, asked, more):
    with pytest.raises(IngestError, match=r"not compared: .*not in the baseline"):
        baseline.uncompared(replace(asked, **more), read(report(tmp_path, race)), strict=True)


def test_a_gate_notices_what_is_not_measured_any_more(tmp_path, race, read, asked):
    then = report(tmp_path, race, replace(race, workload=Workload("big", 1, 5)))

    with pytest.raises(IngestError, match=r"big, 1 x 5 bytes: ingest \(in the baseline only\)"):
        baseline.uncompared(asked, read(then), strict=True)


def test_records_are_compared_by_their_number(tmp_path, read):
    then = report(tmp_path, records=[Records(100, [1.0, 1.2, 1.1], [5]), Records(1000, [10.0], [5])])
    now = report(tmp_path, records=[Records(1000, [40.0, 20.0, 19.0], [5])])

    (compared,) = baseline.compare(now, read(then))

    assert (compared.contender, compared.speed) == ("1,000 items", 0.5)


@pytest.mark.parametrize("seconds", [[], [0.0], [-1.0], ["x"], None, [float("nan")], [1.0, float("inf")]])
def test_seconds_that_are_none_are_refused(tmp_path, race, seconds):
    told = document.document(report(tmp_path, race), [], [], 0)
    told["workloads"][0]["contenders"][0]["seconds"] = seconds
    (tmp_path / "earlier.json").write_text(json.dumps(told))

    with pytest.raises(UsageError):
        baseline.read_baseline(tmp_path / "earlier.json")


def test_memory_is_told_with_and_without_what_processes_share(tmp_path):
    told = report(tmp_path, records=[Records(100, [1.0], [9_000_000], [7_000_000]), Records(1000, [1.0], [8_000_000])])

    rows = [line.split()[-2:] for line in table.lines(told) if line.startswith(("  100 items", "  1,000 items"))]
    assert rows == [["9", "7"], ["8", "-"]]
    found = [(one["peak_bytes"], one["peak_pss_bytes"]) for one in document.document(told, [], [], 0)["records"]]
    assert found == [(9_000_000, 7_000_000), (8_000_000, None)]


def test_every_word_of_the_chart_is_within_the_image(tmp_path, race):
    long = "ingest mmap 256KiB 4 workers 2 destinations"
    named = replace(race, results=(*race.results, result(long, Kind.INGEST, 9.0, 9.0, 9.0)))

    image = ET.fromstring(chart.svg(report(tmp_path, named, records=[Records(1_000_000_000, [1.0], [5])])))

    bars = [float(one.get("x")) for one in image.iter("{http://www.w3.org/2000/svg}rect")]
    for text in image.iter("{http://www.w3.org/2000/svg}text"):
        # Wider than letters of this size are in the fonts that people have.
        size = 11 if text.get("class") == "quiet" else 13
        x, width = float(text.get("x")), len(text.text) * size * 0.6
        begin, end = (x - width, x) if text.get("text-anchor") == "end" else (x, x + width)
        assert begin >= 0, text.text
        assert end <= float(image.get("width")), text.text
        assert text.get("text-anchor") != "end" or end <= min(bars), text.text
    assert any(text.text == long for text in image.iter("{http://www.w3.org/2000/svg}text"))


def test_chart_and_table_hold_every_contender_and_every_number_of_records(tmp_path, race):
    named = replace(race, results=(*race.results, result("a <b> & 'c'", Kind.PEER, 1.0, 1.0, 1.0)))
    told = report(tmp_path, named, records=[Records(100, [1.0], [5]), Records(1000, [10.0], [5])])

    image = ET.fromstring(chart.svg(told))
    text = "\n".join(table.lines(replace(told, races=(race,)), []))

    assert len(image.findall("{http://www.w3.org/2000/svg}rect")) == 5
    assert "a <b> & 'c'" in {one.text for one in image.iter("{http://www.w3.org/2000/svg}text")}
    assert all(word in text for word in ("ingest", "cp", "1,000 items"))
