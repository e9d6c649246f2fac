"""Lists on a card: found, read page by page, and placed; nothing in one can lead out or break a session."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest

from ingest.model.states import ItemState
from ingest.pipeline import lists as module
from ingest.pipeline.lists import lists_among, read_lists
from ingest.session.judged import sums_report
from ingest.session.sums import Sums

CLIPS = {b"DCIM/A.MOV": b"footage a", b"DCIM/B.MOV": b"footage b", b"DCIM/SUB/C.MOV": b"footage c"}


def md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


def lines(files: dict[bytes, bytes], cut: int = 0) -> bytes:
    return b"".join(b"%s  %s\n" % (md5(data).hex().encode(), name[cut:]) for name, data in files.items())


class Card:
    """A card with files, scanned, and its lists."""

    def __init__(self, session, make) -> None:
        self.session = session
        self.book = Sums(session.database, session.facts.key)
        self._make = make
        self._number = 0
        self.numbers: dict[bytes, int] = {}
        self.heeded = 0

    def put(self, files: dict[bytes, bytes], **changes: object) -> None:
        for name, data in files.items():
            self.session.sources[0].put(name, data)
            self._number += 1
            self.numbers[name] = self._number
            found = self._make(self._number, name, len(data), **changes)
            self.session.add(found)
            self.book.found(lists_among([found]))

    def heed(self) -> None:
        self.heeded += 1

    def read(self) -> None:
        self.book.begin()
        read_lists(self.book, self.session.journal, 0, self.session.sources[0].root, self.heed)

    def said(self, name: bytes) -> dict[tuple[int, str], bytes]:
        return self.book.said(list(self.numbers.values()), self.numbers[name])

    @property
    def told(self):
        whole = sums_report(self.session.journal, self.session.facts.sources)
        return {one.path.removeprefix(self.session.sources[0].name + b"/"): one for one in whole.each}


@pytest.fixture
def card(session, item):
    made = Card(session, item)
    made.put(CLIPS)
    return made


def test_what_a_list_says_is_stored_by_item(card):
    card.put({b"md5sums.txt": lines(CLIPS)})
    card.read()

    assert card.said(b"md5sums.txt") == {(card.numbers[name], "md5"): md5(data) for name, data in CLIPS.items()}
    assert card.told[b"md5sums.txt"].entries == 3


def test_paths_begin_at_the_list(card):
    card.put(
        {
            b"DCIM/x.md5": lines(CLIPS, cut=5),
            b"DCIM/SUB/up.md5": md5(CLIPS[b"DCIM/A.MOV"]).hex().encode() + b"  ../A.MOV",
        }
    )
    card.read()

    assert len(card.said(b"DCIM/x.md5")) == 3
    assert card.said(b"DCIM/SUB/up.md5") == {(card.numbers[b"DCIM/A.MOV"], "md5"): md5(CLIPS[b"DCIM/A.MOV"])}


def test_a_sidecar_of_one_file_needs_no_name(card):
    card.put({b"DCIM/A.MOV.md5": md5(CLIPS[b"DCIM/A.MOV"]).hex().encode()})
    card.read()

    assert len(card.said(b"DCIM/A.MOV.md5")) == 1


def test_windows_paths_and_other_forms_of_accents_are_found(card):
    composed, apart = "ä.MOV".encode(), "a\u0308.MOV".encode()
    card.put({b"DCIM/" + apart: b"umlaut"})
    card.put({b"win.md5": lines({b"DCIM\\SUB\\C.MOV": b"footage c", b"DCIM\\" + composed: b"umlaut"})})
    card.read()

    assert card.told[b"win.md5"].missing == 0
    assert len(card.said(b"win.md5")) == 2


def test_a_name_that_is_there_as_it_is_written_comes_first(card):
    card.put({b"DCIM\\A.MOV": b"a name with a backslash"})
    card.put({b"x.md5": b"\\" + lines({rb"DCIM\\A.MOV": b"a name with a backslash"})})
    card.read()

    assert list(card.said(b"x.md5")) == [(card.numbers[b"DCIM\\A.MOV"], "md5")]


def test_files_that_are_not_on_the_card_are_counted_and_one_is_named(card):
    card.put({b"x.md5": lines({**CLIPS, b"DCIM/GONE.MOV": b"", b"DCIM/GONE2.MOV": b""})})
    card.read()

    one = card.told[b"x.md5"]
    assert (one.entries, one.missing, one.first_missing) == (5, 2, b"DCIM/GONE.MOV")


def test_what_lies_below_something_left_out_is_not_missing(card):
    card.put({b"PROXY": b""}, state=ItemState.EXCLUDED, reason="--exclude")
    card.put({b"x.md5": lines({b"PROXY/SUB/A.MOV": b"", b"PROXY2/A.MOV": b""})})
    card.read()

    one = card.told[b"x.md5"]
    assert (one.entries, one.missing, one.unchecked) == (2, 1, 1)


@pytest.mark.parametrize("path", [b"/etc/passwd", b"../DCIM/A.MOV", b"C:\\A.MOV"])
def test_a_path_that_leaves_the_card_is_a_problem(card, path):
    card.put({b"x.md5": lines({path: b"", **CLIPS})})
    card.read()

    one = card.told[b"x.md5"]
    assert (one.entries, one.missing, one.problems) == (3, 0, 1)
    assert "does not lie on the card" in one.problem


def test_a_list_that_lists_itself_is_no_alarm(card):
    card.put({b"md5sums.txt": lines({**CLIPS, b"md5sums.txt": b""})})
    card.read()

    one = card.told[b"md5sums.txt"]
    assert (one.entries, one.problem) == (3, "it speaks of itself")


@pytest.mark.parametrize("page", [1, 2, 2000])
def test_a_file_named_twice_is_one_entry_and_a_problem_if_the_digests_differ(card, monkeypatch, page):
    monkeypatch.setattr(module, "PAGE", page)
    card.put({b"x.md5": lines(CLIPS) + lines(CLIPS) + lines({b"DCIM/A.MOV": b"another"})})
    card.read()

    one = card.told[b"x.md5"]
    assert (one.entries, one.problems) == (3, 1)
    assert "DCIM/A.MOV: named twice" in one.problem
    assert card.said(b"x.md5")[card.numbers[b"DCIM/A.MOV"], "md5"] == md5(b"footage a")


def test_anything_may_be_called_checksums(card):
    card.put({b"checksums.json": b"{}", b"checksums.txt": lines(CLIPS)})
    card.read()

    assert list(card.told) == [b"checksums.txt"]


def test_a_list_that_means_nothing_is_told_and_not_read_to_its_end(card):
    card.put({b"x.md5": b"nothing\n" * 50_000})
    card.read()

    one = card.told[b"x.md5"]
    assert one.entries == 0
    assert 1000 < one.problems < 5000


def test_a_list_that_is_too_long_is_not_read(card, monkeypatch):
    monkeypatch.setattr(module, "LIST_BYTES", 10)
    card.put({b"x.md5": lines(CLIPS)})
    card.read()

    assert "it is not read" in card.told[b"x.md5"].problem


def test_excluded_lists_are_nobodys_word(card):
    card.put({b"x.md5": lines(CLIPS)}, state=ItemState.EXCLUDED, reason="--exclude")
    card.read()

    assert card.told == {}


def test_many_lists_share_commits(card, monkeypatch):
    card.put({b"%04d.MOV.md5" % number: md5(b"").hex().encode() for number in range(300)})
    kept = []
    keep = Sums.keep
    monkeypatch.setattr(Sums, "keep", lambda book, rows, read: kept.append(len(read)) or keep(book, rows, read))
    card.read()

    assert kept == [300]
    assert card.heeded >= 300


# Histories


def generation(*entries: tuple[bytes, bytes], action: str = "original") -> bytes:
    hashes = b"".join(
        b'<hash><path size="%d">%s</path><md5 action="%s">%s</md5></hash>' % (len(data), path, action.encode(), md5(data).hex().encode())
        for path, data in entries
    )  # fmt: skip
    return (
        b'<?xml version="1.0"?><hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0"><hashes>%s</hashes></hashlist>' % hashes
    )


def test_the_newest_generation_that_speaks_of_a_file_is_believed(card):
    old = generation(*((name, b"before") for name in CLIPS))
    new = generation((b"DCIM/A.MOV", b"footage a"))
    card.put({b"ascmhl/0001_CARD.mhl": old, b"ascmhl/0002_CARD.mhl": new})
    card.put({b"x.md5": lines({b"DCIM/A.MOV": b"footage a"})})
    card.read()

    assert card.said(b"ascmhl/0002_CARD.mhl") == {(card.numbers[b"DCIM/A.MOV"], "md5"): md5(b"footage a")}
    first = card.said(b"ascmhl/0001_CARD.mhl")
    assert set(first) == {(card.numbers[name], "md5") for name in CLIPS if name != b"DCIM/A.MOV"}
    assert card.told[b"ascmhl/0001_CARD.mhl"].entries == 2


def test_a_generation_that_says_failed_leaves_the_word_to_the_one_before(card):
    card.put({
        b"ascmhl/0001_CARD.mhl": generation((b"DCIM/A.MOV", b"as it was")),
        b"ascmhl/0002_CARD.mhl": generation((b"DCIM/A.MOV", b"footage a"), action="failed"),
    })  # fmt: skip
    card.read()

    assert card.said(b"ascmhl/0002_CARD.mhl") == {}
    assert card.said(b"ascmhl/0001_CARD.mhl") == {(card.numbers[b"DCIM/A.MOV"], "md5"): md5(b"as it was")}
    assert "failed" in card.told[b"ascmhl/0002_CARD.mhl"].problem


def test_two_histories_do_not_know_of_each_other(card):
    card.put({
        b"DCIM/ascmhl/0001_DCIM.mhl": generation((b"A.MOV", b"footage a")),
        b"ascmhl/0001_CARD.mhl": generation((b"DCIM/A.MOV", b"footage a")),
    })  # fmt: skip
    card.read()

    assert len(card.said(b"DCIM/ascmhl/0001_DCIM.mhl")) == 1
    assert len(card.said(b"ascmhl/0001_CARD.mhl")) == 1


# What can happen meanwhile


def test_what_was_read_is_not_read_again(card):
    card.put({b"x.md5": lines(CLIPS)})
    card.read()
    (card.session.sources[0].path / "x.md5").unlink()
    card.read()

    assert len(card.said(b"x.md5")) == 3


def test_a_list_that_went_away_is_told_and_tried_again(card):
    card.put({b"x.md5": lines(CLIPS), b"y.md5": lines(CLIPS)})
    (card.session.sources[0].path / "x.md5").rename(card.session.sources[0].path / "z")
    card.read()

    assert card.told[b"x.md5"].problem == f"it cannot be read: {os.strerror(errno.ENOENT)}"
    assert len(card.said(b"y.md5")) == 3

    (card.session.sources[0].path / "z").rename(card.session.sources[0].path / "x.md5")
    card.read()

    assert len(card.said(b"x.md5")) == 3
    assert card.told[b"x.md5"].problem is None


@pytest.mark.parametrize("other", ["link", "pipe", "folder"])
@pytest.mark.timeout(20)
def test_whatever_took_the_place_of_a_list_is_neither_followed_nor_waited_for(card, other):
    card.put({b"x.md5": lines(CLIPS)})
    place = card.session.sources[0].path / "x.md5"
    place.unlink()
    match other:
        case "link":
            place.symlink_to("DCIM/A.MOV")
        case "pipe":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
    card.read()

    assert card.said(b"x.md5") == {}
    assert "it cannot be read" in card.told[b"x.md5"].problem


def test_a_card_that_is_gone_is_an_error(card):
    card.put({b"x.md5": lines(CLIPS)})
    root = card.session.sources[0].root
    card.session.sources[0].path.rename(card.session.sources[0].path.with_name("pulled"))
    (card.session.sources[0].path.with_name("pulled") / "x.md5").unlink()

    with pytest.raises(OSError, match=r".*"):
        read_lists(card.book, card.session.journal, 0, root, card.heed)


def test_a_stop_half_way_leaves_whole_lists_or_nothing_of_them(card, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 1)
    card.put({b"x.md5": lines(CLIPS)})
    calls = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_lists(card.book, card.session.journal, 0, card.session.sources[0].root, stop)
    card.read()

    assert card.said(b"x.md5") == {(card.numbers[name], "md5"): md5(data) for name, data in CLIPS.items()}
    assert card.told[b"x.md5"].entries == 3


def test_the_source_s_files_are_not_opened_for_it(card, monkeypatch):
    card.put({b"x.md5": lines(CLIPS)})
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda name, *rest, **more: opened.append(name) or real(name, *rest, **more))
    card.read()

    assert opened == [b"x.md5"]
