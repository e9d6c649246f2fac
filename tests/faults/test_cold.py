"""How much of what was verified really came from the device, counted where the device is, not where it is claimed.

A loop device counts the sectors it gave, a FUSE daemon the bytes it was asked for. Whatever `copy` and `verify` say
was read ``evicted`` or ``direct`` has to have come from there, byte for byte; where a file system does not allow that,
they have to say ``reread``. Every size has a session of its own, so that none can hide behind another. The table is
shown at the end of the run.

What lies beneath is the limit: the file behind a loop device, a drive, a server have memories of their own.
"""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest

from faults.commands import Shell

pytestmark = pytest.mark.root

PAGE = 4096
# Bytes of each file. Small ones share a flush; odd ones do not fill their last page; big ones are read back by several
# threads.
CLASSES = {
    "tiny": [1 + 37 * number for number in range(50)],
    "small": [2_100 + 611 * number for number in range(200)],
    "odd": [PAGE - 1, PAGE, PAGE + 1, 65_535, 65_537, (1 << 20) - 1, (1 << 20) + 1, (3 << 20) + 4_097],
    "big": [(48 << 20) + 12_345],
}
METHODS = ("direct", "evicted", "reread")
EVERY = {"every": [size for sizes in CLASSES.values() for size in sizes]}
# The best that can be said.
HONEST = {
    "ext4": "evicted", "xfs": "evicted", "btrfs": "evicted", "fuse.sshfs": "evicted",
    "tmpfs": "reread", "overlay": "reread", "fuse.faultfs": "reread", "fuseblk": "reread",
}  # fmt: skip
DISKS = ["ext4", "xfs", "btrfs"]
CASES = [*product(DISKS, CLASSES), *((kind, "every") for kind in HONEST if kind not in DISKS)]


@dataclass
class Place:
    """Where an archive is, and how many bytes its device has given so far."""

    kind: str
    archive: Path
    given: object


def sectors(point):
    """Bytes that the loop device of a mount has been read for."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    (device,) = [line[0] for line in lines if line[1] == str(point)]
    assert device.startswith("/dev/loop")
    statistics = Path("/sys/block", Path(device).name, "stat")
    return lambda: int(statistics.read_text().split()[2]) * 512


@pytest.fixture
def place(make_disk, mounts, faulty_disk, tmp_path):
    """A root on the kind of file system that the test is about."""

    def make(kind):
        if kind == "fuseblk":
            if shutil.which("mkfs.exfat") is None or shutil.which("mount.exfat-fuse") is None:
                pytest.skip("needs exfatprogs and exfat-fuse")
            point = mounts.exfat("card", 320)
            return Place(kind, point, sectors(point))
        if kind.startswith("fuse."):
            disk = faulty_disk(kind, subtype=kind.removeprefix("fuse."))
            disk.rules({"op": "read", "act": "note", "count": 0})
            return Place(kind, disk.mount, lambda: sum(hit["bytes"] for hit in disk.hits(op="read")))
        if kind == "tmpfs":
            return Place(kind, make_disk(kind), lambda: 0)
        if kind == "overlay":
            upper = make_disk("ext4")
            (tmp_path / "lower").mkdir()
            return Place(kind, mounts.overlay(tmp_path / "lower", upper, tmp_path / "overlay"), sectors(upper))
        point = make_disk(kind)
        return Place(kind, point, sectors(point))

    return make


def claimed(journal, card):
    """Bytes of a session's copies by root and verify method."""
    found = {}
    for row in journal.copies(journal.session(card)["key"]).values():
        by = found.setdefault(os.fsdecode(row["root_path"]), dict.fromkeys(METHODS, 0))
        by[row["verify_method"]] += row["size"]
    return found


@pytest.fixture
def hold(cold):
    """Hold what is claimed against what came."""

    def against(place, by, given):
        claims = by.get("direct", 0) + by.get("evicted", 0)
        assert given >= claims, f"{claims} bytes are said to have come from the device, which gave {given}"
        cold(place.kind, by, given)

    return against


@pytest.mark.parametrize(("kind", "files"), CASES)
def test_what_is_claimed_to_come_from_the_device_did(kind, files, place, make_card, shell, journal, hold, check):
    root, sizes = place(kind), (CLASSES | EVERY)[files]
    card = make_card({f"D/{number:03}.BIN": size for number, size in enumerate(sizes)})

    before = root.given()
    assert shell.run("copy", card.folder, root.archive).code == 0
    copied = root.given() - before
    by = claimed(journal, card)[str(root.archive)]
    hold(root, by, copied)
    assert by[HONEST[kind]] == card.size, "all of it by the best way there is"

    before = root.given()
    verified = shell.run("verify", root.archive)
    assert verified.code == 0
    given = root.given() - before
    methods = verified.document["verify_method"]
    assert methods == {**dict.fromkeys(METHODS, 0), HONEST[kind]: len(sizes)}
    hold(root, {HONEST[kind]: card.size}, given)
    assert check(card, root.archive)


