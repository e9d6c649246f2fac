from __future__ import annotations

from hashlib import sha512

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.media.c4 import ALPHABET, LENGTH, c4, sha512_of

# Published with the reference implementation (Avalanche-io/c4: its README, `id_test.go` and `tree_test.go`).
PUBLISHED = {
    b"": "c459dsjfscH38cYeXXYogktxf4Cd9ibshE3BHUo6a58hBXmRQdZrAkZzsWcbWtDg5oQstpDuni4Hirj75GEmTc1sFT",
    b"alfa": "c43zYcLni5LF9rR4Lg4B8h3Jp8SBwjcnyyeh4bc6gTPHndKuKdjUWx1kJPYhZxYt3zV6tQXpDs2shPsPYjgG81wZM1",
    b"bravo": "c42jd8KUQG9DKppN1qt5aWS3PAmdPmNutXyVTb8H123FcuU3shPxpUXsVdcouSALZ4PaDvMYzQSMYCWkb6rop9zhDa",
    b"charlie": "c44erLietE8C1iKmQ3y4ENqA9g82Exdkoxox3KEHops2ux5MTsuMjfbFRvUPsPdi9Pxc3C2MRvLxWT8eFw5XKbRQGw",
    b"delta": "c42Sv2Wi2Qo8AKbJKnUP6YTSdz8pt9aDaf2Ltx44HF1UDdXANM8Ltk6qEzpncvmVbw6FZxgBumw9Eo2jtGyaQ5gDSC",
    b"india": "c41nJ6CvPN7m7UkUA3oS2yjXYNSZ7WayxEQXWPae6wFkWwW8WChQWTu61bSeuCERu78BDK1LUEny1qHZnye3oU7DtY",
}
LEAST = "c4" + 88 * "1"
MOST = "c467rpwLCuS5DGA8KGZXKsVQ7dnPb9goRLoKfgGbLfQg9WoLUgNY77E2jT11fem3coV9nAkguBACzrU1iyZM4B8roQ"


@pytest.mark.parametrize("data", PUBLISHED)
def test_ids_are_those_that_were_published(data):
    assert c4(sha512(data).digest()) == PUBLISHED[data]


@pytest.mark.parametrize(
    ("digest", "published"), [(bytes(64), LEAST), (bytes(63) + b"\x3a", LEAST[:-2] + "21"), (64 * b"\xff", MOST)]
)
def test_the_least_and_the_most_are_those_that_were_published(digest, published):
    assert c4(digest) == published
    assert sha512_of(published) == digest


@given(st.binary(min_size=64, max_size=64))
def test_every_digest_has_an_id_of_its_own(digest):
    told = c4(digest)

    assert (len(told), told[:2]) == (LENGTH, "c4")
    assert set(told[2:]) <= set(ALPHABET)
    assert sha512_of(told) == digest


@given(st.lists(st.binary(min_size=64, max_size=64), min_size=2, max_size=2))
def test_ids_sort_as_their_digests_do(digests):
    assert sorted(map(c4, digests)) == [c4(digest) for digest in sorted(digests)]


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_what_is_no_sha512_has_no_id(length):
    with pytest.raises(ValueError, match=str(length)):
        c4(bytes(length))


@pytest.mark.parametrize(
    "told",
    ["", "c4", MOST[:-1], MOST + "1", "C4" + MOST[2:], "c5" + MOST[2:], MOST[:-1] + "R", "c4" + 88 * "z"],
)
def test_what_is_no_id_is_refused(told):
    with pytest.raises(ValueError, match=r"C4 ID|SHA-512"):
        sha512_of(told)


@pytest.mark.parametrize("character", ["0", "O", "I", "l", "+", " ", "é", "\n"])
def test_characters_that_look_like_others_are_no_digits(character):
    with pytest.raises(ValueError, match="no digit"):
        sha512_of(LEAST[:-1] + character)
