"""A journal with any bytes: whatever asks it gets an answer or an error that says what to do, and nothing else breaks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.db.faults import NAME

FUZZ = settings.get_profile("fuzz")
WORDS = re.compile(rb"\b(uuid|path|session|state|key|id|first_seen|last_seen|forgotten|number|root|version_num)\b")

# What rows hold: a row with another letter there can still be read.
TOLD = re.compile(
    rb"completed_with_errors|finalized|sidecar|video|image|evicted|direct|reread|noreplace|mirror|begun|ended|"
    rb'\{"batch"|"flush"|"auto"|null|CARD/|/[a-z]+/|md5sums'
)


@pytest.fixture(scope="module")
def sound(desk):
    return desk.journal.read_bytes()


@st.composite
def harmed(draw: st.DrawFn, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        # The header, the first bytes of a page, and anywhere: what SQLite reads most decides most.
        at = draw(st.one_of(st.integers(0, 107), st.integers(0, len(data) // 4096 - 1).map(lambda page: page * 4096),
                            st.integers(0, len(data) - 1)))  # fmt: skip
        match draw(st.sampled_from(["flip", "set", "page", "run", "word", "told"])):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "page":
                start = at - at % 4096
                data[start : start + 4096] = bytes([draw(st.integers(0, 255))]) * 4096
            case "run":
                piece = draw(st.binary(max_size=40))
                data[at : at + len(piece)] = piece[: len(data) - at]
            case "word":
                # A column of the schema, by another name or none.
                found = [each.start() for each in WORDS.finditer(data)]
                if found:
                    at = draw(st.sampled_from(found))
                    data[at] = draw(st.sampled_from(b"x_ ,"))
            case "told":
                # A value of a row, with another letter in it, or a flipped bit.
                spans = [each.span() for each in TOLD.finditer(data)]
                if spans:
                    start, end = draw(st.sampled_from(spans))
                    at = draw(st.integers(start, end - 1))
                    data[at] ^= draw(st.one_of(st.sampled_from([1 << bit for bit in range(8)]), st.integers(1, 255)))
    if draw(st.integers(0, 7)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@pytest.mark.fuzz
@FUZZ
@given(data=st.data())
def test_fuzz_a_journal_of_any_bytes_is_answered_for(desk, sound, data):
    for left in desk.home.glob(f"{NAME}*"):
        left.unlink()
    desk.journal.write_bytes(data.draw(harmed(sound)))
    commands = [
        ["sessions"], ["sessions", "--json"], ["show", desk.session[:8]], ["show", desk.session, "--items", "failed", "--json"],
        ["show", desk.session, "--differing"], ["storage", "list"], ["query", "SELECT count(*) FROM copies"],
        ["show", desk.session, "--events"], ["check", "CARD", "--copies", "1", "--same-volume"],
        ["scan", "CARD", "--to", "archive"], ["doctor"], ["resume", "--json"],
        ["storage", "forget", "archive", "--force"], ["catalog", "rebuild"], ["catalog", "rebuild", "archive"],
    ]  # fmt: skip

    for arguments in data.draw(st.lists(st.sampled_from(commands), min_size=1, max_size=3)):
        said = desk.run(arguments)
        assert said.code != 1 or said.errors or arguments == ["doctor"], (arguments, said)
