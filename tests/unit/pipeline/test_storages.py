"""Naming roots, and what must not be touched while somebody works with it."""

from __future__ import annotations

import os

import pytest

from ingest.catalog.holdings import remember_root
from ingest.errors import MissingError, PausedError, UsageError
from ingest.pipeline.storages import forget, look_at_roots, relocate
from ingest.session.hold import hold
from ingest.storage.roots import open_destination


@pytest.fixture
def archive(database, tmp_path):
    """Makes an archive that the journal knows."""

    def make(name: str):
        (tmp_path / name).mkdir()
        made = open_destination(os.fsencode(tmp_path / name))
        with database.write() as connection:
            remember_root(connection, made.marker.uuid, made.path, made.marker.fs_uuid)
        return made

    return make


def test_a_root_is_named_by_its_path_or_the_beginning_of_its_uuid(database, archive):
    first, second = archive("one"), archive("two")

    for root in (first, second):
        for name in (root.path, root.path + b"/", root.marker.uuid[:13].encode(), root.marker.uuid.upper().encode()):
            (found,) = look_at_roots(database, (), name)
            assert (found.known.uuid, found.problem) == (root.marker.uuid, None)
    assert [found.known.uuid for found in look_at_roots(database, ())] == [first.marker.uuid, second.marker.uuid]


def test_a_name_that_two_roots_have_is_told_and_neither_is_chosen(database, archive):
    first = archive("one")
    with database.write() as connection:
        remember_root(connection, "00000000-0000-4000-8000-000000000000", first.path, None)

    with pytest.raises(UsageError, match="2 archives") as caught:
        forget(database, first.path)

    assert first.marker.uuid in caught.value.cause
    assert len(look_at_roots(database, (), first.path)) == 2
    forget(database, b"00000000")
    assert len(look_at_roots(database, (), first.path)) == 1


@pytest.mark.parametrize("name", [b"/not/known", b"0000", b"ab"])
def test_what_nothing_is_called_is_missing(database, archive, name):
    archive("one")

    for act in (lambda: forget(database, name), lambda: relocate(database, name, b"/tmp"),
                lambda: look_at_roots(database, (), name)):  # fmt: skip
        with pytest.raises(MissingError):
            act()


def test_while_a_process_works_with_a_root_it_stays_as_it_is(database, begin, home):
    session = begin()
    root = session.facts.roots[0]

    with hold(home, session.facts.id):
        with pytest.raises(PausedError, match="at work"):
            forget(database, root.path, force=True)
        with pytest.raises(PausedError, match="at work"):
            relocate(database, root.path, root.path)

    assert forget(database, root.path, force=True)[1] == (session.facts.id,)


def test_a_root_may_be_told_under_a_second_path_to_the_same_folder(database, archive, tmp_path):
    root = archive("one")
    (tmp_path / "link").symlink_to("one")

    told = relocate(database, root.path, os.fsencode(tmp_path / "link"))

    assert (told.known.path, told.path) == (root.path, os.fsencode(tmp_path / "link"))
    assert (told.sessions, told.other, told.to_prove) == (0, False, 0)
    (found,) = look_at_roots(database, ())
    assert (found.look.path, found.problem) == (told.path, None)
