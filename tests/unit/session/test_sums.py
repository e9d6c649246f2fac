"""What lists say, beside what was read: counted in the journal, whatever filled it."""

from __future__ import annotations

import pytest

from ingest.db.schema import digests
from ingest.errors import ExitCode
from ingest.model.states import ItemState, SessionState
from ingest.session import judged as module
from ingest.session.judged import differences, differs, sums_report
from ingest.session.paths import Paths
from ingest.session.report import exit_code, report
from ingest.session.rows import Copy
from ingest.session.sums import Contents, Sums

LENGTHS = {"xxh64": 8, "xxh3": 8, "xxh128": 16, "md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "blake3": 32}


def digest(number: int, algorithm: str) -> bytes:
    return bytes([number, len(algorithm)]) * (LENGTHS[algorithm] // 2)


@pytest.fixture
def book(session):
    return Sums(session.database, session.facts.key)


@pytest.fixture
def arrive(session, item):
    """Items that are there, in this state at the only root, read with these algorithms besides BLAKE3."""

    def make(*numbers: int, state: ItemState = ItemState.FINALIZED, read: tuple[str, ...] = ()) -> None:
        session.add(*[item(number) for number in numbers])
        for number in numbers:
            held = digest(number, "blake3") if state.arrived else None
            session.put(Copy(number, 0, state, b"CARD/%d" % number, blake3=held, sequence=number))
            session.end(number, state)
            if read:
                values = {name: digest(number, name) for name in read}
                with session.database.write() as connection:
                    connection.execute(digests.insert().values(session=session.facts.key, item=number, **values))

    return make


@pytest.fixture
def says(session, book, item):
    """A list, an item of its own, says this: ``(item, algorithm, digest)``, or with a size behind."""

    def make(number: int, *rows: tuple, kind: str = "md5", path: bytes = b"", **counts: object) -> None:
        session.add(item(number, path or b"list-%d.md5" % number))
        book.found([(number, kind)])
        kept = [(row[0], number, *row[1:3], row[3] if len(row) > 3 else None) for row in rows]
        contents = Contents(entries=len(rows))
        for name, value in counts.items():
            setattr(contents, name, value)
        book.keep(kept, [(number, contents)])

    return make


def told(session):
    return sums_report(session.journal, session.facts.sources)


@pytest.mark.parametrize("algorithm", LENGTHS)
def test_a_digest_that_was_read_is_compared(session, arrive, says, algorithm):
    arrive(1, 2, read=() if algorithm == "blake3" else (algorithm,))
    says(9, (1, algorithm, digest(1, algorithm)), (2, algorithm, digest(7, algorithm)))

    (one,) = told(session).each

    assert (one.entries, one.matched, one.differing_total, one.unchecked) == (2, 1, 1, 0)
    (wrong,) = one.differing
    assert wrong.path == session.sources[0].name + b"/CLIP00002.MP4"
    assert (wrong.algorithm, wrong.listed, wrong.read) == (algorithm, digest(7, algorithm), digest(2, algorithm))
    assert differs(session.journal)


def test_what_was_not_read_with_the_algorithm_is_not_checked(session, arrive, says):
    arrive(1, read=("sha1",))
    arrive(2)
    says(9, (1, "md5", digest(1, "md5")), (2, "md5", digest(2, "md5")), (1, "sha1", digest(1, "sha1")))

    (one,) = told(session).each

    assert (one.matched, one.differing_total, one.unchecked) == (1, 0, 2)
    assert not differs(session.journal)


@pytest.mark.parametrize("state", [ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED, ItemState.EXCLUDED])
def test_what_did_not_arrive_is_not_checked(session, arrive, says, state):
    arrive(1, state=state, read=("md5",))
    says(9, (1, "md5", digest(7, "md5")))

    (one,) = told(session).each

    assert (one.matched, one.differing_total, one.unchecked) == (0, 0, 1)


def test_a_duplicate_is_checked_by_its_blake3(session, arrive, says):
    arrive(1, state=ItemState.DUPLICATE)
    says(9, (1, "blake3", digest(1, "blake3")), (1, "md5", digest(1, "md5")))

    (one,) = told(session).each

    assert (one.matched, one.unchecked) == (1, 1)


def test_another_length_is_another_file_whatever_it_was_hashed_with(session, arrive, says):
    arrive(1, 2, 3, read=())
    says(9, (1, "md5", digest(1, "md5"), 11), (2, "md5", digest(1, "md5"), 10), (3, "blake3", digest(3, "blake3"), 11))

    (one,) = told(session).each

    # The items are ten bytes long. An equal digest proves the file, and the list's length wrong.
    assert (one.matched, one.differing_total, one.unchecked) == (1, 1, 1)
    assert one.differing[0].read is None


def test_the_counts_of_reading_stand_beside_those_of_checking(session, arrive, says):
    arrive(1)
    says(9, (1, "blake3", digest(1, "blake3")), kind="blake3", path=b"B3SUMS", entries=6, missing=3, first_missing=b"X",
         aside=2, problems=4, problem="line 1: so")  # fmt: skip

    (one,) = told(session).each

    assert one.path == session.sources[0].name + b"/B3SUMS"
    assert (one.kind, one.entries, one.matched, one.missing, one.first_missing) == ("blake3", 6, 1, 3, b"X")
    assert (one.unchecked, one.problems, one.problem) == (2, 4, "line 1: so")
    assert one.entries == one.matched + one.differing_total + one.missing + one.unchecked


def test_many_lists_and_differences_are_counted_and_the_worst_are_named(session, arrive, says, monkeypatch):
    monkeypatch.setattr(module, "LISTS_SHOWN", 3)
    monkeypatch.setattr(module, "DIFFERENCES_SHOWN", 4)
    arrive(*range(1, 11))
    for number in range(11, 20):
        bad = number - 11
        says(number, *((each, "blake3", digest(99 if each <= bad else each, "blake3")) for each in range(1, 11)))

    found = told(session)

    assert (found.lists, found.entries, found.matched, found.differing) == (9, 90, 54, 36)
    assert [one.differing_total for one in found.each] == [8, 7, 6]
    assert sum(len(one.differing) for one in found.each) <= 4


@pytest.mark.parametrize("page", [1, 7, 35, 36, 37, 1000])
def test_every_difference_can_be_asked_for_in_pages_of_any_size(session, arrive, says, page):
    arrive(*range(1, 11))
    wrong = set()
    for number in range(11, 20):
        bad = range(1, number - 10)
        says(number, *((each, "blake3", digest(99 if each in bad else each, "blake3")) for each in range(1, 11)))
        wrong |= {(number, each) for each in bad}
    place = session.sources[0].name

    told = list(differences(session.journal, session.facts.sources, page))

    assert len(told) == len(wrong) == 36
    assert {(listed, each.path) for listed, each in told} == {
        (place + b"/list-%d.md5" % number, place + b"/CLIP%05d.MP4" % each) for number, each in wrong
    }
    assert {(each.algorithm, each.listed) for _, each in told} == {("blake3", digest(99, "blake3"))}
    assert all(each.read == digest(int(each.path[-9:-4]), "blake3") for _, each in told)


def test_lists_of_one_name_keep_their_differences_apart(session, arrive, says):
    """One source may lie in another: then two items have one absolute path."""
    arrive(1, 2)
    says(8, (1, "blake3", digest(99, "blake3")), path=b"B3SUMS")
    says(9, (2, "blake3", digest(99, "blake3")), path=b"B3SUMS")

    assert [(len(one.differing), one.differing_total) for one in told(session).each] == [(1, 1), (1, 1)]


def test_a_session_without_lists_has_none(session, arrive):
    arrive(1)

    assert told(session).lists == 0
    assert not differs(session.journal)


def test_other_sessions_do_not_count(session, arrive, says, begin):
    arrive(1)
    says(9, (1, "blake3", digest(7, "blake3")))
    other = begin()

    assert sums_report(other.journal, other.facts.sources).lists == 0
    assert not differs(other.journal)


def test_a_file_that_its_own_card_contradicts_has_arrived_and_the_session_is_not_clean(session, arrive, says):
    arrive(1)
    assert exit_code(session.journal, SessionState.COMPLETED) is ExitCode.OK
    says(9, (1, "blake3", digest(7, "blake3")))
    session.end(9, ItemState.FINALIZED)

    assert exit_code(session.journal, SessionState.COMPLETED) is ExitCode.WITH_ERRORS
    assert exit_code(session.journal, SessionState.PAUSED_USER) is ExitCode.CANCELLED
    assert exit_code(session.journal, SessionState.PAUSED_SPACE) is ExitCode.PAUSED
    whole = report(session.journal, session.facts, SessionState.COMPLETED)
    assert whole.items["finalized"] == 2
    assert whole.sums.differing == 1


# What the copy has to compute


def test_the_copy_is_asked_for_what_the_lists_hold(session, says, item, book):
    session.add(item(1))
    assert book.algorithms() == ()
    says(9, (1, "sha1", b"x" * 20), (1, "md5", b"x" * 16), (1, "blake3", b"x" * 32))

    assert book.algorithms() == ("md5", "sha1")


# What is left to read


def test_lists_are_read_newest_first_and_once(session, book, says, item):
    session.add(*[item(number, b"ascmhl/%d.mhl" % number) for number in range(1, 6)])
    book.found([(number, "ascmhl") for number in range(1, 6)])

    assert [one.item for one in book.unread(0, page=2)] == [5, 4, 3, 2, 1]
    book.keep([], [(4, Contents(entries=0)), (2, None)])
    book.unreadable(3, "it cannot be read: Input/output error")

    assert [one.item for one in book.unread(0, page=2)] == [5, 3, 1]
    assert [(one.item, one.kind) for one in book.unread(1)] == []
    assert told(session).lists == 4
    assert told(session).problems == 1


def test_what_is_stored_of_a_list_that_was_not_read_to_its_end_goes_before_it_is_read_again(session, book, says, arrive, item):  # fmt: skip
    arrive(1)
    says(8, (1, "blake3", digest(1, "blake3")))
    session.add(item(9, b"x.b3"))
    book.found([(9, "blake3")])
    book.keep([(1, 9, "blake3", b"half", None)], [])

    book.begin()

    assert book.said([1], 9) == {}
    assert book.said([1], 8) == {(1, "blake3"): digest(1, "blake3")}


def test_a_scan_that_begins_again_finds_its_lists_again(session, book, item):
    session.add(item(1, b"x.md5"))
    book.found([(1, "md5")])
    book.found([(1, "md5")])
    session.journal.forget_scan()

    assert list(book.unread(0)) == []


# By path


def test_items_are_found_by_their_paths_and_their_source(begin, item, monkeypatch):
    monkeypatch.setattr("ingest.session.paths.PAGE", 3)
    session = begin(sources=2)
    session.add(*[item(number) for number in range(1, 9)], item(9, b"other", source=1), item(10, b"\xff\n"))

    with Paths(session.journal, 0) as paths:
        asked = [b"CLIP%05d.MP4" % number for number in range(1, 1200)]
        assert paths.find(asked) == {b"CLIP%05d.MP4" % number: number for number in range(1, 9)}
        assert paths.find([b"\xff\n", b"other", b""]) == {b"\xff\n": 10}
        assert paths.find([]) == {}
