"""The source is read once: counted by the kernel's own account of system calls, not by what the program says."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess

import pytest

READS = "read,pread64,readv,preadv,preadv2,copy_file_range,sendfile,splice,io_uring_setup"
CALL = re.compile(r"(?P<call>\w+)\([^<]*<(?P<path>[^>]*)>.* = (?P<answer>-?\w+)")


@pytest.fixture(scope="module")
def card(shared):
    noise = random.Random(7).randbytes(3 << 20)
    return shared.plant(
        "CARD", {"big.mov": noise, "100/a.jpg": noise[:70_001], "100/b.jpg": noise[:1], "100/c.jpg": b""}
    )


@pytest.fixture
def traced(ingest, strace, tmp_path):
    """Run a command under strace: its exit code, the bytes read per file below a folder, the calls that were made."""

    def run(below, *arguments):
        logs = tmp_path / "calls"
        logs.mkdir()
        # A file for each thread: their lines do not cut each other in two.
        done = subprocess.run(
            [strace, "-ff", "-qq", "-y", "-s", "0", "-e", f"trace={READS},mmap", "-o", logs / "thread", *ingest.command(*arguments)],
            env=ingest.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        amounts: dict[str, int] = {}
        mapped = set()
        lines = 0
        for line in "\n".join(log.read_text(errors="replace") for log in logs.iterdir()).splitlines():
            assert not line.startswith("io_uring_setup("), "reads through io_uring would not be counted"
            match = CALL.match(line)
            lines += match is not None
            if match is None or not match["path"].startswith(f"{below}/"):
                continue
            name = os.path.relpath(match["path"], below)
            if match["call"] == "mmap":
                mapped.add(name)
            else:
                amounts[name] = amounts.get(name, 0) + max(0, int(match["answer"], 0))
        assert lines > 100, "nothing was traced"
        return done, amounts, mapped

    return run


SIZES = {"big.mov": 3 << 20, "100/a.jpg": 70_001, "100/b.jpg": 1}


@pytest.mark.parametrize("mode", ["read", "direct"])
def test_two_destinations_cost_one_read_of_each_byte(traced, card, archive, backup, mode):
    done, amounts, mapped = traced(card, "copy", card, archive, "--also", backup, "--read-mode", mode)

    assert done.returncode == 0, done.stderr
    assert {name: amount for name, amount in amounts.items() if amount} == SIZES
    assert mapped == set()
    assert (archive / "CARD/big.mov").read_bytes() == (backup / "CARD/big.mov").read_bytes()


@pytest.mark.parametrize("mode", ["read", "direct", "mmap"])
def test_who_wants_it_has_each_byte_read_twice(traced, tell, card, archive, backup, mode):
    done, amounts, _ = traced(
        card, "copy", card, archive, "--also", backup, "--read-mode", mode, "--verify-source", "--json"
    )

    assert done.returncode == 0, done.stderr
    times = 1 if mode == "mmap" else 2  # a map is not read, but what is in doubt is
    # A direct read behind the end of an odd file is made again through the cache.
    assert {name: amount // size for name, size in SIZES.items() if (amount := amounts[name])} == dict.fromkeys(
        SIZES, times
    )
    document = json.loads(done.stdout)
    assert document["verify_source"] is True
    assert document["bytes"]["read"] == 2 * sum(SIZES.values())
    assert document["bytes"]["verified"] == 2 * sum(SIZES.values()), "of the two destinations"


def test_what_is_there_already_is_not_read_twice_even_then(traced, tell, card, archive):
    assert tell("copy", card, archive).code == 0

    done, amounts, _ = traced(card, "copy", card, archive, "--read-mode", "read", "--verify-source")

    assert done.returncode == 0, done.stderr
    assert "Nothing had to be copied" in done.stdout
    assert all(amounts.get(name, 0) <= size for name, size in SIZES.items())


def test_a_mapped_source_is_not_read_at_all(traced, card, archive, backup):
    done, amounts, mapped = traced(card, "copy", card, archive, "--also", backup, "--read-mode", "mmap")

    assert done.returncode == 0, done.stderr
    assert sum(amounts.values()) == 0
    assert mapped >= set(SIZES)


def test_finding_that_all_is_there_already_costs_one_read_too(traced, tell, card, archive, backup):
    assert tell("copy", card, archive, "--also", backup).code == 0

    done, amounts, _ = traced(card, "copy", card, archive, "--also", backup, "--read-mode", "read")

    assert done.returncode == 0, done.stderr
    assert "Nothing had to be copied" in done.stdout
    assert all(amounts.get(name, 0) <= size for name, size in SIZES.items())


def test_each_copy_is_read_back_in_full(traced, card, archive):
    done, amounts, _ = traced(archive, "copy", card, archive)

    assert done.returncode == 0, done.stderr
    read_back = sum(amount for name, amount in amounts.items() if "/staging/" in name and name.endswith(".part"))
    assert read_back >= sum(SIZES.values())


def test_a_plan_reads_no_file_of_the_source(traced, card, archive):
    done, amounts, mapped = traced(card, "scan", card, "--to", archive)

    assert done.returncode == 0, done.stderr
    assert sum(amounts.values()) == 0
    assert mapped == set()
