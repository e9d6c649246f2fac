"""reliance: what the choices of a copy rest on, where a path is."""

import os

import pytest

from ingest import _native


def told(place, **options):
    return _native.reliance(os.fsencode(place.path), **options)


def test_a_disk_of_ext4_answers_for_a_batch_and_lets_its_pages_go(mounts):
    assert told(mounts.ext4(64)) == (True, True)


def test_memory_has_nothing_to_flush_and_no_pages_to_drop(mounts):
    assert told(mounts.tmpfs("size=10m")) == (True, False)


def test_of_a_folder_it_says_what_the_engine_does_there(disk, traced, card):
    """The one table: where it says that a batch is flushed together, it is."""
    (disk.path / "staging").mkdir()
    for number in range(_native.FEW):
        card.write(f"{number:02}.xml", b"x")
    together, _ = told(disk)

    _, calls = traced(
        """
card, archive = sys.argv[1:]
names = sorted(os.fsencode(name) for name in os.listdir(card))
seen = [os.stat(os.path.join(os.fsencode(card), name)) for name in names]
result = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive))], list(range(len(names))), names,
    [one.st_size for one in seen], [one.st_mtime_ns for one in seen], [[b"staging/" + name for name in names]], together=True,
)[5][0][4]
""",
        card.path, disk.path, trace="syncfs",
    )  # fmt: skip

    assert len(calls) == int(together)


def test_a_link_is_followed(mounts, tmp_path, place):
    memory = mounts.tmpfs("size=10m")
    (tmp_path / "link").symlink_to(memory.path)

    assert _native.reliance(os.fsencode(tmp_path / "link")) == (True, False)


@pytest.mark.parametrize("path", [b"/nowhere/at/all", b"/proc"])
def test_of_what_is_not_known_nothing_is_relied_on(path):
    assert _native.reliance(path) == (False, False)
