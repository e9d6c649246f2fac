"""Who has an attendant: a command of whose places one may hang, by whatever name it was given."""

from __future__ import annotations

import os

import pytest

from ingest.cli.attendant import _may_hang
from ingest.storage import volumes
from ingest.storage.volumes import Mount


@pytest.fixture
def share(tmp_path, monkeypatch):
    """A folder that the mount table takes for a share, which is ``smb://nas/media``."""
    folder = tmp_path / "share"
    folder.mkdir()
    table = [
        Mount(1, b"/", b"/", "ext4", b"/dev/sda1", read_only=False),
        Mount(2, b"/", os.fsencode(folder), "cifs", b"//nas/media", read_only=False),
    ]
    monkeypatch.setattr(volumes, "mounts", lambda: table)
    return folder


@pytest.mark.parametrize("how", ["{share}", "{share}/A001", "smb://nas/media/A001", "//nas/media", "{link}/A001"])
@pytest.mark.parametrize("words", [["copy", "{}", "/archive"], ["copy", "/card", "/a", "--also={}", "--quiet"]])
def test_a_copy_with_a_share_has_one(share, tmp_path, how, words):
    link = tmp_path / "link"
    link.symlink_to(share)
    place = how.format(share=share, link=link)

    assert _may_hang([word.format(place) for word in words])


def test_a_copy_without_one_has_none(share, tmp_path):
    nowhere = ["smb://nas/other", "nfs://nas/media", "//", "", "smb://", str(tmp_path / "share2"), str(tmp_path)]

    assert not _may_hang(["copy", *nowhere, "--label=", "--only=*.MOV"])


def test_of_a_resume_the_mount_table_says_it_and_nothing_else_has_one(share):
    assert _may_hang(["resume"])
    assert not _may_hang(["verify", str(share)])
    assert not _may_hang([])


def test_a_folder_that_is_gone_is_for_the_command_to_tell(share, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert not _may_hang(["copy", "A001", "/archive"])
