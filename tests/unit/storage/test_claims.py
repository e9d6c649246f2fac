"""Claims: one folder, one card, however many sessions come at once."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from ingest.storage.claims import Claim, claim, release

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
