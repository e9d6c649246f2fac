from __future__ import annotations

import errno
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ingest.db.schema import lists, sums
from ingest.errors import JournalError
from ingest.model.item import Folder, Kind
from ingest.model.states import ItemState, SessionState
from ingest.session.journal import Part
from ingest.session.register import session_facts
from ingest.session.rows import Copy
from ingest.session.sums import Contents, Sums

ENDS = [ItemState.FINALIZED, ItemState.DUPLICATE, ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED]


def ended(number: int, sequence: int, state: ItemState = ItemState.FINALIZED, root: int = 0, **more: object) -> Copy:
    return Copy(number, root, state, path=b"CARD/%d" % number, sequence=sequence, **more)


def listed(session, *said: tuple[int, int]) -> None:
    """Lists say something of items: ``(item, list)``."""
    book = Sums(session.database, session.facts.key)
    numbers = sorted({number for _, number in said})
    book.found([(number, "md5") for number in numbers])
    book.keep([(of, by, "md5", bytes(16), None) for of, by in said], [(number, Contents()) for number in numbers])


def spoken(session) -> tuple[set[int], set[tuple[int, int]]]:
    """The lists that the journal knows, and what it holds of them."""
    with session.database.read() as connection:
        known = set(connection.scalars(select(lists.c.item)))
        return known, {tuple(row) for row in connection.execute(select(sums.c.item, sums.c.list))}


# Items


def test_items_come_back_as_they_went_in(session, item):
    found = [
        item(1, b"DCIM/\xff\xfe.MP4", 1 << 40),
        item(2, b".DS_Store", state=ItemState.EXCLUDED, reason="litter"),
        item(3, b"secret", 0, state=ItemState.FAILED, reason="permission", errno=errno.EACCES),
        item(4, b"old", mtime_ns=-1, kind=Kind.OTHER),
    ]

    session.add(*found)

    assert list(session.items().values()) == found


def test_items_are_paged_in_order(session, item):
    session.add(*[item(number) for number in range(1, 2501)])

    pages = list(session.journal.items())

    assert [len(page) for page in pages] == [1000, 1000, 500]
    assert [i.number for page in pages for i in page] == list(range(1, 2501))


@pytest.mark.parametrize("size", [1, 7, 2499, 2500, 2501])
def test_a_page_may_have_any_size(session, item, size):
    session.add(*[item(number) for number in range(1, 2501)])

    pages = list(session.journal.items(page=size))

    assert max(map(len, pages)) <= size
    assert [i.number for page in pages for i in page] == list(range(1, 2501))


def test_the_items_of_one_source_are_found_among_others(begin, item):
    session = begin(sources=2)
    session.add(*[item(number, source=number % 2) for number in range(1, 30)])

    assert [i.number for page in session.journal.items(source=1, page=5) for i in page] == list(range(1, 30, 2))
    assert list(session.journal.items(source=2)) == []


def test_a_session_sees_its_own_items_only(begin, item):
    one, other = begin(), begin()
    one.add(item(1))

    assert list(one.items()) == [1]
    assert other.items() == {}


def test_an_item_that_ended_says_how(session, item):
    session.add(item(1), item(2))

    session.end(1, ItemState.FAILED, "io", errno.EIO)

    found = session.items()
    assert (found[1].state, found[1].reason, found[1].errno) == (ItemState.FAILED, "io", errno.EIO)
    assert found[2].state is ItemState.DISCOVERED


def test_an_unfinished_scan_can_begin_again(session, item):
    session.journal.add([item(1)], [Folder(0, b"DCIM", 5)])

    session.journal.forget_scan()
    session.journal.add([item(1, b"other")], [Folder(0, b"DCIM", 6)])

    assert session.items()[1].path == b"other"
    assert list(session.journal.folders()) == [[Folder(0, b"DCIM", 6)]]


def test_with_a_scan_goes_what_was_read_of_its_lists(session, item):
    session.add(item(1), item(2, b"list.md5"))
    listed(session, (1, 2))

    session.journal.forget_scan()

    assert spoken(session) == (set(), set())


def test_a_scan_is_whole_only_once_that_was_said(session):
    assert not session.journal.has_scan()

    session.journal.scanned(1.5, 3)

    assert session.journal.has_scan()
    assert session.journal.found() == 3


