"""Where a path leads is told without a look at what may hang: every look that is taken is written down."""

from __future__ import annotations

import os

import pytest

from ingest.storage import reach
from ingest.storage.reach import MOST_LINKS, obstacle
from ingest.storage.volumes import Mount


def mount(point, kind="ext4"):
    return Mount(1, b"/", os.fsencode(point), kind, b"/dev/sdx1", read_only=False)


@pytest.fixture
def share(tmp_path):
    """A folder that the table takes for a dead share."""
    folder = tmp_path / "share"
    (folder / "shoot").mkdir(parents=True)
    return folder


@pytest.fixture
def leads(tmp_path, share, monkeypatch):
    """Whether a path leads there; fails if anything below the share was looked at."""
    looked: list[bytes] = []
    readlink = os.readlink
    monkeypatch.setattr(reach.os, "readlink", lambda path: (looked.append(path), readlink(path))[1])
    table = [mount("/"), mount(share, "fuse.sshfs")]

    def ask(path):
        found = obstacle(os.fsencode(path), table)
        beyond = os.fsencode(share)
        assert not [path for path in looked if path == beyond or path.startswith(beyond + b"/")]
        return found is table[1]

    return ask


def link(place, target):
    place.symlink_to(target)
    return place


def test_a_path_below_the_share_leads_there_whether_it_is_there_or_not(leads, share, tmp_path):
    assert leads(share)
    assert leads(share / "shoot/nothing")
    assert leads(f"{tmp_path}/nothing/../share//./shoot")
    assert not leads(tmp_path)
    assert not leads(tmp_path / "share2")


def test_a_link_to_it_leads_there_and_is_not_followed_past_its_door(leads, share, tmp_path):
    assert leads(link(tmp_path / "absolute", share))
    assert leads(link(tmp_path / "relative", "share/shoot"))
    assert leads(link(tmp_path / "twice", "relative"))
    assert leads(tmp_path / "relative/A001")
    (tmp_path / "a/b").mkdir(parents=True)
    assert leads(link(tmp_path / "a/b/up", "../../share"))
    assert not leads(link(tmp_path / "beside", "a/b"))
    assert not leads(link(tmp_path / "broken", "nowhere/share"))


def test_the_folder_above_a_link_s_target_is_that_of_the_target(leads, tmp_path):
    """As the kernel has it: `here/..` is above what `here` leads to."""
    (tmp_path / "a/b").mkdir(parents=True)
    link(tmp_path / "here", "a/b")

    assert leads(link(tmp_path / "up", "here/../../share"))
    assert not leads(link(tmp_path / "up-too-little", "here/../share"))


def test_links_that_go_round_in_circles_end(leads, share, tmp_path):
    link(tmp_path / "one", "two")
    link(tmp_path / "two", "one")
    assert not leads(tmp_path / "one")

    link(tmp_path / "0", share)
    for number in range(1, MOST_LINKS + 1):
        link(tmp_path / str(number), str(number - 1))
    assert leads(tmp_path / str(MOST_LINKS - 1))
    assert not leads(tmp_path / str(MOST_LINKS)), "the kernel follows no more either"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse", "fuseblk", "fuse.exfat", "fuse.rclone", "autofs"])
def test_shares_and_daemons_may_hang_and_so_may_what_is_mounted_by_the_look(kind):
    assert obstacle(b"/mnt/x/y", [mount("/"), mount("/mnt/x", kind)]) is not None


@pytest.mark.parametrize("kind", ["ext4", "vfat", "tmpfs", "overlay", "fusectl", "proc"])
def test_the_machine_s_own_disks_do_not(kind):
    assert obstacle(b"/mnt/x/y", [mount("/"), mount("/mnt/x", kind), mount("/srv", "nfs")]) is None


def test_what_is_mounted_on_top_decides():
    assert obstacle(b"/boot", [mount("/"), mount("/boot", "autofs"), mount("/boot", "vfat")]) is None
    assert obstacle(b"/srv", [mount("/"), mount("/srv", "ext4"), mount("/srv", "nfs")]) is not None


def test_a_root_file_system_from_a_server_is_one_too():
    assert obstacle(b"/", [mount("/", "nfs4")]) is not None
