"""The bench measures, tells people and machines, compares with an earlier one, and leaves nothing behind.

Sizes here are tiny: what is tested is the command, never a figure.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ingest.engine import Root

TINY = ("--files", "3", "--bytes", "64KiB", "--runs", "2", "--no-warm-up", "--peer", "cp")
ONCE = ("--files", "3", "--bytes", "64KiB", "--runs", "1", "--no-warm-up", "--peer", "cp")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.fixture
def untouched(disk, ingest):
    """After the test the disk is as empty as before, and so is the user's own journal."""
    yield
    assert os.listdir(disk) == []
    assert os.listdir(ingest.home) == []


@pytest.fixture(scope="module")
def measured(shared):
    """What a bench on an empty disk told; both the disk and the journal are empty afterwards."""
    disk = shared.plant("disk", {})
    shared.plant("home", {})
    told = shared.tell("bench", *TINY, "--disk", disk)
    assert told.code == 0, told.errors
    assert os.listdir(disk) == os.listdir(shared.home) == []
    return told.document


@pytest.fixture
def earlier(measured, tmp_path):
    """Write an earlier document; `earlier(0.5)` says that we took half of the time then."""

    def write(factor):
        document = json.loads(json.dumps(measured))
        for race in document["workloads"]:
            for one in race["contenders"]:
                if one["kind"] != "peer":
                    one["seconds"] = [seconds * factor for seconds in one["seconds"]]
        path = tmp_path / "earlier.json"
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.mark.usefixtures("untouched")
def test_people_get_a_table_and_lines_while_they_wait(ingest, disk):
    done = ingest.run("bench", *TINY, "--disk", disk)

    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.startswith("  ")}
    assert rows["cp"][-1] == "1.00", "the peer is the reference"
    assert len(rows["ingest"]) == len(rows["cp"]) == 7
    assert "round 2 of 2: ingest" in done.stderr
    assert "warm-up" not in done.stderr


@pytest.mark.usefixtures("untouched")
def test_quiet_says_nothing(ingest, disk):
    done = ingest.run("bench", *ONCE, "--disk", disk, "--quiet")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_machines_get_every_second_that_was_measured(measured):
    assert measured["kind"] == "ingest-bench"
    assert measured["machine"]["cores"] >= 1
    assert measured["exit_code"] == 0
    (race,) = measured["workloads"]
    assert (race["name"], race["files"], race["file_bytes"], race["engine"]) == ("custom", 3, 65536, False)
    assert race["reference"] == "cp"
    by_name = {one["name"]: one for one in race["contenders"]}
    assert set(by_name) == {"cp", "ingest"}
    for one in by_name.values():
        assert len(one["seconds"]) == len(one["cpu_seconds"]) == 2
        assert one["min"] <= one["median"] <= one["max"]
        assert one["mb_per_s"] == pytest.approx(race["bytes"] / one["median"] / 1e6)
    ratios = [a / b for a, b in zip(by_name["ingest"]["seconds"], by_name["cp"]["seconds"], strict=True)]
    assert by_name["ingest"]["ratio"] == pytest.approx(sum(ratios) / 2)
    assert list(by_name["cp"]["steps"]) == ["cp", "sync"]


def test_a_source_in_memory_is_not_called_cold(tell, ingest, tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="ingest-test-", dir="/dev/shm"))
    try:
        told = tell("bench", *ONCE, "--disk", folder)
        done = ingest.run("bench", *ONCE, "--disk", folder, "--svg", tmp_path / "chart.svg")
    finally:
        folder.rmdir()

    (race,) = told.document["workloads"]
    # Three files, before one run of two contenders.
    assert (race["cold"], race["seen"]) == (False, {"asked": 6, "warm": 6, "unknown": 0})
    assert "NOT cold: 6 of 6 looks" in done.stdout
    assert "source NOT cold" in (tmp_path / "chart.svg").read_text()


def test_a_source_on_a_disk_is_called_cold_where_the_kernel_says_so(measured, shared):
    if Root(os.fsencode(shared.folder / "disk")).cold != "evicted":
        pytest.skip("needs a disk, and a kernel that tells what its cache holds (Linux 6.5)")

    (race,) = measured["workloads"]
    assert (race["cold"], race["seen"]) == (True, {"asked": 12, "warm": 0, "unknown": 0})


