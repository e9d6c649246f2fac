"""stage with `together`: small files closed as they are written, and flushed by one call for their file system."""

import errno
import os

import pytest

from ingest import _native

MIB = 1 << 20

STAGE = """
card, *archives = sys.argv[1:]
names = sorted(os.fsencode(name) for name in os.listdir(card))
seen = [os.stat(os.path.join(os.fsencode(card), name)) for name in names]
result = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive)) for archive in archives],
    list(range(len(names))), names, [one.st_size for one in seen], [one.st_mtime_ns for one in seen],
    [[b"staging/" + name for name in names] for _ in archives], together=True,
)
"""


@pytest.fixture
def cards(card, disk):
    """Forty small files and a larger one, and an archive on a disk whose syncfs can be trusted."""
    if disk.root().magic not in {0xEF53, 0x58465342, 0x9123683E}:
        pytest.skip("the repository is on a file system where every file is flushed by itself")
    for number in range(40):
        card.write(f"{number:02}.xml", b"%d" % number * 1000)
    card.write("clip.mov", bytes(2 * MIB))
    (disk.path / "staging").mkdir()
    return card


def test_one_flush_stands_for_all_small_files_and_larger_ones_have_their_own(cards, disk, traced):
    result, calls = traced(STAGE, cards.path, disk.path, trace="fsync,syncfs")

    assert result[4] == result[5][0][4] == {}
    assert disk.files() == {f"staging/{name}" for name in cards.files()}
    assert len([call for call in calls if call.startswith("syncfs(")]) == 1
    own = [call for call in calls if call.startswith("fsync(") and "/staging/" in call]
    assert ["clip.mov" in call for call in own] == [True]


def test_two_archives_on_one_disk_share_the_flush(cards, disk, traced):
    (disk.path / "one").mkdir()
    (disk.path / "two").mkdir()

    result, calls = traced(STAGE, cards.path, disk.path / "one", disk.path / "two", trace="syncfs")

    assert all(copies[4] == {} for copies in result[5])
    assert len([call for call in calls if call.startswith("syncfs(")]) == 1


def test_the_descriptor_that_is_flushed_was_opened_before_the_first_file(cards, disk, traced):
    """Only then does syncfs report what went wrong with any of them."""
    _, calls = traced(STAGE, cards.path, disk.path, trace="openat,openat2,syncfs")

    (flush,) = [call for call in calls if call.startswith("syncfs(")]
    descriptor = flush.removeprefix("syncfs(").split("<")[0]
    opened = [at for at, call in enumerate(calls) if call.startswith("open") and f"= {descriptor}<{disk.path}>" in call]
    created = [at for at, call in enumerate(calls) if "O_EXCL" in call and "staging" in call]
    assert len(created) == 41
    assert opened[-1] < created[0]
    reopened = [call for call in calls[opened[-1] + 1 :] if f"= {descriptor}<" in call]
    assert reopened == [], "it is still the one that was opened then"


def test_a_handful_of_small_files_is_flushed_one_by_one(cards, disk, traced):
    """What else was written to the file system is not waited for."""
    for number in range(31, 40):
        (cards.path / f"{number:02}.xml").unlink()

    _, calls = traced(STAGE, cards.path, disk.path, trace="fsync,syncfs")

    assert [call for call in calls if call.startswith("syncfs(")] == []
    assert len([call for call in calls if ".xml" in call and call.startswith("fsync(")]) == 31


def test_a_failed_flush_condemns_every_small_file_and_is_never_tried_again(cards, disk, traced, rows):
    result, calls = traced(STAGE, cards.path, disk.path, trace="syncfs", inject=("syncfs:error=EIO",))

    assert len([call for call in calls if call.startswith("syncfs(")]) == 1
    *small, (digest, _, _, _, fault, [clip]) = rows(result)
    assert (digest, fault, clip.fault) == (_native.blake3(bytes(2 * MIB)), None, None)
    for number, row in enumerate(small):
        assert row.digest == _native.blake3(b"%d" % number * 1000)
        assert row.copies[0].fault[:4] == (
            "io", "syncfs", errno.EIO, os.fsencode(disk.path / f"staging/{number:02}.xml"),
        )  # fmt: skip
    assert disk.files() == {"staging/clip.mov"}


