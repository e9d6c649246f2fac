"""Claims: one folder, one card, however many sessions come at once."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from ingest import engine
from ingest.storage import claims
from ingest.storage.claims import Claim, card_place, claim, release
from ingest.storage.volumes import Mount

OURS = Claim("session-1", "disk 1", "3-100-7")
OTHER = Claim("session-2", "disk 2", "3-100-8")


@pytest.fixture
def place(tree):
    return tree("root")


def test_who_comes_first_has_the_folder(place):
    assert claim(place.root, b"EOS", OURS) is None
    assert claim(place.root, b"EOS", OTHER) == OURS
    assert claim(place.root, b"EOS_2", OTHER) is None


def test_a_session_finds_its_own_claim_again(place):
    assert claim(place.root, b"EOS", OURS) is None
    assert claim(place.root, b"EOS", replace(OURS, place="another boot")) is None


def test_a_folder_that_was_released_is_free(place):
    claim(place.root, b"EOS", OURS)
    claim(place.root, b"DCIM", OURS)
    claim(place.root, b"other", OTHER)

    release(place.root, OURS.session)

    assert os.listdir(place.path / ".ingest/claims") == ["other"]
    assert claim(place.root, b"EOS", OTHER) is None


def test_one_folder_is_released_alone_and_never_anothers(place):
    claim(place.root, b"EOS", OURS)
    claim(place.root, b"DCIM", OURS)

    release(place.root, OURS.session, b"DCIM")
    release(place.root, OTHER.session, b"EOS")

    assert os.listdir(place.path / ".ingest/claims") == ["EOS"]


def test_nothing_to_release_is_no_error(place):
    release(place.root, OURS.session)
    release(place.root, OURS.session, b"EOS")
    assert not (place.path / ".ingest").exists()


@pytest.mark.parametrize("label", [b"EOS", b"\xff\xfe", b"x" * 255, b"a b\nc"])
def test_any_label_can_be_claimed(place, label):
    assert claim(place.root, label, OURS) is None
    assert claim(place.root, label, OTHER) == OURS


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff"])
def test_what_a_crash_left_half_written_is_nobodys(place, data):
    place.put(b".ingest/claims/EOS", data)

    assert claim(place.root, b"EOS", OURS) is None
    assert claim(place.root, b"EOS", OTHER) == OURS


UUID = "1234-ABCD"


def test_a_card_with_a_uuid_is_known_after_a_replug_and_a_restart(tree, monkeypatch):
    card, again, other = tree("DCIM"), tree("again"), tree("other")
    table = [Mount(7, b"/", b"/", "ext4", b"/dev/sda1", read_only=False)]
    monkeypatch.setattr(claims, "mounts", lambda: table)
    before = card_place(card.root, UUID)
    # Another boot, another device number, other inodes, and another place where it is mounted.
    table += [
        Mount(9, card.name, again.name, "vfat", b"/dev/sdb1", read_only=False),
        Mount(9, card.name + b"/other", other.name, "vfat", b"/dev/sdb1", read_only=False),
    ]
    monkeypatch.setattr(claims, "machine", lambda: "another boot")

    assert card_place(again.root, UUID) == before
    assert card_place(again.root, "4321-ABCD") != before
    assert card_place(other.root, UUID) != before


def test_without_one_it_is_known_to_this_boot_only(tree, monkeypatch):
    card = tree("DCIM")
    before = card_place(card.root, None)
    assert card_place(card.root, None) == before
    assert card_place(tree("other").root, None) != before

    monkeypatch.setattr(claims, "machine", lambda: "another boot")

    assert card_place(card.root, None) != before


@pytest.mark.root
def test_a_bind_mount_of_a_card_is_that_card(tree, bind):
    card = tree("DCIM")
    bound = bind(card.path)

    assert card_place(engine.Root(os.fsencode(bound)), UUID) == card_place(card.root, UUID)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"x" * 255, "\u00e9".encode() * 120])
def test_the_place_of_any_folder_can_be_written_and_read_again(tree, place, name):
    card = tree(os.fsdecode(name))
    ours = replace(OURS, place=card_place(card.root, UUID))
    assert claim(place.root, b"EOS", ours) is None

    assert claim(place.root, b"EOS", OTHER) == ours


def test_a_claim_that_an_older_version_made_still_stands(place):
    place.put(
        b".ingest/claims/EOS", b'{"session": "old", "place": "boot pid:[4026531836] 1234-ABCD 2", "likeness": "1-2-3"}'
    )

    assert claim(place.root, b"EOS", OURS) == Claim("old", f"boot pid:[4026531836] {UUID} 2", "1-2-3")


def test_one_card_is_known_by_its_place_or_by_what_is_on_it():
    assert OURS.same_card(replace(OTHER, place=OURS.place))
    assert OURS.same_card(replace(OTHER, likeness=OURS.likeness))
    assert not OURS.same_card(OTHER)


def test_of_many_at_once_one_gets_it(place):
    claims = [Claim(f"session-{n}", f"disk {n}", f"{n}") for n in range(16)]
    told: list[Claim | None] = [None] * len(claims)
    start = threading.Barrier(len(claims))

    def run(number):
        start.wait()
        told[number] = claim(place.root, b"EOS", claims[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(claims))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert told.count(None) == 1
    winner = claims[told.index(None)]
    assert {other for other in told if other is not None} == {winner}
