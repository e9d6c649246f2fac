"""What a tree is really made of, by the mount table alone."""

from __future__ import annotations

import os

import pytest

from ingest.storage.grounds import Ground, folders_above, grounds_of, mounts_in
from ingest.storage.volumes import Mount

DISK, CARD, SHARE, OVERLAY = 1, 2, 3, 4


def mount(device, point, inner=b"/", kind="ext4", origin=b"/dev/sdx1", layers=()):
    return Mount(device, inner, point, kind, origin, read_only=False, layers=layers)


TABLE = [mount(DISK, b"/"), mount(CARD, b"/card", kind="exfat")]


def places(grounds):
    return [(ground.device, ground.inner) for ground in grounds]


def test_each_mount_below_a_folder_is_told_with_what_it_shows():
    table = [
        *TABLE,
        mount(DISK, b"/card/a", b"/archives/a"),
        mount(SHARE, b"/card/b/c", kind="cifs", origin=b"//nas/films"),
        mount(DISK, b"/cardboard", b"/archives/b"),
    ]

    found = mounts_in(b"/card", table=table)

    assert {path: places(grounds) for path, grounds in found.items()} == {
        b"a": [(DISK, b"/archives/a")],
        b"b/c": [(SHARE, b"/")],
    }
    assert found[b"b/c"][0].volume == b"cifs //nas/films"


def test_what_is_mounted_over_something_hides_neither():
    table = [*TABLE, mount(DISK, b"/card/a", b"/one"), mount(SHARE, b"/card/a", b"/two")]

    assert places(mounts_in(b"/card", table=table)[b"a"]) == [(DISK, b"/one"), (SHARE, b"/two")]


def test_of_a_single_file_only_what_is_mounted_on_it_is_told():
    table = [*TABLE, mount(DISK, b"/card/a.mov", b"/archive/a.mov"), mount(DISK, b"/card/sub")]

    assert list(mounts_in(b"/card", b"a.mov", table)) == [b"a.mov"]
    assert mounts_in(b"/card", b"b.mov", table) == {}


def test_the_system_s_root_has_all_other_mounts_below_it():
    assert list(mounts_in(b"/", table=TABLE)) == [b"card"]


def test_a_folder_of_an_overlay_is_the_same_folder_in_each_layer():
    layers = (b"/card/up", b"/low", b"given/relatively")
    table = [*TABLE, mount(OVERLAY, b"/ov", b"/part", "overlay", b"none", layers)]

    assert places(grounds_of(b"/ov/DCIM", table)) == [
        (OVERLAY, b"/part/DCIM"), (CARD, b"/up/part/DCIM"), (DISK, b"/low/part/DCIM"),
    ]  # fmt: skip


def test_an_overlay_that_is_made_of_itself_or_of_another_comes_to_an_end():
    first = mount(OVERLAY, b"/ov", kind="overlay", layers=(b"/other/up", b"/ov/x"))
    second = mount(5, b"/other", kind="overlay", layers=(b"/card/up",))

    found = places(grounds_of(b"/ov", [*TABLE, first, second]))

    assert {(OVERLAY, b"/"), (5, b"/up"), (CARD, b"/up/up")} <= set(found)


@pytest.mark.parametrize(
    ("inner", "other", "inside"),
    [
        (b"/a", b"/a", True),
        (b"/a", b"/a/b", True),
        (b"/a", b"/ab", False),
        (b"/a/b", b"/a", False),
        (b"/", b"/a", True),
        (b"/A", b"/a", False),
    ],
)
def test_a_ground_holds_what_is_below_it(inner, other, inside):
    assert Ground(1, inner, b"", loose=False).holds(Ground(1, other, b"", loose=False)) is inside
    assert not Ground(2, inner, b"", loose=False).holds(Ground(1, other, b"", loose=False))


@pytest.mark.parametrize(("one", "other"), [("Ékran", "ékran"), ("Ékran", "E\u0301KRAN"), ("straße", "STRASSE")])
def test_where_case_makes_no_difference_letters_of_all_alphabets_are_the_same(one, other):
    inner, twin = (b"/" + os.fsencode(name) for name in (one, other))

    assert Ground(1, inner, b"", loose=True).holds(Ground(1, twin + b"/x\xff", b"", loose=True))
    assert not Ground(1, inner, b"", loose=False).holds(Ground(1, twin, b"", loose=False))


def test_one_share_under_two_numbers_is_one_file_system():
    one, other = Ground(1, b"/", b"cifs //nas/films", loose=True), Ground(2, b"/", b"cifs //nas/films", loose=True)

    assert one.beside(other)
    assert not Ground(1, b"/", b"", loose=False).beside(Ground(2, b"/", b"", loose=False))
    assert not Ground(0, b"/", b"", loose=False).beside(Ground(0, b"/", b"", loose=False))


def test_the_folders_above_are_known_by_what_they_are(tmp_path):
    (inside := tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(inside)

    found = folders_above(os.fsencode(tmp_path / "link"))

    for folder in (inside, tmp_path / "a", tmp_path, tmp_path.parent, "/"):
        facts = os.stat(folder)
        assert (facts.st_dev, facts.st_ino) in found
