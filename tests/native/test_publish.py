"""publish, settle, make_folders and discard: names, and how they become durable."""

import errno
import os

import pytest

from ingest import _native

PUBLISH = """
result = _native.publish(_native.Root(os.fsencode(sys.argv[1])), [b"staging/0"], [b"2024/06-01/clip.mov"])
"""


def test_a_name_appears_and_the_staging_name_goes(archive):
    archive.write("staging/0", b"x")

    published = _native.publish(archive.root(), [b"staging/0"], [b"2024/06-01/clip.mov"])

    assert published == (["noreplace"], {})
    assert archive.files() == {"2024/06-01/clip.mov"}


def test_nothing_is_ever_replaced(archive):
    archive.write("staging/0", b"new")
    archive.write("staging/1", b"other")
    archive.write("clip.mov", b"old")

    published = _native.publish(archive.root(), [b"staging/0", b"staging/1"], [b"clip.mov", b"free.mov"])

    methods, faults = published
    assert methods == [None, "noreplace"]
    assert list(faults) == [0]
    assert faults[0][:4] == ("io", "rename", errno.EEXIST, os.fsencode(archive.path / "clip.mov"))
    assert archive.read("clip.mov") == b"old"
    assert archive.read("staging/0") == b"new"


def test_where_noreplace_is_unknown_a_link_takes_its_place(archive, traced):
    archive.write("staging/0", b"x")

    result, _ = traced(PUBLISH, archive.path, trace="renameat2", inject=("renameat2:error=EINVAL",))

    assert result == (["link"], {})
    assert archive.files() == {"2024/06-01/clip.mov"}
    assert (archive.path / "2024/06-01/clip.mov").stat().st_nlink == 1


def test_a_link_replaces_nothing_either(archive, traced):
    archive.write("staging/0", b"new")
    archive.write("2024/06-01/clip.mov", b"old")

    ([how], faults), _ = traced(PUBLISH, archive.path, trace="renameat2", inject=("renameat2:error=EINVAL",))

    assert how is None
    assert faults[0][:3] == ("io", "link", errno.EEXIST)
    assert archive.read("2024/06-01/clip.mov") == b"old"
    assert archive.read("staging/0") == b"new"


@pytest.mark.parametrize("refusal", ["EPERM", "EOPNOTSUPP", "EIO"])
@pytest.mark.parametrize("taken", [False, True])
def test_where_links_are_missing_too_a_look_and_a_rename_say_so(archive, traced, refusal, taken):
    archive.write("staging/0", b"new")
    if taken:
        archive.write("2024/06-01/clip.mov", b"old")
    # Only the first: the plain rename may be the same call, without the flag.
    inject = (f"linkat:error={refusal}", "renameat2:error=EINVAL:when=1")

    ([how], faults), _ = traced(PUBLISH, archive.path, trace="renameat2,linkat", inject=inject)

    if taken:
        assert (how, faults[0][:3]) == (None, ("io", "rename", errno.EEXIST))
        assert archive.read("2024/06-01/clip.mov") == b"old"
    else:
        assert (how, faults) == ("unguarded", {})
        assert archive.files() == {"2024/06-01/clip.mov"}


def test_every_touched_folder_and_every_parent_of_a_new_one_is_flushed_once(archive, traced):
    archive.write("staging/0", b"x")

    _, calls = traced(PUBLISH, archive.path, trace="fsync")

    flushed = sorted(call.split("<")[1].split(">")[0] for call in calls if "fsync(" in call)
    top = str(archive.path)
    assert flushed == [top, f"{top}/2024", f"{top}/2024/06-01", f"{top}/staging"]


def test_a_folder_that_cannot_be_flushed_is_a_fault_of_its_files(archive, traced):
    archive.write("staging/0", b"x")

    ([how], faults), _ = traced(PUBLISH, archive.path, trace="fsync", inject=("fsync:error=EIO",))

    assert how is None
    assert faults[0][:3] == ("io", "fsync_folder", errno.EIO)
    assert archive.files() == {"2024/06-01/clip.mov"}, "the name stands"


def test_a_file_system_without_folder_flushes_is_no_fault(archive, traced):
    archive.write("staging/0", b"x")

    result, _ = traced(PUBLISH, archive.path, trace="fsync", inject=("fsync:error=EINVAL",))

    assert result == (["noreplace"], {})


def test_another_mount_is_never_published_into(archive, mounts):
    mounts.tmpfs("size=1m", at=archive.path / "other")
    archive.write("staging/0", b"x")

    [how], faults = _native.publish(archive.root(), [b"staging/0"], [b"other/clip.mov"])

    assert how is None
    assert faults[0][2] == errno.EXDEV
    assert archive.read("staging/0") == b"x"


def test_paths_never_lead_out_of_the_root(archive):
    archive.write("staging/0", b"x")
    for path in [b"../out", b"/tmp/out", b"a/../../out", b"", b"a//b"]:
        [how], faults = _native.publish(archive.root(), [b"staging/0"], [path])
        assert (how, faults[0][2]) == (None, errno.EINVAL)
    assert archive.files() == {"staging/0"}


def test_columns_must_fit_together(archive):
    with pytest.raises(ValueError, match="entries"):
        _native.publish(archive.root(), [b"a"], [])
    with pytest.raises(ValueError, match="entries"):
        _native.make_folders(archive.root(), [b"a"], [])


def test_settling_flushes_each_folder_up_to_the_root_once(archive, traced):
    archive.write("a/b/one", b"x")
    archive.write("a/b/two", b"x")
    code = 'result = _native.settle(_native.Root(os.fsencode(sys.argv[1])), [b"a/b/one", b"a/b/two", b"a/none"])'

    result, calls = traced(code, archive.path, trace="fsync")

    assert result == [None, None, None]
    assert len([call for call in calls if "fsync(" in call]) == 3


def test_folders_are_made_with_their_times(archive):
    faults = _native.make_folders(archive.root(), [b"card", b"card/empty"], [10**18, 10**18 + 1])

    assert faults == [None, None]
    assert (archive.path / "card").stat().st_mtime_ns == 10**18
    assert (archive.path / "card/empty").stat().st_mtime_ns == 10**18 + 1


def test_discarding_twice_is_no_fault(archive):
    path = archive.write("staging/0", b"x")
    root = archive.root()

    assert _native.discard(root, [path, path, b"no/such"]) == [None, None, None]
    assert not archive.exists("staging/0")
