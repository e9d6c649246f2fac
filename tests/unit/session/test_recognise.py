from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ingest.errors import PausedError
from ingest.model.states import ItemState
from ingest.session.recognise import SAMPLE, require_same_source
from ingest.storage.roots import pin


@pytest.fixture
def look(session):
    """Asks whether a folder is the session's source."""

    def asked(tree, fs_uuid: str | None = None, known: str | None = None) -> None:
        source = replace(session.facts.sources[0], fs_uuid=known)
        require_same_source(session.journal, source, tree.root, fs_uuid)

    return asked


@pytest.fixture
def scanned(session):
    def add(*found) -> None:
        session.add(*found)
        session.journal.scanned(0.0, len(found))

    return add


def test_the_folder_itself_is_the_source(session, look, scanned, item):
    session.sources[0].put(item(1).path, b"0" * item(1).size)
    scanned(item(1))
    look(session.sources[0])


def test_the_folder_itself_is_a_mount_point_if_none_of_it_is_there(session, look, scanned, item):
    scanned(item(1))
    with pytest.raises(PausedError):
        look(session.sources[0])


def test_the_same_file_system_elsewhere_is_the_source_if_it_holds_its_files(tree, look, scanned, item):
    scanned(item(1))
    elsewhere = tree("elsewhere")
    with pytest.raises(PausedError):
        look(elsewhere, fs_uuid="1234-ABCD", known="1234-ABCD")
    elsewhere.put(item(1).path, b"0" * item(1).size)
    look(elsewhere, fs_uuid="1234-ABCD", known="1234-ABCD")


@pytest.mark.root
def test_the_same_file_system_as_a_whole_is_the_source_though_it_was_emptied(make_disk, look, scanned, item):
    scanned(item(1))
    card = SimpleNamespace(root=pin(os.fsencode(make_disk("ext4")), source=True))
    look(card, fs_uuid="1234-ABCD", known="1234-ABCD")


def test_another_file_system_is_another_card_whatever_it_holds(session, look, scanned, item):
    session.sources[0].put(item(1).path, b"0" * item(1).size)
    scanned(item(1))
    with pytest.raises(PausedError):
        look(session.sources[0], fs_uuid="1234-ABCD", known="ABCD-1234")


def test_two_file_systems_without_a_uuid_are_not_the_same_for_that(tree, look, scanned, item):
    scanned(item(1))
    with pytest.raises(PausedError):
        look(tree("elsewhere"))


def test_a_folder_that_holds_what_is_still_to_come_is_the_source(tree, look, scanned, item):
    scanned(item(1, b"DCIM/a.mp4", 3), item(2, b"DCIM/b.mp4", 4))
    elsewhere = tree("elsewhere")
    elsewhere.put(b"DCIM/b.mp4", b"1234")

    look(elsewhere)


def test_an_empty_mount_point_is_not_the_source(tree, look, scanned, item):
    scanned(item(1))

    with pytest.raises(PausedError) as caught:
        look(tree("elsewhere"))
    assert "resume" in caught.value.advice


def test_another_card_with_the_same_names_is_not_the_source(tree, look, scanned, item):
    scanned(item(1, b"DCIM/IMG_0001.JPG", 3))
    other = tree("other")
    other.put(b"DCIM/IMG_0001.JPG", b"longer than that")

    with pytest.raises(PausedError):
        look(other)


def test_a_folder_where_a_file_was_is_no_evidence(tree, look, scanned, item):
    scanned(item(1, b"a", 4096))
    other = tree("other")
    (other.path / "a").mkdir()

    with pytest.raises(PausedError):
        look(other)


def test_litter_that_lies_on_every_card_is_no_evidence(tree, look, scanned, item):
    litter = {"state": ItemState.EXCLUDED, "reason": "litter"}
    scanned(item(1, b".DS_Store", 6148, **litter), item(2, b".fseventsd", 0, **litter), item(3, b"A001.MP4", 10))
    other = tree("the next card in the reader")
    other.put(b".DS_Store", b"0" * 6148)
    other.put(b".fseventsd/0001", b"")
    other.put(b"A001.MP4", b"another length")

    with pytest.raises(PausedError):
        look(other)


def test_a_folder_that_could_not_be_read_is_known_again_as_a_folder(tree, look, scanned, item):
    scanned(item(1, b"DCIM", 0, state=ItemState.FAILED, reason="permission"))
    other = tree("mounted elsewhere")
    other.put(b"DCIM/a.mp4")

    look(other)


def test_what_has_arrived_already_is_evidence_too(tree, look, scanned, item):
    scanned(item(1, b"a", 1, state=ItemState.FINALIZED), item(2, b"b", 1))
    elsewhere = tree("elsewhere")
    elsewhere.put(b"a", b"x")

    look(elsewhere)


def test_a_card_without_files_is_every_card_without_files(session, tree, look):
    session.journal.scanned(0.0, 0)
    look(tree("other"))


def test_before_the_scan_is_whole_another_folder_is_never_the_source(tree, look):
    with pytest.raises(PausedError):
        look(tree("empty mount point"))


def test_a_sample_is_enough(tree, look, scanned, item):
    scanned(*[item(number) for number in range(1, SAMPLE + 2)])
    other = tree("other")
    other.put(item(SAMPLE + 1).path, b"0" * item(1).size)

    with pytest.raises(PausedError):
        look(other)
    other.put(item(SAMPLE).path, b"0" * item(1).size)
    look(other)