def test_a_journal_that_was_never_told_how_much_a_scan_found_does_not_know_it(session):
    assert session.journal.found() is None

    session.journal.scanned(1.5, 0)  # as it looks in a journal of an older version

    assert session.journal.has_scan()
    assert session.journal.found() is None


def test_the_card_folder_is_remembered(session):
    session.journal.choose_folder(0, b"CARD_2")

    assert session_facts(session.database, session.facts.key).sources[0].folder == b"CARD_2"


# Folders


def test_folders_come_with_children_before_their_parents(begin):
    session = begin(sources=2)
    names = [b"", b"A", b"A/B", b"A/B/C", b"A-", b"AA", b"\xff", b"\xff/x"]
    session.journal.add([], [Folder(source, name, 7) for source in (1, 0) for name in names])

    for size in (1, 3, 1000):
        found = [folder for page in session.journal.folders(page=size) for folder in page]
        assert sorted(f.path for f in found) == sorted(names * 2)
        for source in (0, 1):
            order = [f.path for f in found if f.source == source]
            for parent in order:
                for child in order:
                    if child != parent and (child.startswith(parent + b"/") or not parent):
                        assert order.index(child) < order.index(parent), (child, parent)


def test_many_folders_are_paged_and_none_is_lost(session):
    session.journal.add([], [Folder(0, b"%05d" % n, n) for n in range(2500)])

    pages = list(session.journal.folders(page=1000))

    assert [len(page) for page in pages] == [1000, 1000, 500]
    assert {f.path for page in pages for f in page} == {b"%05d" % n for n in range(2500)}


# Copies


def test_a_copy_comes_back_as_it_was_put(session, item):
    session.add(item(1))
    whole = Copy(
        1, 0, ItemState.VALIDATED, b"CARD/a\xff", b".ingest/staging/x/1.part", "why", "fsync", 5, 3, b"\1" * 32, "mmap", "evicted",
        "noreplace", 2, 10, 20, 30, 40, 7, 8,
    )  # fmt: skip

    session.put(whole)

    assert session.copies() == {(1, 0): whole}


def test_the_last_row_put_counts_as_a_whole(session, item):
    session.add(item(1))
    session.put(Copy(1, 0, ItemState.VALIDATED, b"CARD/a", b"staging", "why", "op", 5, 1, b"\1" * 32, "read", "direct"))

    session.put(Copy(1, 0, ItemState.PLANNED))

    assert session.copies()[1, 0] == Copy(1, 0, ItemState.PLANNED)


def test_the_copies_of_a_run_of_items_are_found(begin, item):
    session = begin(roots=2)
    session.add(*[item(number) for number in range(1, 6)])
    session.put(*[Copy(number, root, ItemState.PLANNED) for number in range(1, 6) for root in (0, 1)])

    found = session.journal.copies_of(2, 4)

    assert sorted(found) == [2, 3, 4]
    assert all(sorted(copy.root for copy in each) == [0, 1] for each in found.values())


def test_only_proven_copies_have_staging_files_worth_keeping(begin, item):
    session = begin(roots=2)
    session.add(*[item(number, size=number) for number in range(1, 6)])
    session.put(
        Copy(1, 0, ItemState.VALIDATED, staging=b"s1"),
        Copy(2, 0, ItemState.PLANNED, staging=b"s2"),
        Copy(3, 0, ItemState.FINALIZED, staging=b"s3"),
        Copy(4, 1, ItemState.VALIDATED, staging=b"s4"),
        Copy(5, 0, ItemState.VALIDATED, staging=b"s5"),
    )

    assert session.journal.staged(0) == {b"s1", b"s5"}
    assert session.journal.staged(1) == {b"s4"}


