from __future__ import annotations

import errno
import os

import pytest

from ingest.model.item import Folder
from ingest.model.options import CopyOptions
from ingest.model.states import ItemState
from ingest.pipeline import retry
from ingest.pipeline.retry import reopen
from ingest.session.rows import Copy

FAILED = {"state": ItemState.FAILED, "reason": "permission", "errno": errno.EACCES}


@pytest.fixture
def card(session):
    return session.sources[0]


def again(session, options: CopyOptions | None = None) -> None:
    reopen(session.journal, [tree.root for tree in session.sources], options or CopyOptions())


def paths(session) -> list[bytes]:
    return sorted(found.path for found in session.items().values())


def test_a_failed_item_is_looked_at_afresh(session, card, item):
    card.put(b"a.mp4", b"longer now", 77)
    session.add(item(1, b"a.mp4", 3, **FAILED), item(2, b"b.mp4", state=ItemState.FINALIZED))

    again(session)

    first, second = session.items().values()
    assert (first.state, first.size, first.mtime_ns, first.reason) == (ItemState.DISCOVERED, 10, 77, None)
    assert second == item(2, b"b.mp4", state=ItemState.FINALIZED)


def test_what_changed_since_it_arrived_somewhere_is_never_mixed_with_it(begin, item):
    session = begin(2)
    session.sources[0].put(b"a.mp4", b"longer now", 77)
    session.add(item(1, b"a.mp4", 3, **FAILED))
    session.put(
        Copy(1, 0, ItemState.FINALIZED, b"CARD/a.mp4", sequence=1), Copy(1, 1, ItemState.FAILED, reason="permission", sequence=1),
    )  # fmt: skip

    again(session)

    assert (session.items()[1].state, session.items()[1].size) == (ItemState.CHANGED, 3)
    assert session.copies()[1, 0].state is ItemState.FINALIZED


LATE = 13_569_465_600 * 10**9  # 2400: the engine tells it as the last time that there is


def test_what_has_a_time_by_now_that_cannot_be_held_is_not_copied_with_another(session, card, item):
    card.put(b"a.mp4", b"abc", LATE)
    session.add(item(1, b"a.mp4", 3, **FAILED))

    again(session)

    assert (session.items()[1].state, session.items()[1].reason) == (ItemState.FAILED, "time")


def test_what_arrived_somewhere_and_has_such_a_time_by_now_is_changed(begin, item):
    session = begin(2)
    session.sources[0].put(b"a.mp4", b"abc", LATE)
    session.add(item(1, b"a.mp4", 3, **FAILED))
    session.put(
        Copy(1, 0, ItemState.FINALIZED, b"CARD/a.mp4", sequence=1), Copy(1, 1, ItemState.FAILED, reason="permission", sequence=1),
    )  # fmt: skip

    again(session)

    assert (session.items()[1].state, session.items()[1].reason) == (ItemState.CHANGED, "changed since it was copied")


def test_what_did_not_change_since_it_arrived_somewhere_is_completed(begin, item):
    session = begin(2)
    session.sources[0].put(b"a.mp4", b"abc", 77)
    session.add(item(1, b"a.mp4", 3, mtime_ns=77, **FAILED))
    session.put(
        Copy(1, 0, ItemState.FINALIZED, b"CARD/a.mp4", sequence=1), Copy(1, 1, ItemState.FAILED, reason="permission", sequence=1),
    )  # fmt: skip

    again(session)

    assert session.items()[1].state is ItemState.DISCOVERED
    assert list(session.copies()) == [(1, 0)]


class Locked:
    """A source with one folder that cannot be opened."""

    def __init__(self, root, folder: bytes) -> None:
        self._root, self._folder = root, folder

    def lstat(self, paths):
        return self._root.lstat(paths)

    def open_folder(self, path: bytes) -> int:
        if path == self._folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return self._root.open_folder(path)


def test_a_folder_that_cannot_be_read_this_time_either_stays_a_failure(session, card, item):
    card.put(b"DCIM/a.mp4")
    session.add(item(1, b"DCIM", 0, state=ItemState.FAILED, reason="io", errno=errno.EIO))

    reopen(session.journal, [Locked(card.root, b"DCIM")], CopyOptions())

    (found,) = session.items().values()
    assert (found.number, found.path) == (1, b"DCIM")
    assert (found.state, found.reason, found.errno) == (ItemState.FAILED, "permission", errno.EACCES)
    again(session)
    assert paths(session) == [b"DCIM/a.mp4"]


def test_an_item_that_is_still_gone_is_tried_as_it_was(session, item):
    session.add(item(1, b"gone.mp4", 3, state=ItemState.REMOVED))

    again(session)

    assert (session.items()[1].state, session.items()[1].size) == (ItemState.DISCOVERED, 3)


def test_a_folder_that_could_not_be_read_is_walked_now(session, card, item):
    card.put(b"DCIM/a.mp4", b"123")
    card.put(b"DCIM/sub/b.mp4", b"1234")
    session.add(item(1, b"x", state=ItemState.FINALIZED), item(2, b"DCIM", 0, **FAILED))

    again(session)

    assert paths(session) == [b"DCIM/a.mp4", b"DCIM/sub/b.mp4", b"x"]
    assert {f.path for page in session.journal.folders() for f in page} == {b"DCIM", b"DCIM/sub"}
    assert session.items()[1].state is ItemState.FINALIZED


def test_the_session_s_own_filter_holds_for_it(session, card, item):
    card.put(b"DCIM/a.mp4")
    card.put(b"DCIM/a.jpg")
    session.add(item(1, b"DCIM", 0, **FAILED))

    again(session, CopyOptions(only=("*.mp4",)))

    assert {found.path: found.state for found in session.items().values()} == {
        b"DCIM/a.mp4": ItemState.DISCOVERED, b"DCIM/a.jpg": ItemState.EXCLUDED,
    }  # fmt: skip


def test_several_folders_are_walked_and_numbers_are_never_given_twice(session, card, item):
    for name in (b"A/1", b"A/2", b"B/3"):
        card.put(name)
    session.add(item(1, b"A", 0, **FAILED), item(2, b"B", 0, **FAILED), item(3, b"c", state=ItemState.FINALIZED))

    again(session)

    assert paths(session) == [b"A/1", b"A/2", b"B/3", b"c"]


def test_a_folder_that_broke_off_while_it_was_read_is_completed_without_repeating_anything(session, card, item):
    card.put(b"DCIM/a.mp4")
    card.put(b"DCIM/b.mp4")
    card.put(b"DCIM/sub/c.mp4")
    session.add(
        item(1, b"DCIM/a.mp4", state=ItemState.FINALIZED), item(2, b"DCIM", 0, state=ItemState.FAILED, reason="io", errno=errno.EIO),
    )  # fmt: skip
    session.add(item(3, b"DCIM/sub/c.mp4", state=ItemState.FINALIZED))
    session.journal.add([], [Folder(0, b"DCIM/sub", 7)])

    again(session)

    assert paths(session) == [b"DCIM/a.mp4", b"DCIM/b.mp4", b"DCIM/sub/c.mp4"]
    assert session.items()[1].state is ItemState.FINALIZED


def test_a_walk_that_is_cut_short_never_loses_the_folder(session, card, item, monkeypatch):
    card.put(b"DCIM/a.mp4")
    session.add(item(1, b"DCIM", 0, **FAILED))

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(retry, "scan", cut)
    with pytest.raises(KeyboardInterrupt):
        again(session)
    monkeypatch.undo()

    again(session)
    assert paths(session) == [b"DCIM/a.mp4"]
