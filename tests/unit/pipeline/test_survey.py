from __future__ import annotations

import threading

import pytest

from ingest import engine
from ingest.catalog.holdings import put_locations
from ingest.errors import IngestError
from ingest.media.kinds import kind_of
from ingest.model.item import Item
from ingest.model.states import ItemState
from ingest.pipeline.survey import Absent, Card, Look, Outlook, survey

NOON = 1_700_000_000_000_000_000


@pytest.fixture
def place(begin):
    return begin(2)


@pytest.fixture
def look(place):
    """Surveys a card that holds these files."""

    def asked(files: dict[bytes, bytes], *, chosen=None, explicit=False, mtime_ns=NOON, long=2, keys=True, **more):
        card = place.sources[0]
        items = []
        for number, (name, data) in enumerate(files.items(), 1):
            card.put(name, data, mtime_ns)
            items.append(Item(number, 0, name, len(data), mtime_ns, kind_of(name), ItemState.DISCOVERED))
        pages = [items[start : start + long] for start in range(0, len(items), long)]
        eyes = Look(
            [tree.root for tree in place.roots], [root.key for root in place.facts.roots], place.database if keys else None, **more
        )  # fmt: skip
        return survey(Card(lambda: iter(pages)), card.root, eyes, b"CARD", chosen=chosen, explicit=explicit)

    return asked


CARD = {b"DCIM/A.MP4": b"footage a", b"DCIM/B.MP4": b"footage b!", b"INDEX.XML": b"<one/>"}


def archive(place, folder: bytes, files: dict[bytes, bytes], roots=(0, 1), mtime_ns: int = NOON) -> None:
    for root in roots:
        for name, data in files.items():
            place.roots[root].put(folder + b"/" + name, data, mtime_ns)


# Which folder


def test_a_new_card_goes_under_its_label(look):
    assert look(CARD).folder == b"CARD"


def test_the_same_card_goes_where_it_went_before(place, look):
    archive(place, b"CARD", CARD)
    assert look(CARD).folder == b"CARD"


