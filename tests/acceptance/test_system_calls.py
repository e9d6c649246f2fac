"""What a session costs in system calls, by the kernel's own account: opens, flushes and renames per file and batch."""

from __future__ import annotations

import random
import re
import subprocess
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest

TRACED = "openat,openat2,fsync,fdatasync,syncfs,rename,renameat,renameat2,linkat"
OPENED = re.compile(r"openat2?\(.*\) = \d+<(?P<path>[^>]*)>")
FLUSHED = re.compile(r"(?P<call>fsync|fdatasync|syncfs)\(\d+<(?P<path>[^>]*)>\) = 0")
NAMED = re.compile(
    r"renameat2\(\d+<(?P<old>[^>]*)>, \"(?P<was>[^\"]*)\", \d+<(?P<new>[^>]*)>, \"(?P<name>[^\"]*)\", RENAME_NOREPLACE\) = 0"
)
# Small files in each of two folders; a third has two big ones.
SMALL = 40
FOLDERS = ("100", "101", "102")
PART = re.compile(r"staging/\w{8}/\d+-\d+-\d+\.\w{8}\.part$")
# Flushed by one request of their file system (docs of `storage.tuning`).
TOGETHER = {"ext4", "xfs", "btrfs"}


@dataclass
class Calls:
    """Calls that succeeded, by the path they were about."""

    opened: Counter[str] = field(default_factory=Counter)
    threads: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
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
        logged = ((log.name, line) for log in logs.iterdir() for line in log.read_text(errors="replace").splitlines())
        for thread, line in logged:
            if match := OPENED.match(line):
                calls.opened[match["path"]] += 1
            elif match := FLUSHED.match(line):
                calls.flushed[match["call"], match["path"]] += 1
                calls.threads[match["path"]].add(thread)
            elif match := NAMED.match(line):
                calls.named[f"{match['new']}/{match['name']}"] += 1
            elif line.startswith(("rename(", "renameat(", "linkat(")):
                calls.others.append(line)
        return calls

    return run


@pytest.fixture
def card(shared):
    noise = random.Random(3).randbytes(2 << 20)
    small = {f"{folder}/IMG_{n:04d}.JPG": noise[n : n + 5000 + n] for folder in FOLDERS[:2] for n in range(SMALL)}
    return shared.plant("MANY", {**small, "102/CLIP.MOV": noise, "102/SECOND.MOV": noise[1:]})


def flushes(calls: Calls, archive) -> dict[str, int]:
    """How often what was flushed in an archive, by its path there, staging files of one kind together; whole file systems
    as `syncfs`. A lease is written by sessions that take a while, so it is left out, with the way to it: that is flushed
    once when its folder is made in `.ingest`, and once when it gets its name.
    """
    leased = any(path.startswith(f"{archive}/.ingest/leases") for _, path in calls.flushed)
    counted: Counter[str] = Counter({"": -1, ".ingest": -2} if leased else {})
    for (call, path), times in calls.flushed.items():
        if path != str(archive) and not path.startswith(f"{archive}/"):
            continue
        below = "syncfs" if call == "syncfs" else path.removeprefix(str(archive)).removeprefix("/")
        below = PART.sub("PART", below.removeprefix(".ingest/"))
        below = re.sub(r"^staging/[0-9a-f]{8}(?=/|$)", "staging/SESSION", below)
        below = re.sub(r"-\w{8}\.part$", "", below)
        if not below.startswith("leases"):
            counted["manifests/SESSION" if below.startswith("manifests/session=") else below] += times
    return dict(counted)


# What a session flushes for itself on a new archive. A file of its own is flushed, with the staging folder before and
# after its name is given, and with the folders that lead to it when the first name is given there.
OWN = {
    "": 4,  # `.ingest` is made; the way to the marker, to the manifests, and to the staging folder that is gone
    ".ingest": 5,  # the same ways, the first twice; `staging` and `claims` are made in it
    "claims": 1,
    "staging": 5,  # made; twice for the marker; the session's own folder is made in it, and removed
    "staging/SESSION": 4,  # twice for each file of the manifest
    "staging/root": 1,
    "staging/SESSION/blocks-0001": 1,
    "staging/SESSION/items-0001": 1,
    "manifests": 1,
    "manifests/SESSION": 2,
}


