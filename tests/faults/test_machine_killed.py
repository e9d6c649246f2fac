"""Power cuts of a whole machine: a guest copies a card, and is killed at a random moment, memory and all.

The archive is on one disk, the journal on another one; what the guest's block layer wrote is there afterwards, what its
kernel still held in memory is not. A second guest mounts both (which replays their logs): every copy that the journal
calls `finalized` has to be there, with the right bytes, read from the disk by a kernel that never saw them. Then its
`ingest resume` is killed in the same way, and so on, until one may complete the session; and right after that the plug
is pulled once more.

The same rig with every flush taken out of the product has to show losses: the calls succeed, and do nothing (a seccomp
filter, set by errand.py). The journal's disk is then mounted `sync`, so that what is promised outlives the cut.

``INGEST_CAMPAIGN=full`` only.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from faults.guest import Guest, image

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("guest"),
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.environ.get("INGEST_CAMPAIGN") != "full", reason="takes half an hour: INGEST_CAMPAIGN=full"),
]

ERRAND = Path(__file__).with_name("errand.py")
MACHINES = 6  # for each file system
CUTS = 5  # of each machine, at most, before it may complete the session; and one more afterwards
FEW = 40  # copies, of which a random number is finalized between two cuts
UNFLUSHED = 3  # machines
MEGABYTES = {"ext4": 128, "xfs": 320, "btrfs": 256}
FILES = {
    **{f"100EOS/IMG_{number:04}.JPG": 3000 + 977 * number for number in range(120)},
    **{f"CLIP/C{number:04}.MP4": (2 << 20) + number for number in range(6)},
}
STEP, LIFE = 180.0, 900.0  # seconds, for whatever takes a few, and for a guest


class Machine:
    """A machine that copies the card, and is killed again and again."""

    def __init__(self, folder, card, kind, *, flushed=True):
        self.folder, self.card, self.kind, self.flushed = folder, card, kind, flushed
        self.disks = [
            image(folder / "archive.img", kind, MEGABYTES[kind]), image(folder / "journal.img", "ext4", 64),
        ]  # fmt: skip
        self.running = None

    def on(self):
        """Both disks are mounted, their logs replayed."""
        self.running = Guest(self.folder, self.disks, seconds=LIFE)
        self.running.mount("a", "/mnt/archive", self.kind)
        self.running.mount("b", "/mnt/journal", "ext4", "rw" if self.flushed else "rw,sync")

    def cut(self):
        """Pull the plug."""
        if self.running is not None:
            self.running.kill()
        self.running = None

    def errand(self, what, **given):
        """Send somebody (errand.py)."""
        file = self.folder / f"{what}.json"
        file.write_text(json.dumps({"folder": "/mnt/journal", **given}))
        before = () if self.flushed or what != "work" else (sys.executable, ERRAND, "unflushed")
        return self.running.start(*before, sys.executable, ERRAND, what, file)

    def cut_during(self, random, done, *arguments):
        """Run a command, and pull the plug at a random moment, after a few more than `done` copies were finalized.

        How many were known to be by then; None if it ended before.
        """
        job = self.errand("work", arguments=list(map(str, arguments)))
        wanted, seen = random.randint(done + 1, done + FEW), done
        while seen < wanted:
            told = json.loads(job.line(STEP) or "{}")
            if "finalized" not in told:
                assert told.get("code") == 0, told
                return None
            seen = told["finalized"]
        time.sleep(random.uniform(0, 0.2))  # the moment itself: nothing is waited for
        self.cut()
        return seen

    def resume(self):
        """To the end."""
        told = json.loads(self.errand("work", arguments=["resume"]).wait(STEP).out.splitlines()[-1])
        assert told["code"] == 0, told

    def check(self, *, complete):
        """Compare what the journal and the manifests acknowledge with what is there."""
        versions = {path: sorted(digests) for path, digests in self.card.versions.items()}
        given = {"card": str(self.card.folder), "roots": ["/mnt/archive"], "versions": versions, "complete": complete}
        return json.loads(self.errand("check", **given).wait(STEP).out.splitlines()[-1])


@pytest.fixture(scope="module")
def card(tmp_path_factory, make_bench):
    """What all machines copy; none can change it."""
    folder = tmp_path_factory.mktemp("card") / "CARD"
    return make_bench().card(FILES, folder, folder)


def copy_of(card):
    return ["copy", card.folder, "/mnt/archive", "--batch", "4", "--workers", "2"]


def rounds(card, folder, kind, number, go, *, flushed=True):
    """Some machines, two at a time."""

    def one(nth):
        place = folder / f"machine-{nth}"
        place.mkdir()
        machine = Machine(place, card, kind, flushed=flushed)
        try:
            go(machine, Random(f"{kind} {nth}"))
        finally:
            machine.cut()
        shutil.rmtree(place)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(number)))


@pytest.mark.parametrize("kind", MEGABYTES)
def test_what_was_acknowledged_outlives_the_machine(card, tmp_path, tally, kind):
    def go(machine, random):
        machine.on()
        command, done = copy_of(card), 0
        for _ in range(CUTS):
            known = machine.cut_during(random, done, *command)
            if known is None:
                break
            machine.on()
            found = machine.check(complete=False)
            assert found["broken"] is None, found
            assert found["finalized"] >= known, "the journal itself lost what it had committed"
            tally.update(found["tally"])
            tally["power cuts"] += 1
            command, done = ["resume"], found["finalized"]
        machine.resume()
        machine.cut()
        machine.on()
        found = machine.check(complete=True)
        assert found["broken"] is None, found
        tally.update(found["tally"])
        tally["power cuts right after it had completed"] += 1

    rounds(card, tmp_path, kind, MACHINES, go)

    assert tally["power cuts"] >= MACHINES
    assert tally["acknowledgements checked"] >= tally["power cuts"], "hardly anything was acknowledged"


@pytest.mark.parametrize("kind", MEGABYTES)
def test_a_product_that_flushes_nothing_is_caught(card, tmp_path, tally, kind):
    def go(machine, random):
        machine.on()
        known = machine.cut_during(random, 40, *copy_of(card))
        assert known is not None, "it ended before it could be killed"
        machine.on()
        found = machine.check(complete=False)
        assert found["finalized"] >= known, "the journal lost it too: this proves nothing"
        tally["power cuts"] += 1
        tally["of them with losses"] += found["broken"] is not None

    rounds(card, tmp_path, kind, UNFLUSHED, go, flushed=False)

    assert tally["of them with losses"] == UNFLUSHED
