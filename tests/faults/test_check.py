"""Whether a card may be erased is asked of disks that lie, too: any doubt keeps the card."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root

FILES = {"A.JPG": 10_000, "B.MOV": 3_000_000, "C.JPG": 70_000}
ONE = ("--copies", "1", "--accept-reread", "--same-volume")


@pytest.fixture
def card(make_card):
    return make_card(FILES)


def reasons(ended):
    return {each["path"].rpartition("/")[2]: each["reason"] for each in ended.document["not_covered"]}


def test_a_card_that_cannot_be_read_any_more_is_not_safe(faulty_disk, make_card, archive, shell):
    disk = faulty_disk()
    card = make_card(FILES, disk.mount / "CARD")
    assert shell.run("copy", card.folder, archive).code == 0
    disk.rules({"op": "read", "err": "EIO", "path": "*B.MOV", "count": 0})

    ended = shell.run("check", card.folder, *ONE)

    assert disk.hits()
    assert ended.code == 1
    assert list(reasons(ended)) == ["B.MOV"]
    assert "cannot be read" in reasons(ended)["B.MOV"]


def test_a_card_that_reads_otherwise_now_is_not_safe(faulty_disk, make_card, archive, shell):
    disk = faulty_disk()
    card = make_card(FILES, disk.mount / "CARD")
    assert shell.run("copy", card.folder, archive).code == 0
    disk.rules({"op": "read", "act": "flip", "path": "*B.MOV", "count": 0})

    ended = shell.run("check", card.folder, *ONE)

    assert disk.hits()
    assert (ended.code, reasons(ended)) == (1, {"B.MOV": "no archive here has it"})


@pytest.mark.parametrize(
    "rule", [{"act": "flip"}, {"act": "short", "size": 100}, {"err": "EIO"}], ids=["flip", "short", "EIO"]
)
def test_a_manifest_that_cannot_be_read_as_it_was_written_does_not_count(faulty_disk, card, shell, rule):
    disk = faulty_disk()
    assert shell.run("copy", card.folder, disk.mount).code == 0
    assert shell.run("check", card.folder, *ONE).code == 0
    disk.rules({"op": "read", **rule, "path": "*/items-0001.parquet", "count": 0})

    ended = shell.run("check", card.folder, *ONE)

    assert disk.hits()
    assert ended.code == 1
    assert ended.document["covered"] == 0
    assert "cannot be believed" in ended.document["absent"][0]["reason"]


@pytest.mark.parametrize("rule", [{"act": "flip"}, {"err": "EIO"}], ids=["flip", "EIO"])
def test_a_duplicate_that_reads_otherwise_does_not_count(faulty_disk, card, shell, rule):
    disk = faulty_disk()
    for _ in range(2):
        assert shell.run("copy", card.folder, disk.mount).code == 0
    disk.rules({"op": "read", **rule, "path": "*CARD/B.MOV", "count": 0})

    ended = shell.run("check", card.folder, *ONE)

    assert disk.hits()
    assert ended.code == 1
    assert list(reasons(ended)) == ["B.MOV"]


def test_an_archive_whose_daemon_died_is_no_archive_without_files(faulty_disk, card, shell):
    disk = faulty_disk()
    assert shell.run("copy", card.folder, disk.mount).code == 0
    disk.rules({"op": "getattr", "act": "die", "count": 0})

    ended = shell.run("check", card.folder, *ONE)

    assert ended.code not in (0, 7)
    assert "not there" in str(ended.document) or "error" in ended.document
