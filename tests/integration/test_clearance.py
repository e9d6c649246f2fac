"""The gate that whatever deletes sources has to pass: verdicts on a finished session's files, and erasing by their proof."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing

import pytest

from ingest import api, engine
from ingest.db.faults import NAME
from ingest.errors import DamagedJournalError, MissingError, UsageError
from ingest.pipeline import proof
from ingest.pipeline.proof import Deletable, Kept
from ingest.storage.erase import Outcome, erase


@pytest.fixture
def judged(place):
    """The verdicts on the files of a session, by path below the source."""

    def judge(report, **terms):
        terms = {"same_volume": True, "accept_reread": True, **terms}
        return {os.fsdecode(each.path): each for each in api.clearance(place.home, report.id, **terms)}

    return judge


def erased(place, verdicts):
    """Erase what may be, as `move` would."""
    root = engine.Root(os.fsencode(place.card), cross=True)
    told = [erase(root, each.path, each.proof.seen) for each in verdicts.values() if isinstance(each, Deletable)]
    return {os.fsdecode(each.path): each.outcome for each in told}


def left(place):
    return sorted(str(path.relative_to(place.card)) for path in place.card.rglob("*") if path.is_file())


def test_what_is_proven_everywhere_may_be_erased_and_the_proof_tells_where_it_is(place, judged):
    files = place.fill(30)
    report = place.copy(place.archive(0), place.archive(1))

    verdicts = judged(report)

    assert set(verdicts) == set(files)
    for name, verdict in verdicts.items():
        assert isinstance(verdict, Deletable)
        assert verdict.proof.blake3 == engine.blake3(files[name])
        assert {copy.root for copy in verdict.proof.copies} == {root.uuid for root in report.roots}
        assert [os.fsdecode(copy.path) for copy in verdict.proof.copies] == [f"CARD/{name}"] * 2
        assert verdict.proof.seen.size == len(files[name])
    assert set(erased(place, verdicts).values()) == {Outcome.ERASED}
    assert left(place) == []
    assert place.arrived(place.archive(0)) == place.arrived(place.archive(1)) == files


@pytest.mark.root
def test_where_something_is_mounted_on_the_card_what_lies_beneath_is_told(place, judged):
    place.fill(1)
    (place.card / "SUB").mkdir()
    report = place.copy()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place.card / "SUB"], check=True)
    try:
        verdicts = judged(report)
    finally:
        subprocess.run(["umount", place.card / "SUB"], check=True)

    assert isinstance(verdicts["SUB"], Kept)
    assert "what lies beneath cannot be seen" in verdicts["SUB"].reason
    assert isinstance(verdicts["DCIM/000/C00000.MP4"], Deletable)


def test_every_destination_has_to_hold_it_unless_fewer_are_asked_for(place, judged):
    place.fill(3)
    report = place.copy(place.archive(0), place.archive(1))
    (place.archive(1) / "CARD/DCIM/000/C00001.MP4").unlink()

    strict, one = judged(report), judged(report, copies=1)

    kept = strict["DCIM/000/C00001.MP4"]
    assert isinstance(kept, Kept)
    assert "1 of 2 copies count" in kept.reason
    assert kept.advice
    assert sum(isinstance(each, Deletable) for each in strict.values()) == 2
    assert all(isinstance(each, Deletable) for each in one.values())


def test_a_journal_that_cannot_tell_what_verify_found_lets_nothing_be_erased(place, judged):
    place.fill(3)
    report = place.copy(place.archive(0), place.archive(1))
    with closing(sqlite3.connect(place.home / NAME)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'locations'").fetchone()
    with (place.home / NAME).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)

    with pytest.raises(DamagedJournalError) as refused:
        judged(report)

    assert "ingest catalog rebuild" in refused.value.advice


def test_two_destinations_on_one_volume_do_not_let_anything_be_erased_unless_that_is_allowed(place, judged):
    place.fill(2)
    report = place.copy(place.archive(0), place.archive(1))

    assert all(isinstance(each, Kept) for each in judged(report, same_volume=False).values())


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"edited after it was copied"),
        lambda path: os.utime(path, ns=(0, 0)),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.symlink_to("C00000.MP4")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["edited", "touched", "gone", "a link", "a folder"],
)
def test_a_source_that_is_not_what_was_copied_stays(place, judged, change):
    place.fill(3)
    report = place.copy()
    change(place.card / "DCIM/000/C00001.MP4")

    verdicts = judged(report)

    assert isinstance(verdicts["DCIM/000/C00001.MP4"], Kept)
    assert sum(isinstance(each, Deletable) for each in verdicts.values()) == 2


def exchanged(path, data=None):
    """Another file under this name, of the same size and time, as `mv` puts it there."""
    facts = path.stat()
    other = path.with_name("other")
    other.write_bytes(data or bytes(facts.st_size))
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.rename(path)


def rewritten(path):
    facts = path.stat()
    with path.open("r+b") as file:
        file.write(bytes(facts.st_size))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("harm", [exchanged, rewritten])
def test_other_bytes_of_the_same_size_and_time_stay(place, judged, harm):
    place.fill(3)
    report = place.copy()
    harm(place.card / "DCIM/000/C00001.MP4")

    verdicts = judged(report)

    kept = verdicts["DCIM/000/C00001.MP4"]
    assert isinstance(kept, Kept)
    assert kept.reason == "it holds other bytes than were copied"
    assert sum(isinstance(each, Deletable) for each in verdicts.values()) == 2


@pytest.mark.parametrize("harm", [exchanged, rewritten])
def test_other_bytes_of_the_same_size_and_time_that_come_after_the_verdict_are_spared(place, judged, harm):
    place.fill(2)
    verdicts = judged(place.copy())
    harm(place.card / "DCIM/000/C00001.MP4")

    assert erased(place, verdicts)["DCIM/000/C00001.MP4"] is Outcome.SPARED
    assert left(place) == ["DCIM/000/C00001.MP4"]


def test_another_file_with_the_very_bytes_that_were_copied_may_be_erased(place, judged):
    files = place.fill(1)
    report = place.copy()
    exchanged(place.card / "DCIM/000/C00000.MP4", files["DCIM/000/C00000.MP4"])

    assert erased(place, judged(report)) == {"DCIM/000/C00000.MP4": Outcome.ERASED}


def test_a_file_that_is_exchanged_after_the_verdict_is_spared(place, judged):
    place.fill(2)
    verdicts = judged(place.copy())
    place.put("DCIM/000/C00001.MP4", b"(another)" * 111)

    assert erased(place, verdicts) == {
        "DCIM/000/C00000.MP4": Outcome.ERASED, "DCIM/000/C00001.MP4": Outcome.SPARED,
    }  # fmt: skip
    assert left(place) == ["DCIM/000/C00001.MP4"]


def test_a_group_is_erased_whole_or_not_at_all(place, judged):
    for name in ("A/IMG_1.CR3", "A/IMG_1.JPG", "A/IMG_1.CR3.xmp", "A/IMG_2.CR3", "B/IMG_1.JPG"):
        place.put(name, name.encode())
    report = place.copy()
    (place.archive() / "CARD/A/IMG_1.CR3.xmp").unlink()

    verdicts = judged(report)

    assert {name for name, each in verdicts.items() if isinstance(each, Deletable)} == {"A/IMG_2.CR3", "B/IMG_1.JPG"}
    kept = verdicts["A/IMG_1.CR3"]
    assert isinstance(kept, Kept)
    assert "A/IMG_1.CR3.xmp, which belongs to it, has to stay" in kept.reason


def test_what_the_user_left_out_keeps_its_group(place, judged):
    for name in ("IMG_1.CR3", "IMG_1.JPG", "IMG_2.CR3", ".DS_Store"):
        place.put(name, name.encode())
    report = place.copy(exclude=("*.JPG",))

    verdicts = judged(report)

    assert set(verdicts) == {"IMG_1.CR3", "IMG_1.JPG", "IMG_2.CR3"}, "litter is nobody's to erase"
    assert [name for name, each in verdicts.items() if isinstance(each, Deletable)] == ["IMG_2.CR3"]
    assert "excluded (--exclude)" in verdicts["IMG_1.JPG"].reason


def test_a_duplicate_is_read_back_and_compared_before_it_counts(place, judged):
    files = place.fill(2)
    place.copy()
    report = place.copy()
    assert report.items["duplicate"] == 2
    rotten = place.archive() / "CARD/DCIM/000/C00001.MP4"
    facts = rotten.stat()
    rotten.write_bytes(bytes(len(files["DCIM/000/C00001.MP4"])))
    os.utime(rotten, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    verdicts = judged(report)

    sound, kept = verdicts["DCIM/000/C00000.MP4"], verdicts["DCIM/000/C00001.MP4"]
    assert isinstance(sound, Deletable)
    assert [copy.read_now for copy in sound.proof.copies] == [True]
    assert isinstance(kept, Kept)
    assert "holds other bytes than were recorded" in kept.reason


def test_what_no_part_of_a_manifest_tells_of_stays_although_the_journal_knows_it(place, judged):
    place.fill(2)
    report = place.copy()
    for part in (place.archive() / ".ingest/manifests").glob("*/items-*"):
        part.unlink()

    assert all(isinstance(each, Kept) for each in judged(report).values())


def test_a_session_that_has_not_ended_lets_nothing_be_erased(place):
    place.fill(50)
    report = place.copy(stopped=lambda: True)
    assert report.state.paused

    with pytest.raises(UsageError, match=r"paused\(user\)"):
        list(api.clearance(place.home, report.id))


def test_a_session_whose_archives_were_forgotten_gets_advice_that_can_be_followed(place):
    place.fill(1)
    report = place.copy()
    api.forget(place.home, os.fsencode(place.archive()))

    with pytest.raises(MissingError, match="none of this session's archives") as caught:
        list(api.clearance(place.home, report.id))

    assert "--root" not in caught.value.advice
    uuid, archive = report.roots[0].uuid.encode(), os.fsencode(place.archive())
    api.relocate(place.home, uuid, archive)
    assert [type(each) for each in api.clearance(place.home, report.id, same_volume=True, accept_reread=True)] == [
        Deletable
    ]


def test_pages_end_where_groups_do(place, judged, monkeypatch):
    monkeypatch.setattr(proof, "PAGE", 3)
    for number in range(10):
        for end in ("CR3", "JPG"):
            place.put(f"IMG_{number}.{end}", b"%d" % number)
    report = place.copy()
    (place.archive() / "CARD/IMG_4.JPG").unlink()
    (place.archive() / "CARD/IMG_4.CR3").unlink()

    verdicts = judged(report)

    assert {name for name, each in verdicts.items() if isinstance(each, Kept)} == {"IMG_4.CR3", "IMG_4.JPG"}
    assert len(verdicts) == 20
