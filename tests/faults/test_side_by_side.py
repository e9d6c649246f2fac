"""Two sessions on one root at one time, started at random distances: nothing is wrong, nothing lost, nothing twice.

Both are real processes; two machines on one share are played by two journals. Of every race it is asked: do both end
in time; is everything there, byte for byte, that either acknowledged; is each card whole in one folder, and each file
there once; is nothing half-made, no lease and no claim left.

1 race of each kind by default. ``INGEST_CAMPAIGN=full``: 20 of each.
"""

from __future__ import annotations

import os
import shutil
import time
from random import Random

import pytest

from faults.netmount import NetMount

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
RACES = 20 if FULL else 1
pytestmark = pytest.mark.timeout(3600 if FULL else 200)
FAR = 0.8  # seconds between the two starts, at most: an `ingest copy` needs some 0.5 s to its first byte
FIRST, DAYS = 1_700_000_000_123_456_789, 2 * 86_400 * 10**9  # ns
NAMES = {
    **{f"DCIM/100EOS/IMG_{number:04}.JPG": 20_000 + 997 * number for number in range(60)},
    **{f"CLIP/C{number:04}.MP4": (2 << 20) + number for number in range(3)},
    "INDEX.XML": 700,
}


@pytest.fixture
def race(shell, make_card, tmp_path, tally):
    """Runs races in places of their own, one after the other, each removed when it was found in order."""

    def run(one):
        draw = Random(os.environ.get("INGEST_SEED") or None)
        for number in range(RACES):
            place = tmp_path / f"race-{number}"
            (place / "archive").mkdir(parents=True)
            one(Race(place, shell, make_card, draw))
            tally["races"] += 1
            shutil.rmtree(place)

    return run


class Race:
    """One archive, two journals, and what is brought to it."""

    def __init__(self, place, shell, make_card, draw):
        self.place, self.shell, self.make_card, self.draw = place, shell, make_card, draw
        self.archive = place / "archive"
        self.homes = [place / "home-1", place / "home-2"]

    def card(self, reader, name="EOS", *, seed=0, files=None):
        card = self.make_card({}, folder=self.place / f"reader-{reader}" / name)
        for path, size in (files or NAMES).items():
            file = card.write(path, size, seed)
            # Two cards are not filled in the same two seconds, which is all that FAT would tell.
            os.utime(file, ns=(FIRST + seed * DAYS, FIRST + seed * DAYS))
        return card

    def start(self, *commands, far=FAR):
        """Start these commands, each with its home, at some distance; return at some distance, too."""
        running = []
        for home, *arguments in commands:
            running.append(self.shell.start(*arguments, home=home))
            time.sleep(self.draw.uniform(0, far))
        return running

    def run(self, *commands):
        """The same, to their end; none may fail."""
        ended = [one.end() for one in self.start(*commands)]
        for one in ended:
            assert one.code == 0, ended
            assert one.document.get("state", "completed") == "completed", ended
        return ended

    def folder_of(self, card):
        """Where a card went: to one folder, whole."""
        some = next(iter(card.versions))
        held = [folder.name for folder in self.archive.iterdir() if folder.name != ".ingest"]
        found = [
            name for name in held if (self.archive / name / some).read_bytes() == (card.folder / some).read_bytes()
        ]
        assert len(found) == 1, (some, held)
        return found[0]

    def in_order(self, check, *cards_and_homes, tidy=True):
        """Each card is where it should be, once, and nothing else is."""
        labels = {str(card.folder): self.folder_of(card) for card, _ in cards_and_homes}
        for card, home in cards_and_homes:
            label = labels[str(card.folder)]
            check(card, self.archive, home=home, label=label, beside=set(labels.values()) - {label})
        if tidy:
            for folder in ("leases", "claims"):
                assert not list(self.archive.glob(f".ingest/{folder}/*")), folder
        verified = self.shell.run("verify", self.archive, "--strict")
        assert (verified.code, verified.document["extra"]) == (0, []), verified
        return labels


@pytest.mark.parametrize("journals", [1, 2])
def test_the_same_card_twice(race, check, journals):
    def one(run):
        card = run.card(1)
        homes = run.homes[:journals] * 2
        ended = run.run(*((home, "copy", card.folder, run.archive) for home in homes[:2]))

        assert run.in_order(check, *((card, home) for home in homes[:2])) == {str(card.folder): "EOS"}
        assert sum(each.document["items"]["finalized"] for each in ended) == len(card.versions), "each file came once"

    race(one)


