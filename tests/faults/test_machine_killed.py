"""Power cuts of a whole machine: a guest copies a card, and is killed at a random moment, memory and all.

The archive is on one disk, the journal on another one; what the guest's block layer wrote is there afterwards, what its
kernel still held in memory is not. A second guest mounts both (which replays their logs): every copy that the journal
calls `finalized` has to be there, with the right bytes, read from the disk by a kernel that never saw them. Then its
`ingest resume` is killed in the same way, and that of a third one completes the session.

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

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.environ.get("INGEST_CAMPAIGN") != "full", reason="takes half an hour: INGEST_CAMPAIGN=full"),
]

ERRAND = Path(__file__).with_name("errand.py")
ROUNDS = 1  # of two cuts each
UNFLUSHED = 3
MEGABYTES = {"ext4": 128, "xfs": 320, "btrfs": 256}
FILES = {
    **{f"100EOS/IMG_{number:04}.JPG": 3000 + 977 * number for number in range(120)},
    **{f"CLIP/C{number:04}.MP4": (2 << 20) + number for number in range(6)},
}
STEP = 180.0  # seconds, for whatever takes a few


class Machine:
    """The disks and the card of one machine, which is killed again and again."""

    def __init__(self, guest, folder, card, kind, *, flushed):
        self.guest, self.folder, self.card, self.kind, self.flushed = guest, folder, card, kind, flushed
        self.disks = [
            guest.image(folder / "archive.img", kind, MEGABYTES[kind]), guest.image(folder / "journal.img", "ext4", 64),
        ]  # fmt: skip

    def start(self):
        """Switch it on; both disks are mounted, their logs replayed."""
        made = self.guest.Guest(self.folder, self.disks, seconds=600)
        made.mount("a", "/mnt/archive", self.kind)
        made.mount("b", "/mnt/journal", "ext4", "rw" if self.flushed else "rw,sync")
        return made

    def errand(self, running, what, *before, **given):
        """Send somebody; the errand under way."""
        file = self.folder / f"{what}.json"
        file.write_text(json.dumps({"folder": "/mnt/journal", **given}))
        return running.start(*before, sys.executable, ERRAND, what, file)

    def cut(self, random, least, *arguments):
        """Run a command, and kill the machine at a random moment after so many copies were finalized.

        How many the command was known to have finalized by then; None if it had ended.
        """
        running = self.start()
        before = () if self.flushed else (sys.executable, ERRAND, "unflushed")
        job = self.errand(running, "work", *before, arguments=list(map(str, arguments)))
        wanted, seen = random.randint(least + 1, len(FILES) - 1), 0
        while seen < wanted:
            told = json.loads(job.line(STEP) or "{}")
            if "finalized" not in told:
                assert told.get("code") == 0, told
                running.kill()
                return None
            seen = told["finalized"]
        time.sleep(random.uniform(0, 0.2))  # the moment itself: nothing is waited for
        running.kill()
        return seen

    def checked(self, *, complete):
        """What a new machine finds on the disks, and of a complete session what `ingest resume` said of it."""
        with self.start() as running:
            if complete:
                resumed = json.loads(self.errand(running, "work", arguments=["resume"]).wait(STEP).out.splitlines()[-1])
                assert resumed["code"] == 0, resumed
            found = self.errand(
                running, "check", card=str(self.card.folder), roots=["/mnt/archive"], complete=complete,
                versions={path: sorted(digests) for path, digests in self.card.versions.items()},
            )  # fmt: skip
            return json.loads(found.wait(STEP).out.splitlines()[-1])


@pytest.fixture(scope="module")
def card(tmp_path_factory, make_bench):
    """What all machines copy; none can change it."""
    folder = tmp_path_factory.mktemp("card") / "CARD"
    return make_bench().card(FILES, folder, folder)


def copy_of(card):
    return ["copy", card.folder, "/mnt/archive", "--batch", "4", "--workers", "2"]


def rounds(number, one):
    """Some rounds, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(number)))


@pytest.mark.parametrize("kind", MEGABYTES)
def test_what_was_acknowledged_outlives_the_machine(guest, card, tmp_path, tally, kind):
    def one(nth):
        random = Random(f"{kind} {nth}")
        folder = tmp_path / f"machine-{nth}"
        folder.mkdir()
        machine = Machine(guest, folder, card, kind, flushed=True)
        seen = 0
        for arguments in (copy_of(card), ["resume"]):
            known = machine.cut(random, seen, *arguments)
            if known is None:
                tally["ended before its moment"] += 1
                break
            found = machine.checked(complete=False)
            assert found["broken"] is None, found
            assert found["finalized"] >= known, "the journal itself lost what it had committed"
            tally.update(found["tally"])
            tally["power cuts"] += 1
            seen = found["finalized"]
        found = machine.checked(complete=True)
        assert found["broken"] is None, found
        tally["sessions completed afterwards"] += 1
        shutil.rmtree(folder)

    rounds(ROUNDS, one)

    assert tally["power cuts"] >= ROUNDS
    assert tally["acknowledgements checked"] >= tally["power cuts"], "hardly anything was acknowledged"


@pytest.mark.parametrize("kind", MEGABYTES)
def test_a_product_that_flushes_nothing_is_caught(guest, card, tmp_path, tally, kind):
    def one(nth):
        random = Random(f"unflushed {kind} {nth}")
        folder = tmp_path / f"machine-{nth}"
        folder.mkdir()
        machine = Machine(guest, folder, card, kind, flushed=False)
        known = machine.cut(random, 40, *copy_of(card))
        assert known is not None, "it ended before it could be killed"
        found = machine.checked(complete=False)
        assert found["finalized"] >= known, "the journal lost it too: this proves nothing"
        tally["power cuts"] += 1
        tally["of them with losses"] += found["broken"] is not None
        shutil.rmtree(folder)

    rounds(UNFLUSHED, one)

    assert tally["of them with losses"] == UNFLUSHED