def test_a_transaction_that_fails_puts_nothing(session, item):
    session.add(item(1))

    def fail() -> None:
        with session.database.write() as connection:
            session.journal.put(connection, [Copy(1, 0, ItemState.VALIDATED)])
            session.journal.end_items(connection, [(1, ItemState.FINALIZED, None, 0)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert session.copies() == {}
    assert session.items()[1].state is ItemState.DISCOVERED


def test_a_destination_s_state_is_its_own(begin):
    session = begin(roots=2)

    session.journal.root_state(1, SessionState.PAUSED_SPACE)

    with session.database.read() as connection:
        states = connection.exec_driver_sql("SELECT number, state FROM session_roots ORDER BY number").all()
    assert [tuple(row) for row in states] == [(0, "pending"), (1, "paused(space)")]


# A second chance


def test_what_did_not_arrive_gets_another_chance_and_what_arrived_stays(begin, item):
    session = begin(roots=2)
    session.add(*[item(number) for number in range(1, 6)])
    for number in range(1, 6):
        session.end(number, ItemState.FAILED, "io", errno.EIO)
    session.put(
        ended(1, 1, ItemState.FINALIZED, root=0),
        ended(1, 1, ItemState.FAILED, root=1, reason="io", errno=5),
        ended(2, 2, ItemState.DUPLICATE, root=0),
        ended(2, 2, ItemState.CHANGED, root=1),
        ended(3, 3, ItemState.REMOVED, root=0),
        ended(3, 3, ItemState.FAILED, root=1),
        ended(4, 4, ItemState.FAILED),
    )

    session.journal.reopen([(1, 77, 88), (2, 10, 7), (3, 10, 7)])
    session.journal.reopen([])

    found = session.items()
    assert {number: str(each.state) for number, each in found.items()} == {
        1: "discovered", 2: "discovered", 3: "discovered", 4: "failed", 5: "failed",
    }  # fmt: skip
    assert (found[1].size, found[1].mtime_ns, found[1].reason, found[1].errno) == (77, 88, None, 0)
    assert sorted(session.copies()) == [(1, 0), (2, 0), (4, 0)]


def test_another_session_s_items_are_not_touched(begin, item):
    one, other = begin(), begin()
    for each in (one, other):
        each.add(item(1))
        each.end(1, ItemState.FAILED)
        each.put(ended(1, 1, ItemState.FAILED))

    one.journal.reopen([(1, 1, 1)])

    assert (other.items()[1].state, list(other.copies())) == (ItemState.FAILED, [(1, 0)])


def test_after_a_retry_new_ends_are_numbered_beyond_every_part(session, item):
    session.add(item(1), item(2))
    session.put(ended(1, 1), ended(2, 2, ItemState.FAILED))
    session.end(2, ItemState.FAILED)
    session.journal.add_part(0, Part(1, b"items-0001", 1, 2, 2, b"\0" * 32))

    session.journal.reopen([(2, 10, 7)])

    assert session.journal.last_sequence(0) == 2


def test_whatever_arrived_somewhere_is_known(begin, item):
    session = begin(roots=2)
    session.add(*[item(number) for number in range(1, 1203)])
    session.put(
        ended(1, 1, ItemState.FAILED),
        ended(1, 1, root=1),
        ended(2, 2, ItemState.DUPLICATE),
        ended(3, 3, ItemState.FAILED),
    )
    session.put(ended(1202, 4))

    assert session.journal.arrived_among(range(1, 1203)) == {1, 2, 1202}
    assert session.journal.arrived_among([3]) == set()


def test_paths_that_are_items_already_are_known(begin, item):
    session = begin(sources=2)
    session.add(*[item(number, b"%d" % number, source=number % 2) for number in range(1, 1203)])

    assert session.journal.known_paths(0, [b"%d" % n for n in range(2000)]) == {b"%d" % n for n in range(2, 1203, 2)}
    assert session.journal.known_paths(0, []) == set()


def test_an_item_makes_room_for_what_was_inside_it(session, item):
    session.add(item(1), item(2, b"DCIM"), item(3))
    session.put(ended(2, 1, ItemState.FAILED), ended(3, 2))

    session.journal.forget_item(2)

    assert sorted(session.items()) == [1, 3]
    assert sorted(session.copies()) == [(3, 0)]


def test_with_an_item_goes_what_lists_say_of_it_and_what_it_says(session, item):
    session.add(*[item(number) for number in range(1, 6)])
    listed(session, (1, 4), (2, 4), (1, 5), (4, 5))

    session.journal.forget_item(1)
    assert spoken(session) == ({4, 5}, {(2, 4), (4, 5)})

    session.journal.forget_item(4)
    assert spoken(session) == ({5}, set())


def test_of_an_item_that_cannot_be_forgotten_nothing_is(session, item):
    session.add(item(1), item(2))
    listed(session, (1, 2))
    with session.database.write() as connection:
        connection.exec_driver_sql("CREATE TRIGGER held BEFORE DELETE ON sums BEGIN SELECT RAISE(ABORT, 'held'); END")

    with pytest.raises(JournalError, match="held"):
        session.journal.forget_item(1)
    with pytest.raises(JournalError, match="held"):
        session.journal.forget_scan()

    assert sorted(session.items()) == [1, 2]
    assert spoken(session) == ({2}, {(1, 2)})


def test_the_highest_item_is_known(session, item):
    assert session.journal.last_item() == 0
    session.add(item(3), item(7))
    assert session.journal.last_item() == 7


# Records and parts


def test_records_beyond_a_number_come_in_order_across_pages(session, item):
    count = 2500
    session.add(*[item(number, size=number) for number in range(1, count + 1)])
    # Ended in an order of their own: sequence n belongs to item count + 1 - n.
    session.put(*[ended(count + 1 - n, n) for n in range(1, count + 1)])

    pages = list(session.journal.records(0, 400, session.facts.sources))

    assert [len(page) for page in pages] == [1000, 1000, 100]
    numbers = [number for page in pages for number, _ in page]
    assert numbers == list(range(401, count + 1))
    assert [record.item for page in pages for _, record in page] == [count + 1 - n for n in numbers]


def test_a_record_tells_everything_of_its_copy(session, item):
    session.add(item(1, b"DCIM/a\xff", 5, mtime_ns=9, kind=Kind.VIDEO))
    session.put(
        Copy(
            1,
            0,
            ItemState.FINALIZED,
            b"CARD/DCIM/a\xff",
            None,
            "why",
            "op",
            5,
            2,
            b"\1" * 32,
            "read",
            "direct",
            "link",
            3,
            1,
            2,
            3,
            4,
            1,
        )
    )

    (((number, record),),) = session.journal.records(0, 0, session.facts.sources)

    assert number == 1
    assert record.source_path == session.sources[0].name + b"/DCIM/a\xff"
    assert (record.path, record.size, record.mtime_ns, record.kind) == (b"CARD/DCIM/a\xff", 5, 9, Kind.VIDEO)
    assert (record.state, record.reason, record.operation, record.errno) == (ItemState.FINALIZED, "why", "op", 5)
    assert (record.attempts, record.read_mode, record.verify_method, record.publish_method) == (
        2,
        "read",
        "direct",
        "link",
    )
    assert (record.worker, record.started_ns, record.copied_ns, record.validated_ns, record.finalized_ns) == (
        3,
        1,
        2,
        3,
        4,
    )


def test_what_has_not_ended_is_no_record(begin, item):
    session = begin(roots=2)
    session.add(item(1), item(2), item(3))
    session.put(ended(1, 1), Copy(2, 0, ItemState.VALIDATED), ended(3, 1, root=1))

    assert [r.item for page in session.journal.records(0, 0, session.facts.sources) for _, r in page] == [1]


def test_parts_are_told_in_order_per_root(begin):
    session = begin(roots=2)
    second = Part(2, b"b", 11, 20, 10, b"\2" * 32)
    first = Part(1, b"a", 1, 10, 10, b"\1" * 32)
    session.journal.add_part(0, second)
    session.journal.add_part(0, first)

    assert session.journal.parts(0) == [first, second]
    assert session.journal.parts(1) == []


def test_the_highest_number_given_is_known_per_root(begin, item):
    session = begin(roots=2)
    session.add(item(1), item(2))
    session.put(ended(1, 1), ended(2, 2), ended(1, 1, root=1))

    assert [session.journal.last_sequence(root) for root in (0, 1, 2)] == [2, 1, 0]


# Counting


def test_items_are_counted_with_their_bytes(session, item):
    session.add(item(1, size=5), item(2, size=7), item(3, size=11, state=ItemState.EXCLUDED))

    assert session.journal.count_items() == {ItemState.DISCOVERED: (2, 12), ItemState.EXCLUDED: (1, 11)}


def test_sizes_that_are_no_number_for_the_database_in_sum_are_counted_all_the_same(session, item):
    sizes = [7 << 60, 7 << 60, (1 << 63) - 1, (1 << 62) + 3]
    session.add(*(item(number, size=size) for number, size in enumerate(sizes, 1)))

    assert session.journal.count_items() == {ItemState.DISCOVERED: (4, sum(sizes))}
    assert session.journal.weigh(0) == (4, sum(sizes))
    assert session.journal.likeness(0).split("-")[:2] == ["4", str(sum(sizes))]


def test_nothing_is_counted_in_an_empty_session(session):
    assert session.journal.count_items() == {}
    assert session.journal.ends() == {}
    assert session.journal.rest() == 0
    assert session.journal.left_out() == {}


def test_methods_are_counted_of_what_arrived(session, item):
    session.add(*[item(number) for number in range(1, 5)])
    session.put(
        ended(1, 1, verify_method="evicted", publish_method="noreplace", strategy="reflink"),
        ended(2, 2, verify_method="direct", publish_method="noreplace", strategy="copy"),
        ended(3, 3, ItemState.FAILED, verify_method="evicted", strategy="reflink"),
        ended(4, 4, ItemState.DUPLICATE, verify_method="evicted"),
    )

    assert session.journal.count_copies(0) == {
        "state": {"finalized": 2, "failed": 1, "duplicate": 1},
        "verify_method": {"evicted": 1, "direct": 1},
        "publish_method": {"noreplace": 2},
        "strategy": {"reflink": 1, "copy": 1},
    }


def test_how_copies_ended_is_counted_by_cause(session, item):
    session.add(*[item(number) for number in range(1, 4)])
    session.put(
        ended(1, 1),
        ended(2, 2, ItemState.FAILED, reason="io", errno=5),
        ended(3, 3, ItemState.FAILED, reason="io", errno=5),
    )

    assert session.journal.ends() == {(ItemState.FINALIZED, None, 0): 1, (ItemState.FAILED, "io", 5): 2}


def test_what_stayed_behind_by_rule_is_counted_by_rule(session, item):
    session.add(
        item(1, state=ItemState.EXCLUDED, reason="litter"), item(2, state=ItemState.EXCLUDED, reason="litter"),
        item(3, state=ItemState.SKIPPED, reason="symlink"), item(4),
    )  # fmt: skip

    assert session.journal.left_out() == {"litter": 2, "symlink": 1}


def test_what_has_not_ended_is_the_rest(session, item):
    session.add(item(1), item(2), item(3, state=ItemState.EXCLUDED))
    session.end(2, ItemState.FINALIZED)

    assert session.journal.rest() == 1


# What did not arrive


def test_what_did_not_arrive_is_told_in_order_with_its_copy(session, item):
    session.add(*[item(number) for number in range(1, 6)])
    for number, state in enumerate(ENDS, 1):
        session.end(number, state)
    session.put(*[ended(number, number, state, errno=number) for number, state in enumerate(ENDS, 1)])

    found = session.journal.unfinished(10)

    assert [(i.number, copy.errno) for i, copy in found] == [(3, 3), (4, 4), (5, 5)]
    assert [i.number for i, _ in session.journal.unfinished(2)] == [3, 4]


def test_an_item_without_copies_is_told_alone(session, item):
    session.add(item(1, state=ItemState.FAILED, reason="permission", errno=errno.EACCES))

    assert session.journal.unfinished(10) == [(session.items()[1], None)]


def test_the_states_to_be_told_can_be_chosen(session, item):
    session.add(item(1), item(2, state=ItemState.EXCLUDED), item(3, state=ItemState.FAILED))

    assert [i.number for i, _ in session.journal.unfinished(9, [ItemState.EXCLUDED, ItemState.DISCOVERED])] == [1, 2]


@given(st.permutations([ItemState.REMOVED, ItemState.CHANGED, ItemState.FAILED]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=6)
def test_the_copy_told_with_an_unfinished_item_is_its_worst(begin, item, states):
    session = begin(roots=3)
    session.add(item(1))
    session.end(1, ItemState.FAILED)
    session.put(*[ended(1, 1, state, root=root, reason=str(state)) for root, state in enumerate(states)])

    ((_, copy),) = session.journal.unfinished(10)

    assert copy.state is ItemState.FAILED


def test_names_that_are_no_text_survive_every_road(session, item):
    raw = os.fsencode("caf\xe9") + b"\xff\n\t'\""
    session.add(item(1, raw))
    session.put(ended(1, 1, ItemState.FAILED))
    session.end(1, ItemState.FAILED)

    assert session.items()[1].path == raw
    (((_, record),),) = session.journal.records(0, 0, session.facts.sources)
    assert record.source_path.endswith(raw)
