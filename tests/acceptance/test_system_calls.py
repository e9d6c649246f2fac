"""What a session costs in system calls, by the kernel's own account: opens, flushes and renames per file and batch."""

from __future__ import annotations

import random
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field

import pytest

TRACED = "openat,openat2,fsync,fdatasync,syncfs,rename,renameat,renameat2,linkat"
OPENED = re.compile(r"openat2?\(.*\) = \d+<(?P<path>[^>]*)>")
FLUSHED = re.compile(r"(?P<call>fsync|fdatasync|syncfs)\(\d+<(?P<path>[^>]*)>\) = 0")
NAMED = re.compile(
    r"renameat2\(\d+<(?P<old>[^>]*)>, \"(?P<was>[^\"]*)\", \d+<(?P<new>[^>]*)>, \"(?P<name>[^\"]*)\", RENAME_NOREPLACE\) = 0"
)
SMALL = 40
# Flushed by one request of their file system (docs of `storage.tuning`).
TOGETHER = {"ext4", "xfs", "btrfs"}


@dataclass
class Calls:
    """Calls that succeeded, by the path they were about."""

    opened: Counter[str] = field(default_factory=Counter)
    flushed: Counter[tuple[str, str]] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    others: list[str] = field(default_factory=list)


@pytest.fixture
def traced(ingest, strace, tmp_path):
    """Run a command under strace."""

    def run(*arguments) -> Calls:
        logs = tmp_path / "calls"
        logs.mkdir()
        done = subprocess.run(
            [strace, "-ff", "-qq", "-y", "-s", "4096", "-e", f"trace={TRACED}", "-o", logs / "thread", *ingest.command(*arguments)],
            env=ingest.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        calls = Calls()
        for line in "\n".join(log.read_text(errors="replace") for log in logs.iterdir()).splitlines():
            if match := OPENED.match(line):
                calls.opened[match["path"]] += 1
            elif match := FLUSHED.match(line):
                calls.flushed[match["call"], match["path"]] += 1
            elif match := NAMED.match(line):
                calls.named[f"{match['new']}/{match['name']}"] += 1
            elif line.startswith(("rename(", "renameat(", "linkat(")):
                calls.others.append(line)
        return calls

    return run


@pytest.fixture
def card(shared):
    noise = random.Random(3).randbytes(2 << 20)
    small = {
        f"{folder}/IMG_{n:04d}.JPG": noise[n : n + 5000 + n] for folder in ("100", "101") for n in range(SMALL // 2)
    }
    return shared.plant("MANY", {**small, "102/CLIP.MOV": noise, "102/SECOND.MOV": noise[1:]})


def test_a_batch_costs_one_flush_and_a_file_two_opens_and_one_rename(traced, card, archive):
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", archive], capture_output=True, text=True, check=True
    ).stdout.strip()
    # `stat` has one name for the three of one family.
    together = kind in TOGETHER or kind.startswith("ext2")
    calls = traced("copy", card, archive, "--read-mode", "read", "--workers", "1")

    files = [path for path in card.rglob("*") if path.is_file()]
    assert len(files) == SMALL + 2
    assert {calls.opened[str(path)] for path in files} == {1}, "each source file is opened once"
    staged = {
        path: times
        for path, times in calls.opened.items()
        if re.search(r"/staging/\w{8}/\d+-\d+-\d+\.\w{8}\.part$", path)
    }
    assert len(staged) == len(files)
    assert set(staged.values()) == {2}, "each copy is made, and opened once more to be read back"
    names = {str(archive / "MANY" / path.relative_to(card)) for path in files}
    assert {calls.named[name] for name in names} == {1}
    assert calls.others == []

    own = Counter(path for (call, path), times in calls.flushed.items() for _ in range(times) if path in staged)
    batches = sum(times for (call, _), times in calls.flushed.items() if call == "syncfs")
    if together:
        assert len(own) == 2, "only big files are flushed by themselves"
        assert 1 <= batches <= 2
    else:
        assert len(own) == len(files)
        assert batches == 0
    assert set(own.values()) == {1}, "no file is flushed twice"
    folders = {str(archive / "MANY" / name): 0 for name in ("100", "101", "102")}
    for (call, path), times in calls.flushed.items():
        if path in folders and call == "fsync":
            folders[path] += times
    # Once when its names were given, in each batch that named something there, and once with its own time.
    assert all(1 <= times <= 3 for times in folders.values()), folders


def test_flushing_each_file_is_a_choice(traced, card, archive):
    calls = traced("copy", card, archive, "--flush", "each")

    assert not [path for call, path in calls.flushed if call == "syncfs"]
    own = [path for call, path in calls.flushed if call == "fsync" and re.search(r"/\d+-\d+-\d+\.\w{8}\.part$", path)]
    assert len(own) == SMALL + 2