@pytest.mark.usefixtures("untouched")
def test_every_combination_of_options_is_a_contender_of_its_own(tell, disk):
    options = (
        "--read-mode",
        "read",
        "--read-mode",
        "mmap",
        "--buffer",
        "64KiB",
        "--destinations",
        "1",
        "--destinations",
        "2",
    )

    told = tell("bench", *TINY[:4], "--runs", "1", "--no-warm-up", "--peer", "none", *options, "--disk", disk)

    assert told.code == 0, told.errors
    names = [one["name"] for one in told.document["workloads"][0]["contenders"]]
    assert names == [
        "ingest read 64KiB", "ingest read 64KiB 2 destinations", "ingest mmap 64KiB", "ingest mmap 64KiB 2 destinations",
    ]  # fmt: skip


@pytest.mark.usefixtures("untouched")
def test_the_engine_alone_is_measured_beside_cp(tell, disk):
    told = tell("bench", *TINY[:4], "--runs", "1", "--engine", "--buffer", "all", "--workers", "2", "--disk", disk)

    assert told.code == 0, told.errors
    (race,) = told.document["workloads"]
    assert race["engine"] is True
    assert [one["name"] for one in race["contenders"]] == [
        "cp", *(f"engine read {buffer} 2 threads" for buffer in ("64KiB", "256KiB", "1MiB", "4MiB")),
    ]  # fmt: skip


@pytest.mark.usefixtures("untouched")
def test_cards_are_clips_with_their_sidecars(tell, disk):
    told = tell(
        "bench", "--workload", "cards", "--size", "small", "--runs", "1", "--no-warm-up", "--peer", "cp", "--disk", disk
    )

    assert told.code == 0, told.errors
    (race,) = told.document["workloads"]
    assert (race["name"], race["files"], race["sidecars"]) == ("cards", 8, {"XML": 4096, "THM": 16384})
    assert race["bytes"] == 8 * ((2 << 20) + 4096 + 16384)


@pytest.mark.usefixtures("untouched")
def test_records_are_counted_at_several_numbers(tell, disk):
    told = tell("bench", "--workload", "records", "--items", "50", "--items", "200", "--runs", "1", "--disk", disk)

    assert told.code == 0, told.errors
    assert told.document["workloads"] == []
    assert [one["items"] for one in told.document["records"]] == [50, 200]
    assert all(one["items_per_s"] > 0 for one in told.document["records"])
    assert all(one["peak_bytes"] >= one["peak_pss_bytes"] > 1 << 20 for one in told.document["records"])


@pytest.mark.usefixtures("untouched")
def test_the_chart_is_an_image_with_a_bar_for_each(ingest, disk, tmp_path):
    done = ingest.run("bench", *ONCE, "--disk", disk, "--svg", tmp_path / "chart.svg")

    assert done.returncode == 0, done.stderr
    chart = ET.parse(tmp_path / "chart.svg").getroot()
    assert chart.tag == f"{SVG}svg"
    assert len(chart.findall(f"{SVG}rect")) == len(chart.findall(f"{SVG}path")) == 2
    texts = [text.text for text in chart.findall(f"{SVG}text")]
    assert {"cp", "ingest"} <= set(texts)


@pytest.mark.usefixtures("untouched")
def test_as_fast_as_the_baseline_is_well(tell, disk, earlier):
    told = tell("bench", *ONCE, "--disk", disk, "--baseline", earlier(1), "--fail-below", "0.1")

    assert told.code == told.document["exit_code"] == 0, told.errors
    (compared,) = told.document["baseline"]
    assert (compared["workload"], compared["contender"], compared["measure"]) == ("custom", "ingest", "cp")
    assert compared["speed"] > 0.1


@pytest.mark.usefixtures("untouched")
def test_slower_than_the_baseline_is_exit_9_and_is_named(tell, disk, earlier):
    told = tell("bench", *ONCE, "--disk", disk, "--baseline", earlier(0.001), "--fail-below", "0.5")

    assert told.code == told.document["exit_code"] == 9
    assert told.document["baseline"][0]["speed"] < 0.5
    assert "custom, ingest: " in told.errors.splitlines()[-1]