def test_a_card_that_was_half_copied_goes_on_there(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": CARD[b"DCIM/A.MP4"]}, roots=(1,))
    assert look(CARD).folder == b"CARD"


def test_a_card_with_more_on_it_goes_on_there(place, look):
    archive(place, b"CARD", CARD)
    assert look({**CARD, b"DCIM/C.MP4": b"new"}).folder == b"CARD"


def test_another_card_of_the_same_name_gets_a_folder_of_its_own(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": b"another day's footage"})
    assert look(CARD).folder == b"CARD_2"


def test_a_third_card_gets_the_third_folder(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": b"another day's footage"})
    archive(place, b"CARD_2", {b"DCIM/B.MP4": b"yet another one's footage"})
    assert look(CARD).folder == b"CARD_3"


def test_the_second_card_comes_back_to_its_own_folder(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": b"another day's footage"})
    archive(place, b"CARD_2", CARD)
    assert look(CARD).folder == b"CARD_2"


def test_one_root_is_enough_to_send_the_card_elsewhere(place, look):
    archive(place, b"CARD", {b"DCIM/B.MP4": b"another day's footage"}, roots=(1,))
    assert look(CARD).folder == b"CARD_2"


def test_index_files_alone_do_not_make_another_card(place, look):
    archive(place, b"CARD", {b"INDEX.XML": b"<another index/>", b"DCIM/A.MP4": CARD[b"DCIM/A.MP4"]})
    assert look(CARD).folder == b"CARD"


def test_something_else_under_a_media_file_s_name_makes_another_card(place, look):
    (place.roots[0].path / "CARD/DCIM/A.MP4").mkdir(parents=True)
    assert look(CARD).folder == b"CARD_2"


def test_an_explicit_label_is_obeyed(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": b"another day's footage"})
    assert look(CARD, explicit=True).folder == b"CARD"


def test_a_folder_that_was_chosen_earlier_stays(place, look):
    archive(place, b"CARD_7", {b"DCIM/A.MP4": b"another day's footage"})
    assert look(CARD, chosen=b"CARD_7").folder == b"CARD_7"


@pytest.mark.timeout(30)
def test_a_folder_named_after_a_date_is_not_counted_up_to(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": b"another day's footage"})
    archive(place, b"CARD_20241231235959", {b"DCIM/A.MP4": b"another day's footage"})

    assert look(CARD).folder == b"CARD_2"


def test_a_card_is_known_again_by_its_own_number_on_any_archive(place, look):
    archive(place, b"CARD", {b"DCIM/Z.MP4": b"another card without a name in common"})
    archive(place, b"CARD_4", CARD, roots=(1,))

    assert look(CARD).folder == b"CARD_4"


# Equal size, another time


def test_equal_bytes_with_another_time_are_the_same_card(place, look):
    archive(place, b"CARD", CARD, mtime_ns=NOON + 5_000_000_000)
    assert look(CARD).folder == b"CARD"


def test_other_bytes_of_the_same_size_with_another_time_are_another_card(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": b"FOOTAGE A"}, mtime_ns=NOON + 5_000_000_000)
    assert look(CARD).folder == b"CARD_2"


def test_equal_size_and_time_leave_no_doubt(place, look, monkeypatch):
    archive(place, b"CARD", CARD, mtime_ns=NOON + 3_600_000_000_000)
    monkeypatch.setattr(engine, "prove", lambda *_, **__: pytest.fail("nothing had to be hashed"))

    assert look(CARD).folder == b"CARD"


def test_what_is_known_by_the_journal_is_not_read_on_the_archive(place, look, monkeypatch):
    archive(place, b"CARD", {b"DCIM/A.MP4": CARD[b"DCIM/A.MP4"]}, roots=(0,), mtime_ns=NOON + 5_000_000_000)
    rows = [{
        "root": place.facts.roots[0].key, "path": b"CARD/DCIM/A.MP4", "blake3": engine.blake3(CARD[b"DCIM/A.MP4"]), "size": 9,
        "mtime_ns": NOON, "managed": 1, "verify_method": "evicted", "verified_at": 1, "session": 1, "item": 1,
    }]  # fmt: skip
    with place.database.write() as connection:
        put_locations(connection, rows)
    read = []
    prove = engine.prove
    monkeypatch.setattr(
        engine, "prove", lambda root, paths, **more: read.append(root.path) or prove(root, paths, **more)
    )

    assert look(CARD).folder == b"CARD"
    assert read == [place.sources[0].name]


def test_a_file_that_cannot_be_read_speaks_for_no_other_card(place, look, monkeypatch):
    archive(place, b"CARD", {b"DCIM/A.MP4": b"FOOTAGE A"}, mtime_ns=NOON + 5_000_000_000)
    fault = ("io", "read", 5, b"/x", "Input/output error", [])
    monkeypatch.setattr(engine, "prove", lambda *_, **__: [(None, 0, 0, None, fault)])

    assert look(CARD).folder == b"CARD"


def test_what_had_to_be_hashed_is_told_so_that_it_is_not_read_again(place, look):
    archive(place, b"CARD", CARD, mtime_ns=NOON + 5_000_000_000)
    told = {}

    look(CARD, note=lambda read: told.update({item.path: digest for item, digest in read}))

    assert told == {path: engine.blake3(CARD[path]) for path in (b"DCIM/A.MP4", b"DCIM/B.MP4")}


def test_a_file_in_doubt_is_read_once_whatever_the_number_of_archives(place, look, monkeypatch):
    archive(place, b"CARD", CARD, mtime_ns=NOON + 5_000_000_000)
    read = []
    prove = engine.prove
    monkeypatch.setattr(
        engine, "prove", lambda root, paths, **more: read.append(root.path) or prove(root, paths, **more)
    )

    look(CARD)

    assert read.count(place.sources[0].name) == 2


def test_stopping_is_heeded_while_a_file_is_hashed(place, look, monkeypatch):
    archive(place, b"CARD", CARD, mtime_ns=NOON + 5_000_000_000)
    monkeypatch.setattr("ingest.pipeline.survey.HEARTBEAT", 0.001)
    cancelled = threading.Event()

    def endless(_root, _paths, *, page, **_more):
        while not page.words()[engine.CANCEL]:
            threading.Event().wait(0.001)
        cancelled.set()
        return [(None, 0, 0, None, ("cancelled", "read", 0, b"", "", []))]

    def heed() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "prove", endless)
    with pytest.raises(KeyboardInterrupt):
        look(CARD, heed=heed)
    assert cancelled.is_set()


# What is missing


def test_everything_is_missing_on_an_empty_archive(look):
    size = sum(map(len, CARD.values()))
    assert look(CARD).absent == [Absent(3, size), Absent(3, size)]


def test_what_is_missing_is_counted_per_root(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": CARD[b"DCIM/A.MP4"]}, roots=(0,))
    archive(place, b"CARD", CARD, roots=(1,))

    (one, other) = look(CARD).absent
    assert (one.files, one.size) == (2, 16)
    assert (other.files, other.size) == (0, 0)


def test_a_file_of_another_size_does_not_count_as_there(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": b"cut sho"})

    assert look(CARD, explicit=True).absent[0] == Absent(3, 25)


def test_what_does_not_come_is_not_missing(place):
    left = Item(1, 0, b".DS_Store", 99, NOON, kind_of(b"x"), ItemState.EXCLUDED, "litter")
    found = survey(
        Card(lambda: [[left]]),
        place.sources[0].root,
        Look([place.roots[0].root], [None], None),
        b"CARD",
        chosen=None,
        explicit=False,
    )

    assert (found.folder, found.absent) == (b"CARD", [Absent(0, 0)])


def test_without_a_journal_the_archive_itself_is_asked(place, look):
    archive(place, b"CARD", CARD, mtime_ns=NOON + 5_000_000_000)
    assert look(CARD, keys=False).folder == b"CARD"


# What is to be compared


def recorded(place, *paths: bytes, mtime_ns: int = NOON) -> None:
    """The journal knows what the first archive holds at these paths of the card."""
    rows = [
        {
            "root": place.facts.roots[0].key, "path": b"CARD/" + path, "blake3": engine.blake3(CARD[path]),
            "size": len(CARD[path]), "mtime_ns": mtime_ns, "managed": 1, "verify_method": "evicted", "verified_at": 1,
            "session": 1, "item": number,
        } for number, path in enumerate(paths, 1)
    ]  # fmt: skip
    with place.database.write() as connection:
        put_locations(connection, rows)


def test_what_is_there_already_is_read_on_the_card_once_and_on_each_archive(place, look):
    archive(place, b"CARD", CARD)

    found = look(CARD)

    assert found.absent == [Absent(twins=3, compared=25), Absent(twins=3, compared=25)]
    assert found.asked == 25


def test_of_what_is_known_to_be_there_only_the_card_is_read(place, look):
    archive(place, b"CARD", CARD)
    recorded(place, b"DCIM/A.MP4", b"INDEX.XML")

    found = look(CARD)

    assert found.absent == [Absent(twins=3, compared=10), Absent(twins=3, compared=25)]
    assert found.asked == 25


def test_what_was_changed_since_it_was_recorded_is_read_again(place, look):
    archive(place, b"CARD", CARD)
    recorded(place, *CARD, mtime_ns=NOON + 7_000_000_000)

    assert look(CARD).absent[0].compared == 25


def test_half_a_card_is_half_compared_and_half_copied(place, look):
    archive(place, b"CARD", {b"DCIM/B.MP4": CARD[b"DCIM/B.MP4"]})

    found = look(CARD)

    assert found.absent == [Absent(2, 15, twins=1, compared=10)] * 2
    assert found.asked == 10
    assert Outlook(dict(enumerate(found.absent)), found.asked).amount == (6, 60)


def test_what_was_hashed_to_find_the_folder_is_not_read_on_the_card_again(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": CARD[b"DCIM/A.MP4"]}, mtime_ns=NOON + 5_000_000_000)
    archive(place, b"CARD", {b"DCIM/B.MP4": CARD[b"DCIM/B.MP4"]})

    assert look(CARD).asked == 10


def test_a_name_that_other_known_bytes_have_is_no_twin(place):
    archive(place, b"CARD", CARD, roots=(0,))
    recorded(place, b"DCIM/A.MP4")
    other = Item(1, 0, b"DCIM/A.MP4", 9, NOON, kind_of(b"A.MP4"), ItemState.DISCOVERED, blake3=engine.blake3(b"other"))

    eyes = Look([place.roots[0].root], [place.facts.roots[0].key], place.database)
    found = survey(Card(lambda: [[other]]), place.sources[0].root, eyes, b"CARD", chosen=b"CARD", explicit=False)

    assert (found.absent, found.asked) == ([Absent(1, 9)], 0)


def test_where_everything_is_copied_anew_nothing_is_compared(place, look):
    archive(place, b"CARD", CARD)

    found = look(CARD, anew=True)

    assert (found.absent, found.asked) == ([Absent(3, 25), Absent(3, 25)], 0)


def test_of_what_earlier_runs_did_nothing_is_left_to_do_but_to_find_what_waits_for_its_name(place, look):
    archive(place, b"CARD", {b"DCIM/A.MP4": CARD[b"DCIM/A.MP4"]}, roots=(0,))
    past = {
        (1, 0): ItemState.FINALIZED,
        (2, 0): ItemState.VALIDATED,
        (1, 1): ItemState.FAILED,
        (2, 1): ItemState.PLANNED,
    }

    found = look(CARD, chosen=b"CARD", long=9, past=lambda _: past)

    assert found.absent == [Absent(1, 6, twins=1, compared=10), Absent(2, 16)]
    assert found.asked == 0


def test_what_is_hashed_is_shown_and_counted(place, look):
    archive(place, b"CARD", CARD, roots=(0,), mtime_ns=NOON + 5_000_000_000)
    page, shown = engine.Page(), []

    look(CARD, page=page, show=shown.append)

    words = page.words()
    assert shown == [b"DCIM/A.MP4", b"CARD/DCIM/A.MP4", b"DCIM/B.MP4", b"CARD/DCIM/B.MP4"]
    assert (words[engine.HASHED], words[engine.VERIFIED]) == (19, 19)


# What cannot be asked


def test_a_root_that_is_gone_is_an_error(place, look):
    archive(place, b"CARD", CARD)
    pinned = [tree.root for tree in place.roots]
    place.roots[0].path.rename(place.roots[0].path.with_name("gone"))
    (place.roots[0].path.with_name("gone") / "CARD").rename(place.roots[0].path.with_name("CARD"))
    gone = place.roots[0].path.with_name("gone")
    (gone / "CARD").symlink_to(gone)

    clip = Item(1, 0, b"DCIM/A.MP4", 9, NOON, kind_of(b"A.MP4"), ItemState.DISCOVERED)
    with pytest.raises(IngestError) as caught:
        survey(
            Card(lambda: [[clip]]),
            place.sources[0].root,
            Look(pinned, [None, None], None),
            b"CARD",
            chosen=None,
            explicit=False,
        )
    assert caught.value.path == place.roots[0].name


def test_a_name_that_a_root_cannot_hold_stands_nowhere(place):
    archive(place, b"CARD", {b"x": b""})
    long = Item(1, 0, b"x" * 256 + b".MP4", 9, NOON, kind_of(b"x.MP4"), ItemState.DISCOVERED)

    found = survey(
        Card(lambda: [[long]]),
        place.sources[0].root,
        Look([place.roots[0].root], [None], None),
        b"CARD",
        chosen=None,
        explicit=False,
    )

    assert (found.folder, found.absent) == (b"CARD", [Absent(1, 9)])


# Two at once


def test_a_folder_that_another_card_is_being_brought_to_is_left_alone(look):
    asked = []

    def claim(folder):
        asked.append(folder)
        return folder not in (b"CARD", b"CARD_2")

    assert look(CARD, claim=claim).folder == b"CARD_3"
    assert asked == [b"CARD", b"CARD_2", b"CARD_3"]


def test_a_folder_that_was_filled_between_the_look_and_the_claim_is_looked_at_again(place, look):
    others = {name: b"another's " + data for name, data in CARD.items()}

    def claim(folder):
        if folder == b"CARD":
            archive(place, b"CARD", others)
        return True

    assert look(CARD, claim=claim).folder == b"CARD_2"


def test_what_came_with_the_very_same_card_meanwhile_is_not_absent(place, look):
    def claim(folder):
        archive(place, folder, CARD, roots=(0,))
        return True

    found = look(CARD, claim=claim)

    assert found.folder == b"CARD"
    assert [one.files for one in found.absent] == [0, 3]


def test_a_folder_that_the_user_named_is_not_asked_for(look):
    assert look(CARD, explicit=True, claim=lambda _: False).folder == b"CARD"
