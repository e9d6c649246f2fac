from __future__ import annotations

import json
import os
import uuid

import pytest

from ingest.errors import IngestError, ManifestError
from ingest.storage.marker import (
    MARKER,
    STAGING,
    Marker,
    check_marker,
    clear_leftovers,
    read_marker,
    staging_folder,
    write_marker,
)
from ingest.storage.volumes import volume_of

UUID = "6fa459ea-ee8a-3ca4-894e-db77e160355e"
SOUND = {"version": 1, "uuid": UUID, "fs_uuid": "1234-ABCD", "created": "2026-01-02T03:04:05+00:00"}


@pytest.fixture
def place(tree):
    return tree("root")


@pytest.fixture
def marked(place):
    """A root whose marker says this."""

    def mark(said: object) -> None:
        place.put(MARKER, said if isinstance(said, bytes) else json.dumps(said).encode())

    return mark


def volume(place):
    return volume_of(place.name)


def test_a_marker_is_read_as_it_was_written(place):
    written = write_marker(place.root, volume(place))

    assert read_marker(place.root) == written
    assert uuid.UUID(written.uuid).version == 4
    assert written.created.endswith("+00:00")


def test_a_marker_is_json_that_says_its_version(place):
    written = write_marker(place.root, volume(place))

    stored = json.loads(place.get(MARKER))
    assert stored == {"version": 1, "uuid": written.uuid, "fs_uuid": written.fs_uuid, "created": written.created}


def test_every_root_gets_a_marker_of_its_own(tree):
    assert len({write_marker(tree(name).root, volume(tree(name))).uuid for name in "abc"}) == 3


def test_a_marker_that_is_there_holds(place, marked):
    marked(SOUND)

    assert write_marker(place.root, volume(place)).uuid == UUID
    assert json.loads(place.get(MARKER)) == SOUND


def test_a_folder_without_a_marker_has_none(place):
    assert read_marker(place.root) is None
    place.put(b".ingest/manifests/x", b"")
    assert read_marker(place.root) is None


def test_a_marker_of_the_golden_version_is_read(place, marked):
    marked(SOUND)

    assert read_marker(place.root) == Marker(UUID, "1234-ABCD", "2026-01-02T03:04:05+00:00", 1)


def test_a_marker_without_a_file_system_s_uuid_is_whole(place, marked):
    marked({**SOUND, "fs_uuid": None})
    assert read_marker(place.root).fs_uuid is None


@pytest.mark.parametrize(
    "said",
    [
        b"", b"\0" * 100, b"{", json.dumps(SOUND).encode()[:-5], b"\xff\xfe{}", b"null", b"[]", b"7", b'"text"',
        b"[" * 65_536, {}, {"version": 1}, {**SOUND, "uuid": "not one"}, {**SOUND, "uuid": 7}, {**SOUND, "uuid": None},
        {**SOUND, "version": "one"}, {**SOUND, "version": None}, {**SOUND, "version": []},
        b'{"version": Infinity, "uuid": "' + UUID.encode() + b'", "created": "x"}',
        b'{"version": NaN, "uuid": "' + UUID.encode() + b'", "created": "x"}',
        b'{"version": 1' + b"0" * 5000 + b"}",
        {key: SOUND[key] for key in ("version", "uuid")},
    ],
    ids=range(22),
)  # fmt: skip
def test_what_is_no_marker_is_an_error_that_names_the_file(place, marked, said):
    marked(said)

    with pytest.raises(ManifestError) as caught:
        read_marker(place.root)

    assert caught.value.path == place.name + b"/" + MARKER
    assert caught.value.advice


@pytest.mark.parametrize(
    "said", [{**SOUND, "version": 2}, {"version": 2, "id": "a new way to say it"}, {"version": 99}]
)
def test_a_newer_marker_is_refused_as_newer(place, marked, said):
    marked(said)

    with pytest.raises(ManifestError, match="newer"):
        read_marker(place.root)


def test_a_damaged_marker_is_never_replaced(place, marked):
    marked(b"{")

    with pytest.raises(ManifestError):
        write_marker(place.root, volume(place))

    assert place.get(MARKER) == b"{"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: os.symlink("/etc/hostname", p)])
def test_what_is_no_file_is_no_marker_and_nothing_waits_for_it(place, make):
    place.put(b".ingest/x", b"")
    make(place.path / os.fsdecode(MARKER))

    with pytest.raises(IngestError) as caught:
        read_marker(place.root)

    assert caught.value.path == place.name + b"/" + MARKER


# Whether it is still the same root


def test_a_root_that_carries_its_marker_passes(place):
    written = write_marker(place.root, volume(place))
    check_marker(place.root, written.uuid)


def test_a_marker_that_is_gone_is_noticed(place):
    written = write_marker(place.root, volume(place))
    (place.path / os.fsdecode(MARKER)).unlink()

    with pytest.raises(IngestError, match="gone"):
        check_marker(place.root, written.uuid)


def test_another_root_s_marker_is_noticed(place):
    write_marker(place.root, volume(place))

    with pytest.raises(IngestError, match="another root"):
        check_marker(place.root, UUID)


def test_a_folder_that_took_the_root_s_place_is_noticed(place):
    pinned = place.root
    written = write_marker(pinned, volume(place))
    place.path.rename(place.path.with_name("moved"))
    place.path.mkdir()
    place.put(MARKER, json.dumps({**SOUND, "uuid": written.uuid}).encode())

    with pytest.raises(IngestError):
        check_marker(pinned, written.uuid)


# Leftovers


def test_staging_files_of_markers_are_cleared_and_nothing_else(place):
    place.put(STAGING + b"/root-1a2b3c4d.part", b"x")
    place.put(STAGING + b"/1a2b3c4d/7-1-1.part", b"x")
    place.put(STAGING + b"/notes.txt", b"x")

    clear_leftovers(place.root)

    assert sorted(os.listdir(place.path / os.fsdecode(STAGING))) == ["1a2b3c4d", "notes.txt"]
    assert place.get(STAGING + b"/1a2b3c4d/7-1-1.part") == b"x"


def test_a_root_without_staging_has_no_leftovers(place):
    clear_leftovers(place.root)
    assert not (place.path / ".ingest").exists()


def test_a_session_stages_in_a_folder_of_its_own():
    assert staging_folder("1a2b3c4d") == b".ingest/staging/1a2b3c4d"
