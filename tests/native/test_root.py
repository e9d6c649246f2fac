"""Root: a pinned folder."""

import errno
import os
import stat

import pytest

from ingest import _native


def test_it_says_what_it_pinned(archive):
    root = archive.root()
    seen = archive.path.stat()

    assert root.path == os.fsencode(archive.path)
    assert (root.dev, root.ino) == (seen.st_dev, seen.st_ino)
    assert root.magic > 0
    assert root.cold in {"evicted", "direct", "reread"}
    root.check()


def test_what_cannot_be_opened_raises_what_python_would(archive):
    archive.write("file", b"")
    missing = os.fsencode(archive.path / "none")

    with pytest.raises(FileNotFoundError) as caught:
        _native.Root(missing)
    assert caught.value.filename == missing
    with pytest.raises(NotADirectoryError):
        _native.Root(os.fsencode(archive.path / "file"))
    with pytest.raises(TypeError):
        _native.Root(str(archive.path))


def test_a_missing_root_is_noticed(archive, tmp_path):
    root = archive.root()
    archive.path.rename(tmp_path / "moved")

    with pytest.raises(FileNotFoundError):
        root.check()


def test_another_folder_in_its_place_is_noticed(archive, tmp_path):
    root = archive.root()
    archive.path.rename(tmp_path / "moved")
    archive.path.mkdir()

    with pytest.raises(OSError, match="another folder") as caught:
        root.check()
    assert caught.value.errno == errno.ESTALE


def test_a_mount_over_it_is_noticed(archive, mounts):
    root = archive.root()
    mounts.tmpfs("size=1m", at=archive.path)

    with pytest.raises(OSError, match="another folder"):
        root.check()


def test_lstat_answers_for_each_path(archive):
    archive.write("file", b"abc")
    (archive.path / "link").symlink_to("file")

    file, link, none, below, outside, itself = archive.root().lstat(
        [b"file", b"link", b"none", b"file/below", b"../x", b""]
    )

    seen = (archive.path / "file").lstat()
    assert file == (seen.st_mode, 3, seen.st_mtime_ns, seen.st_dev, seen.st_ino, 1)
    assert stat.S_ISLNK(link[0])
    assert none is None
    assert below is None
    assert isinstance(outside, OSError)
    assert outside.errno == errno.EINVAL
    assert itself[4] == archive.root().ino


def test_a_link_on_the_way_is_an_error_and_not_a_gap(archive, tmp_path):
    (tmp_path / "outside").mkdir()
    (archive.path / "link").symlink_to(tmp_path / "outside")

    [found] = archive.root().lstat([b"link/file"])

    assert isinstance(found, OSError)
    assert found.errno == errno.ELOOP


def test_an_opened_folder_is_a_descriptor_of_ones_own(archive):
    archive.write("folder/file", b"x")

    for path, names in [(b"folder", ["file"]), (b"", ["folder"])]:
        descriptor = archive.root().open_folder(path)
        assert os.listdir(descriptor) == names
        os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        archive.root().open_folder(b"none")


def test_paths_longer_than_any_system_call_takes_work(archive, card, stage):
    name = card.write("clip.mov", b"deep")
    stage(card, [archive], name)
    path = b"/".join([b"d" * 200] * 30 + [b"clip.mov"])
    root = archive.root()

    assert len(path) > 4096
    assert _native.publish(root, [b"staging/0"], [path]) == (["noreplace"], {})
    assert root.lstat([path])[0][1] == 4
    assert _native.prove(root, [path], cold=False)[0][0] == _native.blake3(b"deep")
    assert _native.discard(root, [path]) == [None]


LOOK = """
root = _native.Root(os.fsencode(sys.argv[1]))
result = root.lstat([b"none/deep/%d" % number for number in range(50)] + [b"none/deep/er/x", b"there", b"nonesuch/x"])
result = [identity is None for identity in result]
"""


def test_a_missing_folder_is_looked_for_once_for_all_that_lies_beneath_it(archive, traced):
    archive.write("there", b"")

    result, calls = traced(LOOK, archive.path, trace="openat2")

    assert result == [True] * 51 + [False, True]
    assert len([call for call in calls if '"none/deep' in call]) == 1
