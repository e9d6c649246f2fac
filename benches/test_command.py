"""`ingest copy` beside `cp -r` and `sync`, whole processes, proof included, for pytest-benchmark."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SMALL = os.environ.get("INGEST_BENCH_SIZE", "small") == "small"
WORKLOADS = {"one big file": (1, 32 if SMALL else 2048), "clips": (8 if SMALL else 200, 2 if SMALL else 10)}
MIB = 1 << 20
FRESH = count()


@pytest.fixture(scope="module", params=list(WORKLOADS))
def card(request, tmp_path_factory) -> Path:
    files, size = WORKLOADS[request.param]
    folder = tmp_path_factory.mktemp("card") / "CARD"
    folder.mkdir()
    for number in range(files):
        (folder / f"CLIP{number:04d}.MP4").write_bytes(os.urandom(size * MIB))
    os.sync()
    return folder


def cold(card: Path, folder: Path) -> Path:
    for path in card.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    target = folder / str(next(FRESH))
    target.mkdir()
    return target


@pytest.mark.benchmark(group="command")
def test_cp_and_sync(benchmark, card, tmp_path):
    def run(target: Path) -> None:
        subprocess.run(["cp", "-r", card, target], check=True)
        subprocess.run(["sync", "-f", target], check=True)

    benchmark.pedantic(run, setup=lambda: ((cold(card, tmp_path),), {}), rounds=3)
    shutil.rmtree(tmp_path)


@pytest.mark.benchmark(group="command")
def test_ingest_copy(benchmark, card, tmp_path):
    environment = {**os.environ, "INGEST_HOME": str(tmp_path / "home")}

    def run(target: Path) -> None:
        command = [sys.executable, "-m", "ingest", "copy", card, target, "--quiet"]
        subprocess.run(command, check=True, env=environment)

    benchmark.pedantic(run, setup=lambda: ((cold(card, tmp_path),), {}), rounds=3)
    shutil.rmtree(tmp_path)
