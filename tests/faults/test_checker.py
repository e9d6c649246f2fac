"""The checker itself: it has to catch an engine that breaks a promise, or every other test here proves nothing."""

from __future__ import annotations

import pytest

FILES = {"DCIM/a.jpg": 5000, "DCIM/b.jpg": 70_000, "c.mov": 1_200_000}


@pytest.fixture
def session(make_card, archive, shell):
    card = make_card(FILES)
    assert shell.run("copy", card.folder, archive).code == 0
    return card


def test_a_whole_session_passes_and_every_acknowledgement_is_counted(session, archive, check):
    assert check(session, archive) == 2 * len(FILES), "one row in the journal and one in a manifest for each file"


def flip_a_byte(card, archive):
    with (archive / "CARD/c.mov").open("r+b") as stream:
        stream.seek(600_000)
        byte = stream.read(1)
        stream.seek(600_000)
        stream.write(bytes([byte[0] ^ 1]))


def cut_short(card, archive):
    with (archive / "CARD/c.mov").open("r+b") as stream:
        stream.truncate(1_000_000)


def lose_a_file(card, archive):
    (archive / "CARD/DCIM/a.jpg").unlink()


def make_a_double(card, archive):
    (archive / "CARD/DCIM/a_1.jpg").write_bytes((archive / "CARD/DCIM/a.jpg").read_bytes())


def swap_two_files(card, archive):
    folder = archive / "CARD/DCIM"
    (folder / "a.jpg").rename(folder / "x")
    (folder / "b.jpg").rename(folder / "a.jpg")
    (folder / "x").rename(folder / "b.jpg")


def leave_staging_behind(card, archive):
    (archive / ".ingest/staging/12345678").mkdir(parents=True)
    (archive / ".ingest/staging/12345678/1-1-1.part").write_bytes(b"half")


def forget_the_manifest(card, archive):
    next(archive.glob(".ingest/manifests/session=*/items-0001.parquet")).unlink()


def never_copy_a_file(card, archive):
    card.write("DCIM/late.jpg", 1000)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte, cut_short, lose_a_file, make_a_double, swap_two_files, leave_staging_behind, forget_the_manifest,
        never_copy_a_file,
    ],
    ids=lambda damage: damage.__name__,
)  # fmt: skip
def test_damage_is_caught(session, archive, check, damage):
    damage(session, archive)

    with pytest.raises(AssertionError):
        check(session, archive)


def test_a_check_of_nothing_is_a_failure(make_card, archive, check):
    with pytest.raises(AssertionError, match="nothing"):
        check(make_card({}), archive)


def test_the_journal_alone_is_not_believed(session, archive, check, ingest):
    (ingest.home / "ingest.sqlite3").unlink()

    with pytest.raises(AssertionError, match="journal"):
        check(session, archive)
