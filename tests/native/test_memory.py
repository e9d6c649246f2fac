"""pages_in_memory: what of files this machine has in memory."""

import mmap
import os

import pytest

from ingest import _native


@pytest.fixture
def evictable(disk):
    if disk.root().cold != "evicted":
        pytest.skip("needs a disk, and a kernel that tells what its cache holds (Linux 6.5)")
    return disk


def drop(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_pages_are_counted_until_they_are_dropped(evictable):
    path = evictable.write("DCIM/clip.mov", os.urandom(10_000))
    pages = -(-10_000 // mmap.PAGESIZE)

    before = _native.pages_in_memory(evictable.root(), [path])
    drop(evictable.path / "DCIM/clip.mov")

    assert before == [pages]
    assert _native.pages_in_memory(evictable.root(), [path]) == [0]


def test_asking_brings_nothing_into_memory(evictable):
    path = evictable.write("clip.mov", os.urandom(10_000))
    drop(evictable.path / "clip.mov")

    assert _native.pages_in_memory(evictable.root(), [path, path]) == [0, 0]


def test_one_bad_file_never_hides_the_others(archive):
    path = archive.write("clip.mov", b"x")
    (archive.path / "link").symlink_to("clip.mov")

    gone, link, outside, good = _native.pages_in_memory(archive.root(), [b"gone", b"link", b"../x", path])

    assert isinstance(gone, FileNotFoundError)
    assert isinstance(link, OSError)
    assert isinstance(outside, OSError)
    assert good is None or good == 1


def test_where_memory_is_kept_elsewhere_no_page_is_no_news(mounts):
    overlay = mounts.overlay()
    path = overlay.write("clip.mov", os.urandom(10_000))

    assert _native.pages_in_memory(overlay.root(), [path]) == [None]