@pytest.mark.parametrize("kind", DISKS)
def test_an_engine_that_reads_nothing_back_is_caught(kind, place, make_card, ingest, journal, hold):
    extra = (("PYTHONPATH", str(Path(__file__).with_name("meddling"))), ("INGEST_BROKEN", "unproven"))
    root = place(kind)
    card = make_card({"A.MOV": (8 << 20) + 77})

    before = root.given()
    assert Shell(replace(ingest, extra=extra)).run("copy", card.folder, root.archive).code == 0
    given = root.given() - before

    with pytest.raises(AssertionError, match="are said to have come from the device"):
        hold(root, claimed(journal, card)[str(root.archive)], given)


@pytest.mark.parametrize("kind", DISKS)
def test_of_a_file_that_another_process_maps_nothing_is_claimed_that_is_not_so(
    kind, place, make_card, shell, hold, check
):
    root = place(kind)
    sizes = {"mapped.mov": (8 << 20) + 77, "other.mov": (4 << 20) + 1}
    card = make_card(sizes)
    assert shell.run("copy", card.folder, root.archive).code == 0

    with (
        (root.archive / "CARD/mapped.mov").open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages,
    ):
        assert sum(pages[at] for at in range(0, len(pages), PAGE)) > 0
        before = root.given()
        verified = shell.run("verify", root.archive)
        given = root.given() - before

    fallback = "reread" if kind == "btrfs" else "direct"
    assert verified.document["verify_method"] == {"direct": 0, "evicted": 1, "reread": 0, fallback: 1}
    hold(root, {"evicted": sizes["other.mov"], fallback: sizes["mapped.mov"]}, given)
    assert check(card, root.archive)


@pytest.mark.parametrize("kind", DISKS)
def test_a_copy_that_is_mapped_before_it_is_read_back(kind, place, make_card, ingest, journal, hold, check, until):
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    root = place(kind)
    card = make_card({"mapped.mov": (8 << 20) + 77})
    # Time for somebody else to map the copy: it is flushed a while after it was written.
    slow = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=700000:when=1"]
    command = ["strace", *slow, *ingest.command("copy", card.folder, root.archive, "--json")]

    def part():
        whole = (p for p in root.archive.glob(".ingest/staging/*/*.part") if p.stat().st_size == card.size)
        return next(whole, None)

    before = root.given()
    with (
        subprocess.Popen(command, env=ingest.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as copying,
        until(part, "a part that is whole").open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages,
    ):
        assert sum(pages[at] for at in range(0, len(pages), PAGE)) > 0
        assert part() is not None, "it was mapped too late"
        _, errors = copying.communicate(timeout=60)
    given = root.given() - before

    assert copying.returncode == 0, errors
    by = claimed(journal, card)[str(root.archive)]
    hold(root, by, given)
    assert by["evicted"] == 0, "its pages could not be dropped"
    assert check(card, root.archive)


def test_two_destinations_are_each_read_from_their_own_device(place, make_card, shell, journal, hold, check):
    roots = [place("ext4"), place("btrfs")]
    sizes = [size for name in ("tiny", "small", "odd") for size in CLASSES[name]]
    card = make_card({f"D/{number:03}.BIN": size for number, size in enumerate(sizes)})

    before = [root.given() for root in roots]
    ended = shell.run("copy", card.folder, roots[0].archive, "--also", roots[1].archive)
    given = [root.given() - was for root, was in zip(roots, before, strict=True)]

    assert ended.code == 0
    by = claimed(journal, card)
    for root, bytes_given in zip(roots, given, strict=True):
        hold(root, by[str(root.archive)], bytes_given)
        assert by[str(root.archive)]["reread"] == 0
    assert check(card, *(root.archive for root in roots))


def test_what_lies_among_the_records_of_btrfs_is_reread(place, make_card, shell, hold, check):
    root = place("btrfs")
    card = make_card({f"D/{number:03}.BIN": size for number, size in enumerate(CLASSES["tiny"])})
    assert shell.run("copy", card.folder, root.archive).code == 0
    for path in card.versions:
        # Written anew by another program, as most do it: without reserving blocks first.
        copy = root.archive / "CARD" / path
        held = copy.read_bytes()
        copy.unlink()
        copy.write_bytes(held)
    os.sync()

    before = root.given()
    verified = shell.run("verify", root.archive)
    given = root.given() - before

    assert verified.document["verify_method"] == {"direct": 0, "evicted": 0, "reread": len(card.versions)}
    hold(root, {"reread": card.size}, given)
