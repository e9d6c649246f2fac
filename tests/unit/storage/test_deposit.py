from __future__ import annotations

import errno
import os

import pytest

from ingest import engine
from ingest.errors import IngestError, ManifestError, PausedError
from ingest.storage.deposit import deposit, open_folders

STAGED = b".ingest/staging/one.part"


@pytest.fixture
def place(tree):
    return tree("root")


def test_bytes_come_to_lie_under_their_name(place):
    assert deposit(place.root, b".ingest/a/b.json", STAGED, b"hello")

    assert place.get(b".ingest/a/b.json") == b"hello"
    assert place.get(STAGED) is None


def test_nothing_at_all_can_be_deposited(place):
    assert deposit(place.root, b"empty", STAGED, b"")

    assert place.get(b"empty") == b""


def test_a_name_that_is_taken_stays_as_it_is(place):
    before = place.put(b"a", b"theirs").stat()

    assert not deposit(place.root, b"a", STAGED, b"ours")

    assert place.get(b"a") == b"theirs"
    after = (place.path / "a").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert place.get(STAGED) is None


def test_a_dangling_link_is_a_name_that_is_taken(place):
    (place.path / "a").symlink_to("nowhere")

    assert not deposit(place.root, b"a", STAGED, b"ours")

    assert (place.path / "a").is_symlink()
    assert place.files() == {b"a"}


def test_what_a_dead_run_left_in_staging_is_replaced(place):
    place.put(STAGED, b"half of someth")

    assert deposit(place.root, b"a", STAGED, b"whole")

    assert place.get(b"a") == b"whole"


def test_a_link_in_place_of_a_folder_is_not_followed(place, tree):
    outside = tree("outside")
    (place.path / ".ingest").symlink_to(outside.path)

    with pytest.raises(IngestError):
        deposit(place.root, b".ingest/root.json", STAGED, b"x")

    assert outside.files() == set()


def test_a_file_in_place_of_a_folder_is_an_error_that_names_the_file(place):
    place.put(b"manifests", b"a file")

    with pytest.raises(IngestError) as caught:
        deposit(place.root, b"manifests/a.json", STAGED, b"x")

    assert caught.value.path == place.name + b"/manifests/a.json"
    assert place.get(STAGED) is None
    assert place.get(b"manifests") == b"a file"


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, PausedError), (errno.EIO, IngestError)])
def test_a_write_that_fails_leaves_no_staging_file(place, monkeypatch, number, kind):
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ingest.storage.deposit.os.write", refuse)

    with pytest.raises(kind) as caught:
        deposit(place.root, b"a", STAGED, b"x")

    assert (caught.value.errno, caught.value.operation) == (number, "write")
    assert place.get(b"a") is None
    assert place.get(STAGED) is None


def test_a_flush_that_fails_is_never_tried_again(place, monkeypatch):
    calls = []

    def refuse(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "flush")

    monkeypatch.setattr("ingest.storage.deposit.os.fsync", refuse)

    with pytest.raises(IngestError):
        deposit(place.root, b"a", STAGED, b"x")

    assert len(calls) == 1
    assert place.get(STAGED) is None


def test_short_writes_are_gone_on_with(place, monkeypatch):
    write = os.write
    monkeypatch.setattr("ingest.storage.deposit.os.write", lambda file, data: write(file, bytes(data[:3])))

    assert deposit(place.root, b"a", STAGED, b"0123456789")

    assert place.get(b"a") == b"0123456789"


def test_bytes_that_read_back_otherwise_get_no_name(place, monkeypatch):
    monkeypatch.setattr(engine, "prove", lambda *_, **__: [(b"\0" * 32, 1, 0, "evicted", None)])

    with pytest.raises(ManifestError, match="read back"):
        deposit(place.root, b"a", STAGED, b"x")

    assert place.get(b"a") is None
    assert place.get(STAGED) is None


def test_bytes_that_cannot_be_read_back_get_no_name(place, monkeypatch):
    fault = ("io", "read", errno.EIO, b"/x", "Input/output error", [])
    monkeypatch.setattr(engine, "prove", lambda *_, **__: [(None, 0, 0, None, fault)])

    with pytest.raises(IngestError) as caught:
        deposit(place.root, b"a", STAGED, b"x")

    assert caught.value.errno == errno.EIO
    assert place.get(b"a") is None
    assert place.get(STAGED) is None


def test_folders_are_made_with_their_parents(place):
    descriptor = open_folders(place.root, b"a/b/c")
    try:
        assert os.path.samestat(os.fstat(descriptor), os.stat(place.path / "a/b/c"))
    finally:
        os.close(descriptor)


def test_a_folder_that_cannot_be_made_is_an_error_with_its_number(place):
    place.put(b"a", b"")

    with pytest.raises(OSError) as caught:
        open_folders(place.root, b"a/b")

    assert caught.value.errno == errno.ENOTDIR