@pytest.mark.usefixtures("untouched")
def test_without_a_common_peer_seconds_are_compared(tell, disk, earlier):
    alone = [*ONCE[:-1], "none"]

    told = tell("bench", *alone, "--disk", disk, "--baseline", earlier(1))

    assert told.code == 0
    assert told.document["baseline"][0]["measure"] == "seconds"


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--peer", "robocopy"), 2, "robocopy"),
        (("--workload", "huge"), 2, "huge"),
        (("--size", "medium"), 2, "medium"),
        (("--files", "3"), 2, "size of each"),
        (("--buffer", "3"), 2, "buffer"),
        (("--buffer", "wide"), 2, "wide"),
        (("--workers", "0"), 2, "workers"),
        (("--runs", "0"), 2, "runs"),
        (("--fail-below", "0.9"), 2, "below"),
        *((("--fail-below", ratio, "--baseline", "any"), 2, "ratio") for ratio in ("nan", "0", "-0.9", "inf")),
        (("--engine", "--peer", "cp"), 2, "engine"),
        (("--engine", "--workers", "33"), 2, "33 threads"),
        (("--baseline", "no-such-file"), 4, "No such file"),
        (("--svg", "no-folder/chart.svg"), 2, "written"),
        (("--disk", "no-such-disk"), 4, "no such folder"),
        (("--files", "1000000", "--bytes", "1024MiB"), 1, "no room"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_said_before_anything_is_made(tell, disk, arguments, code, said):
    told = tell("bench", *arguments, cwd=disk)

    assert told.code == told.document["exit_code"] == code
    assert said in told.error["cause"]
    assert told.error["advice"]
    assert "making" not in told.errors


@pytest.mark.usefixtures("untouched")
def test_a_peer_that_is_not_installed_is_named_with_where_to_get_it(ingest, disk, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    done = ingest.run("bench", *TINY[:4], "--peer", "rsync", "--disk", disk)

    assert done.returncode == 4
    assert "rsync is not installed" in done.stderr
    assert "apt install rsync" in done.stderr


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"kind": "ingest-bench", "format": 1}', "\udcff"])
def test_a_baseline_that_is_something_else_is_refused(tell, disk, tmp_path, text):
    (tmp_path / "other.json").write_bytes(text.encode("utf-8", "surrogateescape"))

    told = tell("bench", *TINY, "--disk", disk, "--baseline", tmp_path / "other.json")

    assert told.code == 2
    assert "ingest bench --json" in told.error["advice"]


@pytest.mark.usefixtures("untouched")
def test_a_baseline_of_other_workloads_is_no_comparison(tell, disk, earlier):
    other = ("--files", "2", *TINY[2:])

    told = tell("bench", *other, "--disk", disk, "--baseline", earlier(1), "--fail-below", "0.1")

    assert told.code == 1
    assert "none of what is to be measured" in told.error["cause"]
    assert "making" not in told.errors


@pytest.mark.usefixtures("untouched")
def test_what_is_not_compared_is_said_and_lets_no_gate_pass(tell, disk, earlier):
    more = (*ONCE, "--destinations", "1", "--destinations", "2", "--disk", disk, "--baseline", earlier(1))

    told, gate = tell("bench", *more), tell("bench", *more, "--fail-below", "0.1")

    assert told.code == 0, told.errors
    (left,) = told.document["not_compared"]
    assert (left["contender"], left["why"]) == ("ingest 2 destinations", "not in the baseline")
    assert [one["contender"] for one in told.document["baseline"]] == ["ingest"]
    assert gate.code == gate.document["exit_code"] == 1
    assert "not compared: custom, 3 x 64 KiB: ingest 2 destinations" in gate.error["cause"]
    assert "making" not in gate.errors


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_leaves_no_file_and_no_process(ingest, disk, number):
    process = ingest.start("bench", "--files", "50", "--bytes", "16KiB", "--runs", "1000", "--disk", disk)
    for line in process.stderr:
        if "warm-up" in line:
            break

    process.send_signal(number)
    _, _ = process.communicate(timeout=60)

    assert process.returncode == 6
    limit = time.monotonic() + 10
    while (left := processes_at(disk)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert left == []


def processes_at(folder):
    """Processes that were told of a folder, by their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in told and int(entry.name) != os.getpid():
            found.append(told)
    return found
