from __future__ import annotations

import os

import pytest

from ingest.storage.rules import Rule, ruled
from ingest.storage.volumes import Storage, Volume, volume_of

LOCAL = Volume(None, Storage.LOCAL, "ext4", rotational=None, fs_uuid=None)


def test_a_rule_holds_for_its_folder_and_all_below_it_only(tmp_path):
    rule = Rule(os.fsencode(tmp_path / "nas"), kind=Storage.NETWORK)

    for below in ("nas", "nas/a/b"):
        assert ruled(LOCAL, os.fsencode(tmp_path / below), [rule]).storage is Storage.NETWORK
    for beside in ("", "nas2", "na"):
        assert ruled(LOCAL, os.fsencode(tmp_path / beside), [rule]) == LOCAL


def test_the_deepest_wins_and_among_equals_the_last(tmp_path):
    deep, above = os.fsencode(tmp_path / "a/b"), os.fsencode(tmp_path / "a")
    rules = [Rule(deep, workers=1), Rule(above, workers=2), Rule(above, workers=3)]

    assert ruled(LOCAL, deep + b"/c", rules).workers == 1
    assert ruled(LOCAL, above + b"/c", rules).workers == 3
    assert ruled(LOCAL, above, list(reversed(rules))).workers == 2


@pytest.mark.parametrize("named", ["real", "link"])
def test_a_rule_holds_for_a_path_as_it_is_given_and_as_it_is_without_links(tmp_path, named):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    rule = Rule(os.fsencode(tmp_path / named), buffer=4096)

    assert ruled(LOCAL, os.fsencode(tmp_path / "link/x"), [rule]).buffer == 4096


@pytest.mark.root
def test_a_rule_for_a_share_that_does_not_answer_keeps_nobody_waiting(tmp_path, fuse):
    frozen = fuse("sshfs", hang=True)

    assert ruled(LOCAL, os.fsencode(tmp_path), [Rule(os.fsencode(frozen), workers=1)]) == LOCAL


@pytest.mark.parametrize("spins", [True, False, None])
def test_what_is_not_said_stays_as_the_system_tells_it(tmp_path, spins):
    told = volume_of(os.fsencode(tmp_path))

    kept = ruled(told, os.fsencode(tmp_path), [Rule(os.fsencode(tmp_path), rotational=spins, workers=2)])

    assert kept.storage is told.storage
    assert kept.rotational is (told.rotational if spins is None else spins)
    assert (kept.type, kept.mount, kept.fs_uuid, kept.block) == (told.type, told.mount, told.fs_uuid, told.block)


def test_the_root_folder_s_rule_holds_everywhere(tmp_path):
    assert ruled(LOCAL, os.fsencode(tmp_path), [Rule(b"/", workers=2)]).workers == 2
