"""Shares named by URL are looked for in the mount table."""

from __future__ import annotations

import os

import pytest

from ingest.errors import MissingError, UsageError
from ingest.storage.urls import is_url, located
from ingest.storage.volumes import Mount


def mount(point: bytes, kind: str, origin: bytes, inner: bytes = b"/") -> Mount:
    return Mount(7, inner, point, kind, origin, read_only=False)


TABLE = [
    mount(b"/", "ext4", b"/dev/sda1"),
    mount(b"/mnt/nas", "cifs", b"//nas/Media"),
    mount(b"/mnt/2024", "cifs", b"//nas/Media/2024"),
    mount(b"/mnt/again", "cifs", b"//nas/Old/2019", b"/2019"),
    mount(b"/srv/films", "nfs4", b"filer:/export/films"),
    mount(b"/srv/part", "nfs4", b"filer:/export/all", b"/part"),
    mount(b"/srv/six", "nfs", b"[fe80::1]:/vol"),
    mount(b"/srv/root", "nfs4", b"roots:/"),
    mount(b"/mnt/apple", "fuse.afpfs", b"afp://me@mini/Time Machine"),
    mount(b"/home/me/gone", "cifs", b"//nas/Covered"),
    mount(b"/home/me/gone", "tmpfs", b"none"),
]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (b"smb://nas/media", b"/mnt/nas"),
        (b"SMB://me:pass@NAS:445/MEDIA/", b"/mnt/nas"),
        (b"cifs://nas/Media/a%20b/\xc3\xa9", b"/mnt/nas/a b/\xc3\xa9"),
        (b"//nas/Media/a%20b", b"/mnt/nas/a%20b"),
        (b"smb://nas/media/2024/A001", b"/mnt/2024/A001"),
        (b"smb://nas/media/2024s", b"/mnt/nas/2024s"),
        (b"smb://nas/old/2019/x", b"/mnt/again/x"),
        (b"nfs://filer/export/films/A001", b"/srv/films/A001"),
        (b"nfs://filer/export/all/part/A001", b"/srv/part/A001"),
        (b"nfs://[fe80::1]/vol/x", b"/srv/six/x"),
        (b"nfs://roots/x", b"/srv/root/x"),
        (b"afp://mini/Time%20Machine/x", b"/mnt/apple/x"),
    ],
)
def test_a_mounted_share_is_found_by_its_url(url, path):
    assert located(url, TABLE) == path


@pytest.mark.parametrize(
    "url",
    [
        b"smb://nas/other", b"smb://nas2/media", b"nfs://filer/export/FILMS", b"nfs://filer/export/all/other",
        b"nfs://nas/Media", b"smb://nas/covered", b"//nas/other", b"afp://mini/other",
    ],
)  # fmt: skip
def test_one_that_is_not_mounted_is_missing_and_the_error_says_how_to_mount_it(url):
    with pytest.raises(MissingError, match="not mounted") as caught:
        located(url, TABLE)

    assert caught.value.path == url
    assert "mount" in caught.value.advice
    assert "//nas/Media on /mnt/nas" in caught.value.cause


@pytest.mark.parametrize("url", [b"smb://", b"smb://nas", b"nfs://nas/", b"smb:///share"])
def test_a_url_without_a_share_is_a_slip(url):
    with pytest.raises(UsageError):
        located(url, TABLE[:1])


@pytest.mark.parametrize("path", [b"/mnt/nas", b"nas/media", b"smb:", b"smb:/x", b"///mnt", b"http://nas/x", b"", b"/"])
def test_anything_else_is_a_path(path):
    assert not is_url(path)
    assert located(path, TABLE) == path


def test_two_slashes_before_a_folder_that_is_there_are_one(tmp_path):
    path = os.fsencode(tmp_path)

    assert located(b"/" + path, TABLE) == path