@pytest.mark.parametrize("journals", [1, 2])
def test_two_cards_of_one_name(race, check, journals):
    def one(run):
        cards = [run.card(number, seed=number) for number in (1, 2)]
        homes = (run.homes[:journals] * 2)[:2]
        run.run(*((home, "copy", card.folder, run.archive) for card, home in zip(cards, homes, strict=True)))

        labels = run.in_order(check, *zip(cards, homes, strict=True))
        assert sorted(labels.values()) == ["EOS", "EOS_2"]

    race(one)


def test_different_cards(race, check):
    def one(run):
        cards = [run.card(number, f"CARD{number}", seed=number) for number in (1, 2)]
        run.run(*((home, "copy", card.folder, run.archive) for card, home in zip(cards, run.homes, strict=True)))

        run.in_order(check, *zip(cards, run.homes, strict=True))

    race(one)


def test_one_is_killed_while_the_other_copies_the_same_card(race, check, tally):
    def one(run):
        card = run.card(1)
        first, second = run.start(*((home, "copy", card.folder, run.archive) for home in run.homes), far=FAR / 2)
        if first.process.poll() is None:
            first.process.kill()
        tally["killed"] += first.end_killed()
        other = second.end()
        assert (other.code, other.document["state"]) == (0, "completed"), other

        # Whatever the first one left is its own to complete: the second has touched none of it.
        resumed = run.shell.run("resume", home=run.homes[0])
        assert resumed.code == 0, resumed
        told = [home for home in run.homes if (home / "ingest.sqlite3").exists() and check_began(home, card)]
        run.in_order(check, *((card, home) for home in told))

    def check_began(home, card):
        from contextlib import closing
        from sqlite3 import OperationalError, connect

        with closing(connect(home / "ingest.sqlite3")) as journal:
            try:
                return journal.execute("SELECT count(*) FROM copies").fetchone()[0] > 0
            except OperationalError:
                return False  # it was killed before there were tables

    race(one)


def test_a_repair_beside_a_copy(race, check):
    def one(run):
        old, new = run.card(1, "OLD"), run.card(2, "NEW", seed=2)
        backup = run.place / "backup"
        backup.mkdir()
        run.run((run.homes[0], "copy", old.folder, run.archive, "--also", backup))
        for path in ("CLIP/C0001.MP4", "DCIM/100EOS/IMG_0007.JPG"):
            with (run.archive / "OLD" / path).open("r+b") as stream:
                stream.seek(1000)
                stream.write(b"damage")

        repaired, copied = run.run(
            (run.homes[0], "repair", run.archive, "--from", backup), (run.homes[1], "copy", new.folder, run.archive)
        )

        assert (len(repaired.document["repaired"]), copied.document["items"]["finalized"]) == (2, len(NAMES))
        run.in_order(check, (old, run.homes[0]), (new, run.homes[1]))

    race(one)


@pytest.mark.root
@pytest.mark.usefixtures("netmount")
def test_two_machines_on_one_share(tmp_path, shell, make_card, tally, check):
    share = NetMount(tmp_path / "net", "plain", "400mbit")
    try:
        for number in range(RACES):
            run = Race(tmp_path / f"race-{number}", shell, make_card, Random(os.environ.get("INGEST_SEED") or None))
            archive, served = share.mount / str(number), share.served / str(number)
            served.mkdir()
            run.archive = archive
            same, twins = run.card(1, "SAME"), [run.card(n, "EOS", seed=n) for n in (2, 3)]
            run.run(*((home, "copy", same.folder, archive) for home in run.homes))
            run.run(*((home, "copy", card.folder, archive) for home, card in zip(run.homes, twins, strict=True)))

            run.archive = served
            told = [(same, run.homes[0]), (same, run.homes[1]), *zip(twins, run.homes, strict=True)]
            labels = {str(card.folder): run.folder_of(card) for card, _ in told}
            assert sorted(labels.values()) == ["EOS", "EOS_2", "SAME"]
            for card, home in told:
                label = labels[str(card.folder)]
                check(
                    card,
                    archive,
                    home=home,
                    label=label,
                    beside=set(labels.values()) - {label},
                    truth={archive: served},
                )
            tally["races"] += 2
    finally:
        share.close()
