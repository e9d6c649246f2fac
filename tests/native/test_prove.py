"""prove: hashing files where they are."""

import errno
import os
from mmap import PROT_READ, mmap

import pytest

from ingest import _native


def test_a_warm_proof_names_no_method(archive):
    path = archive.write("clip.mov", b"x" * 5000)
    seen = (archive.path / "clip.mov").stat()

    [proof] = _native.prove(archive.root(), [path], cold=False)

    assert proof == (_native.blake3(b"x" * 5000), 5000, seen.st_mtime_ns, None, None)


def test_a_cold_proof_names_its_method_and_counts_what_it_read(disk):
    path = disk.write("clip.mov", os.urandom(100_001))
    page = _native.Page()

    [(digest, size, _, method, fault)] = _native.prove(disk.root(), [path], cold=True, items=[41], page=page)

    assert digest == _native.blake3(disk.read("clip.mov"))
    assert (size, method, fault) == (100_001, disk.root().cold, None)
    assert page.words()[1:4] == [0, 0, 100_001]


def test_a_warm_proof_counts_apart_from_what_is_copied(archive):
    path = archive.write("clip.mov", b"x" * 100_001)
    page = _native.Page()

    _native.prove(archive.root(), [path], cold=False, items=[41], page=page)

    words = page.words()
    assert words[1:4] == [0, 0, 0]
    assert words[5 : 5 + _native.THREADS_MAX] == [0] * _native.THREADS_MAX, "no thread is busy any more"
    assert words[5 + _native.THREADS_MAX] == 100_001


def test_a_file_that_someone_maps_cannot_be_evicted_and_is_read_around(disk):
    root = disk.root()
    if root.cold != "evicted" or root.magic != 0xEF53:
        pytest.skip("needs ext4 and a kernel that tells what its cache holds (Linux 6.5)")
    path = disk.write("clip.mov", os.urandom(100_001))
    with open(disk.path / "clip.mov", "rb") as file, mmap(file.fileno(), 0, prot=PROT_READ) as mapped:
        assert mapped[0] is not None  # a touched page is held

        [(digest, *_, method, fault)] = _native.prove(root, [path], cold=True)

    assert digest == _native.blake3(disk.read("clip.mov"))
    assert (method, fault) == ("direct", None)


def test_one_bad_file_never_hides_the_others(archive):
    path = archive.write("clip.mov", b"x")

    gone, outside, good = _native.prove(archive.root(), [b"gone", b"../x", path], cold=False)

    assert gone[:4] == (None, 0, 0, None)
    assert gone[4][:4] == ("io", "open", errno.ENOENT, os.fsencode(archive.path / "gone"))
    assert outside[4][2] == errno.EINVAL
    assert good[0] == _native.blake3(b"x")


def test_cancelling_stops_it(archive):
    path = archive.write("clip.mov", b"x")
    page = _native.Page()
    page.cancel()

    [proof] = _native.prove(archive.root(), [path], cold=True, page=page)

    assert proof[4][0] == "cancelled"


def test_items_are_none_or_as_many_as_paths(archive):
    with pytest.raises(ValueError, match="entries"):
        _native.prove(archive.root(), [b"a", b"b"], cold=False, items=[1])


def test_the_digest_of_bytes_is_the_published_one():
    assert _native.blake3(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert _native.blake3(b"\x00").hex() == "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"
