from __future__ import annotations

import os

import pytest

from ingest.errors import MissingError, UsageError
from ingest.model.options import MOST_BATCH, CopyOptions
from ingest.pipeline.opening import check_destinations, check_options, given, open_sources


@pytest.fixture
def card(tree):
    made = tree("CARD")
    made.put(b"DCIM/a.mp4", b"x")
    return made


# Sources


def test_a_folder_is_pinned_under_its_own_name(card):
    ((facts, root, volume),) = open_sources([card.name], None)

    assert (facts.number, facts.path, facts.label, facts.single) == (0, card.name, b"CARD", None)
    assert (facts.device, facts.inode) == (root.dev, root.ino) == (card.path.stat().st_dev, card.path.stat().st_ino)
    assert volume.type


def test_a_file_is_its_folder_and_its_name(card):
    ((facts, _, _),) = open_sources([card.name + b"/DCIM/a.mp4"], None)

    assert (facts.path, facts.label, facts.single) == (card.name + b"/DCIM", b"DCIM", b"a.mp4")
    assert given(facts) == card.name + b"/DCIM/a.mp4"


def test_a_label_that_was_given_is_used(card):
    assert open_sources([card.name], "A001")[0][0].label == b"A001"


def test_two_sources_under_one_name_are_refused(card, tree):
    (tree("other").path / "CARD").mkdir()

    with pytest.raises(UsageError, match="--label"):
        open_sources([card.name, tree("other").name + b"/CARD"], None)


def test_one_label_for_two_sources_is_refused(card, tree):
    with pytest.raises(UsageError):
        open_sources([card.name, tree("other").name], "A001")


def test_a_source_that_is_not_there_is_missing(card):
    with pytest.raises(MissingError, match="card in the reader"):
        open_sources([card.name + b"/none"], None)


def test_what_is_neither_file_nor_folder_is_no_source(card):
    os.mkfifo(card.path / "fifo")
    with pytest.raises(UsageError):
        open_sources([card.name + b"/fifo"], None)


def test_no_source_is_a_mistake():
    with pytest.raises(UsageError):
        open_sources([], None)


# Destinations


def test_destinations_become_absolute(card, tree, monkeypatch):
    archive = tree("archive")
    monkeypatch.chdir(archive.path.parent)

    assert check_destinations([b"archive"], [card.name]) == [archive.name]


@pytest.mark.parametrize("twin", ["archive", "./archive", "link", "x/../archive"])
def test_one_destination_twice_is_refused(card, tree, twin):
    archive, folder = tree("archive"), tree("archive").path.parent
    (folder / "x").mkdir()
    (folder / "link").symlink_to("archive")

    with pytest.raises(UsageError, match="twice"):
        check_destinations([archive.name, os.fsencode(folder / twin)], [card.name])


@pytest.mark.parametrize("below", ["", "DCIM", "new/folder"])
def test_a_destination_inside_a_source_is_refused(card, below):
    with pytest.raises(UsageError, match="inside the source"):
        check_destinations([os.fsencode(card.path / below)], [card.name], create=True)
    assert not (card.path / "new").exists()


def test_a_source_inside_a_destination_is_refused(card):
    with pytest.raises(UsageError, match="lies inside it"):
        check_destinations([os.fsencode(card.path.parent)], [card.name])


def test_a_link_does_not_hide_where_a_destination_lies(card, tree):
    (tree("elsewhere").path / "archive").symlink_to(card.path / "DCIM")

    with pytest.raises(UsageError):
        check_destinations([os.fsencode(tree("elsewhere").path / "archive")], [card.name])


def test_a_name_that_only_begins_like_the_source_s_is_another_folder(card, tree):
    archive = tree("CARD-archive")
    assert check_destinations([archive.name], [card.name]) == [archive.name]


def test_a_file_beside_the_archive_may_be_copied_into_it(card, tree):
    archive = card.path / "archive"
    archive.mkdir()

    assert check_destinations([os.fsencode(archive)], [card.name + b"/DCIM/a.mp4"]) == [os.fsencode(archive)]


def test_a_destination_must_be_there_or_be_asked_for(card, tmp_path):
    missing = os.fsencode(tmp_path / "missing")

    with pytest.raises(MissingError):
        check_destinations([missing], [card.name])
    assert check_destinations([missing], [card.name], create=True) == [missing]


# Options


@pytest.mark.parametrize("buffer", [None, 4096, 1 << 20, 64 << 20])
def test_powers_of_two_are_buffers(buffer):
    assert check_options(CopyOptions(buffer=buffer)).buffer == buffer


@pytest.mark.parametrize("buffer", [0, -4096, 1, 2048, 4097, 3 << 20, 128 << 20])
def test_anything_else_is_none(buffer):
    with pytest.raises(UsageError, match="power of two"):
        check_options(CopyOptions(buffer=buffer))


@pytest.mark.parametrize("workers", [0, -1, 10_000])
def test_some_numbers_of_workers_make_no_sense(workers):
    with pytest.raises(UsageError, match="--workers"):
        check_options(CopyOptions(workers=workers))


@pytest.mark.parametrize("threads", [0, -1, 33])
def test_some_numbers_of_threads_make_no_sense(threads):
    with pytest.raises(UsageError, match="--threads"):
        check_options(CopyOptions(threads=threads))


@pytest.mark.parametrize("batch", [0, -1, 1001])
def test_some_batches_make_no_sense(batch):
    with pytest.raises(UsageError, match="--batch"):
        check_options(CopyOptions(batch=batch))


@pytest.mark.parametrize("batch", [None, 1, MOST_BATCH])
def test_a_batch_may_be_as_large_as_a_manifest_part(batch):
    assert check_options(CopyOptions(batch=batch)).batch == batch


@pytest.mark.parametrize("threads", [None, 1, 32])
def test_other_numbers_of_threads_do(threads):
    assert check_options(CopyOptions(threads=threads)).threads == threads


def test_an_unknown_profile_is_refused():
    with pytest.raises(UsageError, match="mirror"):
        check_options(CopyOptions(profile="wedding-of-the-year"))