def test_a_failed_close_condemns_that_file_alone(cards, disk, traced, rows):
    """The third file that is closed after its time was set."""
    _, calls = traced(STAGE, cards.path, disk.path, trace="close")
    closes = [at for at, call in enumerate(calls) if "/staging/" in call]
    for path in (disk.path / "staging").iterdir():
        path.unlink()

    result, _ = traced(STAGE, cards.path, disk.path, trace="close", inject=(f"close:error=EIO:when={closes[2] + 1}",))

    faults = [row.copies[0].fault for row in rows(result)]
    assert [fault[:3] for fault in faults if fault] == [("io", "close", errno.EIO)]
    assert len(disk.files()) == 40


def test_two_hundred_small_files_need_a_handful_of_calls_each(card, disk, traced):
    for number in range(200):
        card.write(f"{number:03}.xml", bytes(16 << 10))
    (disk.path / "staging").mkdir()

    result, calls = traced(STAGE, card.path, disk.path, trace="all")

    assert result[4] == result[5][0][4] == {}
    names = [call.split("(")[0] for call in calls if ".xml" in call]
    # Opened, asked for and read; created and written; opened, dropped, asked for and read back; and each close.
    most = {"openat": 1, "openat2": 2, "read": 2, "write": 1, "fstat": 4, "newfstatat": 1, "close": 3, "fadvise64": 3}
    for name, times in most.items():
        assert names.count(name) <= times * 200 + (200 if name == "newfstatat" else 0), name
    together = disk.root().magic in {0xEF53, 0x58465342, 0x9123683E}
    assert names.count("fsync") == (0 if together else 200)


def test_without_together_every_file_is_flushed_by_itself(cards, disk, traced):
    _, calls = traced(STAGE.replace("together=True", "together=False"), cards.path, disk.path, trace="fsync,syncfs")

    assert [call for call in calls if call.startswith("syncfs(")] == []
    assert len([call for call in calls if "/staging/" in call and call.startswith("fsync(")]) == 41


TURNS = """
card, one, other, disks = sys.argv[1:]
names = sorted(os.fsencode(name) for name in os.listdir(card))
seen = [os.stat(os.path.join(os.fsencode(card), name)) for name in names]
result = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive)) for archive in (one, other)],
    list(range(len(names))), names, [one.st_size for one in seen], [one.st_mtime_ns for one in seen],
    [[b"staging/" + name for name in names] for _ in range(2)], together=True, disks=[int(disk) for disk in disks],
)
"""


@pytest.mark.parametrize(("disks", "side_by_side"), [("", True), ("01", True), ("00", False)])
def test_two_file_systems_on_one_disk_take_turns_and_are_flushed_each_in_its_way(
    card, mounts, traced, tmp_path, disks, side_by_side
):
    one, other = mounts.ext4(64), mounts.ext4(64)
    for number in range(40):
        card.write(f"{number:02}.xml", b"%d" % number * 1000)
    card.write("clip.mov", bytes(2 * MIB))

    result, _ = traced(TURNS, card.path, one.path, other.path, disks, trace="fsync,syncfs,read,pread64")

    assert all(copies[4] == {} for copies in result[5])
    threads: dict[str, list[set[str]]] = {"fsync": [], "syncfs": [], "read": []}
    lines = (tmp_path / "strace.log").read_text(errors="replace").splitlines()
    for archive in (one, other):
        for kind, about in (("fsync", "/staging/clip.mov>"), ("syncfs", ">"), ("read", "/staging/clip.mov>")):
            mine = [line for line in lines if f"{kind}" in line.partition("(")[0] and f"<{archive.path}{about}" in line]
            threads[kind].append({line.split()[0] for line in mine})
    # A flush of a file system waits in a thread of its own, whoever asks for it.
    assert all(len(asked) == 1 for asked in threads["syncfs"])
    for kind in ("fsync", "read"):
        first, second = threads[kind]
        assert len(first) == len(second) == 1
        assert (first != second) is side_by_side, kind


def test_disks_are_named_for_every_root_or_none(card, disk, stage):
    with pytest.raises(ValueError, match="disks has 2 entries"):
        stage(card, [disk], card.write("a", b"x"), disks=[0, 0])


def test_a_batch_that_is_cancelled_before_its_flush_leaves_nothing(card, disk, stage, gone):
    names = [card.write(f"{number}.xml", b"x") for number in range(3)]
    page = _native.Page()
    page.cancel()

    staged = stage(card, [disk], *names, together=True, page=page)

    assert [row.fault[0] for row in staged] == ["cancelled"] * 3
    assert [row.copies for row in staged] == [[gone]] * 3
    assert disk.files() == set()