def expected(batches: dict[str, int], together: int, each: int) -> dict[str, int]:
    """What a card costs: so many batches per folder, so many of them flushed together, so many files by themselves."""
    card = Counter(OWN)
    # Where names were given, and where they came from, once for each batch; and each folder once more with its own time.
    card["staging/SESSION"] += sum(batches.values())
    card.update({f"MANY/{folder}": number + 1 for folder, number in batches.items()})
    # The way to a folder when the first names are given there, and the card's folder with its own time.
    card.update({"MANY": len(batches) + 1, "": len(batches)})
    # The file system, and with it the folder that it was asked by.
    card.update({"syncfs": together, "": together, "PART": each})
    return {path: times for path, times in card.items() if times}


def flushed_together(archive) -> bool:
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", archive], capture_output=True, text=True, check=True
    ).stdout.strip()
    # `stat` has one name for the three of one family.
    return kind in TOGETHER or kind.startswith("ext2")


ONE_EACH = dict.fromkeys(FOLDERS, 1)
TWO_EACH = {"100": 2, "101": 2, "102": 1}


def test_a_batch_costs_one_flush_and_a_file_two_opens_and_one_rename(traced, card, archive):
    calls = traced("copy", card, archive, "--read-mode", "read", "--workers", "1", "--batch", str(SMALL))

    files = [path for path in card.rglob("*") if path.is_file()]
    assert len(files) == 2 * SMALL + 2
    assert {calls.opened[str(path)] for path in files} == {1}, "each source file is opened once"
    staged = {path: times for path, times in calls.opened.items() if PART.search(path)}
    assert len(staged) == len(files)
    assert set(staged.values()) == {2}, "each copy is made, and opened once more to be read back"
    names = {str(archive / "MANY" / path.relative_to(card)) for path in files}
    assert {calls.named[name] for name in names} == {1}
    assert calls.others == []
    own = Counter(path for (_, path), times in calls.flushed.items() for _ in range(times) if path in staged)
    assert set(own.values()) == {1}, "no file is flushed twice"
    together = flushed_together(archive)
    assert flushes(calls, archive) == expected(ONE_EACH, 2 * together, 2 if together else len(files))


def test_several_threads_flush_no_more_often(traced, card, archive):
    calls = traced("copy", card, archive, "--workers", "1", "--threads", "2", "--batch", str(SMALL))

    together = flushed_together(archive)
    assert flushes(calls, archive) == expected(ONE_EACH, 2 * together, 2 if together else 2 * SMALL + 2)


def test_batches_of_a_handful_are_flushed_file_by_file_and_named_at_once(traced, card, archive):
    calls = traced("copy", card, archive, "--workers", "1", "--batch", str(SMALL // 2))

    assert flushes(calls, archive) == expected(TWO_EACH, 0, 2 * SMALL + 2)


def test_two_archives_on_one_disk_share_the_read_and_the_flush(traced, card, archive, backup):
    calls = traced("copy", card, archive, "--also", backup, "--workers", "1", "--batch", str(SMALL))

    files = [path for path in card.rglob("*") if path.is_file()]
    assert {calls.opened[str(path)] for path in files} == {1}, "each source file is opened once"
    together = flushed_together(archive)
    each = 2 if together else len(files)
    assert flushes(calls, archive) == expected(ONE_EACH, 2 * together, each)
    assert flushes(calls, backup) == expected(ONE_EACH, 0, each), "the first archive's flush was this one's too"


@pytest.mark.root
@pytest.mark.parametrize("spinning", [True, False])
def test_archives_on_partitions_of_a_spinning_disk_take_turns(traced, card, make_disk, ingest, spinning):
    """Two file systems that lie on one disk (as files, here), which the configuration calls a spinning one, or not."""
    one, other = make_disk("ext4"), make_disk("ext4")
    said = [f'[[storage]]\npath = "{disk}"\nrotational = {str(spinning).lower()}\n' for disk in (one, other)]
    (ingest.home / "config.toml").write_text("".join(said))

    calls = traced("copy", card, one, "--also", other, "--workers", "1")

    clips = [
        {thread for path, threads in calls.threads.items() if PART.search(path) and path.startswith(str(disk))
         for thread in threads}
        for disk in (one, other)
    ]  # fmt: skip
    assert all(len(threads) == 1 for threads in clips)
    assert (clips[0] == clips[1]) is spinning


def test_flushing_each_file_is_a_choice(traced, card, archive):
    calls = traced("copy", card, archive, "--flush", "each")

    assert not [path for call, path in calls.flushed if call == "syncfs"]
    own = [path for call, path in calls.flushed if call == "fsync" and PART.search(path)]
    assert len(own) == 2 * SMALL + 2
