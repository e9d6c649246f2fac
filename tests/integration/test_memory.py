"""Memory does not grow with the number of files, nor with what an archive's manifests tell of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

PROGRAM = """
import pathlib, sys
from ingest import api
from ingest.model.options import CopyOptions, CopyRequest

card, archive, home = sys.argv[1:]
report = api.copy(CopyRequest((card.encode(),), (archive.encode(),), CopyOptions()), pathlib.Path(home))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(report.items["finalized"], peak)
"""


REBUILD = """
import pathlib, sys
from ingest import api

archive, home = sys.argv[1:]
report = api.rebuild(pathlib.Path(home), [archive.encode()])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(report.roots[0].added, peak)
"""


@pytest.fixture
def memory():
    """A folder that costs no disk."""
    if not os.path.ismount("/dev/shm"):
        pytest.skip("no tmpfs at /dev/shm")
    folder = f"/dev/shm/ingest-memory-{os.getpid()}"
    os.mkdir(folder)
    yield folder
    shutil.rmtree(folder)


def peak(folder: str, count: int) -> int:
    """The supervisor's largest resident size, in KiB, copying so many tiny files."""
    card, archive, home = (f"{folder}/{name}-{count}" for name in ("card", "archive", "home"))
    os.mkdir(archive)
    for number in range(count):
        if number % 500 == 0:
            os.makedirs(f"{card}/DCIM/{number // 500:03d}")
        with open(f"{card}/DCIM/{number // 500:03d}/IMG_{number:05d}.JPG", "wb") as file:
            file.write(b"%d" % number)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, card, archive, home], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    finalized, kib = done.stdout.split()
    assert int(finalized) == count
    shutil.rmtree(archive)
    return int(kib)


@pytest.mark.slow
def test_ten_times_the_files_need_hardly_more_memory(memory):
    few, many = peak(memory, 2_000), peak(memory, 20_000)

    # Measured: 105 and 160 MiB, 190 with 80,000; most is Arrow and SQLAlchemy, then one manifest part and the caches.
    assert many < 250 * 1024, f"{many >> 10} MiB for 20,000 files"
    assert many < 2 * few, f"{few >> 10} MiB for 2,000 files, {many >> 10} MiB for 20,000"


def rebuilt(folder: str, count: int) -> int:
    """The largest resident size, in KiB, of a rebuild from the manifests of so many files that were never there."""
    place = f"{folder}/{count}"
    os.mkdir(place)
    subprocess.run([sys.executable, "-m", "ingest.bench.synthetic", str(count), place], check=True, timeout=240)
    done = subprocess.run(
        [sys.executable, "-c", REBUILD, f"{place}/archive", f"{place}/anew"], capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    added, kib = done.stdout.split()
    assert int(added) == count
    return int(kib)


@pytest.mark.slow
def test_a_rebuild_from_ten_times_the_rows_needs_hardly_more_memory(memory):
    few, many = rebuilt(memory, 10_000), rebuilt(memory, 100_000)

    # Measured: 176 MiB with 20,000 rows, 254 with 200,000.
    assert many < 350 * 1024, f"{many >> 10} MiB for 100,000 rows"
    assert many < 2 * few, f"{few >> 10} MiB for 10,000 rows, {many >> 10} MiB for 100,000"
