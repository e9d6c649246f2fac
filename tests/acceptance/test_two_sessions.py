"""Two sessions of one card at one time: nobody fails, nothing is there twice, every byte is right."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def large(plant, tmp_path):
    """A card with enough on it that two runs meet."""
    files = {f"DCIM/{n % 5}/{n:04}.jpg": b"%d " % n * (n % 400) for n in range(400)}
    return plant(tmp_path / "CARD", {**files, "clip.mov": b"0123456789abcdef" * 200_000})


@pytest.mark.parametrize("homes", ["one journal", "a journal each"])
def test_the_same_card_to_the_same_root_at_the_same_time(ingest, tell, large, archive, tmp_path, media, homes):
    other = ingest if homes == "one journal" else type(ingest)(tmp_path / "other-home")
    running = [who.start("copy", large, archive, "--json") for who in (ingest, other)]

    said = [process.communicate(timeout=120) for process in running]

    assert [process.returncode for process in running] == [0, 0], said
    documents = [json.loads(out) for out, _ in said]
    assert [document["state"] for document in documents] == ["completed", "completed"]
    for document in documents:
        assert document["items"]["finalized"] + document["items"]["duplicate"] == 401
    assert sum(document["items"]["finalized"] for document in documents) == 401
    assert media(archive / "CARD") == media(large)
    assert sorted(entry.name for entry in archive.iterdir()) == [".ingest", "CARD"]
    assert list((archive / ".ingest/staging").iterdir()) == []
    checked = tell("verify", archive, "--strict")
    assert checked.code == 0, checked.document
    assert (checked.document["ok"], checked.document["extra"]) == (401, [])


def test_the_same_card_to_two_roots_at_the_same_time(ingest, large, archive, backup, media):
    running = [ingest.start("copy", large, root, "--json") for root in (archive, backup)]

    said = [process.communicate(timeout=120) for process in running]

    assert [process.returncode for process in running] == [0, 0], said
    assert [json.loads(out)["items"]["finalized"] for out, _ in said] == [401, 401]
    assert media(archive / "CARD") == media(backup / "CARD") == media(large)


def test_two_cards_of_one_name_at_the_same_time_lose_nothing(ingest, tell, plant, tmp_path, archive):
    cards = [
        plant(tmp_path / f"reader{n}" / "EOS", {f"{i:03}.jpg": b"card %d file %d" % (n, i) for i in range(100)}, later=n * 100_000)
        for n in (1, 2)
    ]  # fmt: skip
    running = [ingest.start("copy", card, archive, "--json") for card in cards]

    said = [process.communicate(timeout=120) for process in running]

    assert [process.returncode for process in running] == [0, 0], said
    assert [json.loads(out)["items"]["finalized"] for out, _ in said] == [100, 100]
    arrived = sorted(file.read_bytes() for file in archive.glob("EOS*/*.jpg"))
    assert arrived == sorted(b"card %d file %d" % (n, i) for n in (1, 2) for i in range(100))
    assert tell("verify", archive, "--strict").document["ok"] == 200
