from __future__ import annotations

import pytest

from ingest.storage.identity import Footing, cloned, elsewhere, replaced, stranger

KNOWN = Footing(3, 4, "root", "disk")


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (Footing(3, 4, "root", "disk"), None),
        (Footing(9, 8, "root", "disk"), None),  # device numbers are given out anew
        (Footing(9, 8, "root", None), None),  # this system does not tell
        (Footing(3, 4, None, "disk"), "its marker is gone"),
        (Footing(3, 9, None, None), "its marker is gone"),
        (Footing(9, 2, None, "below"), "a folder of the disk underneath"),
        (Footing(9, 2, None, "other", mounted=True), "another disk is mounted there"),
        (Footing(3, 4, "another", "disk"), "another archive stands there (another)"),
        (Footing(3, 4, "another", "other"), "another archive stands there (another)"),
        (Footing(9, 4, "root", "copy"), "the file system copy instead of disk"),
    ],
)
def test_each_has_its_own_sentence(seen, sentence):
    said = stranger(KNOWN, seen)

    assert said is None if sentence is None else said is not None and sentence in said


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (KNOWN, None),
        (Footing(9, 4, "root", "disk"), "mounted anew"),
        (Footing(3, 9, "root", "disk"), "another folder has taken its place"),
        (Footing(9, 4, "root", "copy"), "a clone of it"),
    ],
)
def test_what_is_open_must_be_the_very_folder(seen, sentence):
    said = replaced(KNOWN, seen)

    assert said is None if sentence is None else said is not None and sentence in said


def test_a_source_has_no_marker_and_is_its_folder():
    assert replaced(Footing(1, 2), Footing(1, 2, "somebody made it an archive", "disk")) is None
    assert replaced(Footing(1, 2), Footing(7, 2)) == "another folder has taken its place"


def test_a_file_system_is_known_by_its_uuid_and_by_its_number_only_without():
    assert not elsewhere(Footing(1, 2, None, "a"), Footing(9, 2, None, "a"))
    assert elsewhere(Footing(1, 2, None, "a"), Footing(1, 2, None, "b"))
    assert elsewhere(Footing(1, 2), Footing(9, 2, None, "b"))
    assert not elsewhere(Footing(1, 2, None, "a"), Footing(1, 2))


def test_a_clone_is_never_guessed():
    assert cloned("a", "b")
    assert not cloned("a", "a")
    assert not cloned(None, "b")
    assert not cloned("a", None)
