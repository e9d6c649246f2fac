"""stage with clones and hard links: nothing is written, everything is proven, and the source is left alone."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import _native

MIB = 1 << 20
# Around a block, the size below which files share a flush, and the one from which threads share a file.
SIZES = (0, 1, 4095, 4096, 4097, 65_536, MIB - 1, MIB, MIB + 1, 16 * MIB - 1, 17 * MIB + 5)

STAGE = """
card, archive, strategy = sys.argv[1:]
names = sorted(os.listdir(card))
seen = [os.stat(os.path.join(card, name)) for name in names]
result = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive))], list(range(len(names))),
    [os.fsencode(name) for name in names], [one.st_size for one in seen], [one.st_mtime_ns for one in seen],
    [[os.fsencode(name) for name in names]], strategy=strategy,
)
"""


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture
def card_on(place):
    """Make a card with files of these sizes, all of it on its disk: `card_on(disk, sizes)`, and their names."""

    def make(disk: Path, sizes: tuple[int, ...]) -> tuple[Any, list[bytes]]:
        card = place(disk / "card")
        names = [card.write(f"{number:02}.mov", noise(size)) for number, size in enumerate(sizes)]
        subprocess.run(["sync", "-f", disk], check=True)
        return card, names

    return make


def looks(card: Any, *, linked: bool = False) -> dict[str, tuple[int, ...]]:
    """All that stat says of each file but the time of its last read; for one that is linked to, but for that, too."""
    seen = {name: (card.path / name).stat() for name in card.files()}
    own = {
        name: (s.st_mode, s.st_ino, s.st_dev, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns, s.st_blocks)
        for name, s in seen.items()
    }
    return (
        own if linked else {name: (*facts, seen[name].st_nlink, seen[name].st_ctime_ns) for name, facts in own.items()}
    )


def is_embedded(kind: str, size: int) -> bool:
    """Whether a file that was written as usual has its bytes among its file system's records, not in blocks."""
    return kind == "btrfs" and 0 < size <= 2048  # btrfs(5), max_inline


def extents(path: Path) -> list[str]:
    """The extents of a file, as filefrag lists them with their flags."""
    if shutil.which("filefrag") is None:
        pytest.skip("filefrag is not installed")
    told = subprocess.run(["filefrag", "-v", path], capture_output=True, text=True, check=True).stdout
    return [line for line in told.splitlines() if line.lstrip()[:1].isdigit()]


@pytest.mark.root
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_clones_of_every_size_share_the_sources_blocks_and_are_proven(
    make_disk, stage, kind, together, threads, place, card_on
):
    disk = make_disk(kind)
    # Enough small ones for a flush of their own.
    card, names = card_on(disk, (*SIZES, *[5000] * 40))
    before, archive, page = looks(card), place(disk / "archive"), _native.Page()

    rows = stage(card, [archive], *names, strategy="reflink", threads=threads, together=together, page=page)

    embedded = [is_embedded(kind, row.read) for row in rows]
    for number, (name, row) in enumerate(zip(names, rows, strict=True)):
        made = "copy" if embedded[number] else "reflink"
        assert (row.fault, row.copies[0].fault, row.copies[0].strategy) == (None, None, made), name
        assert row.copies[0].method in ("direct", "evicted"), name
        assert row.digest == _native.blake3(card.read(name))
        assert archive.read(f"staging/{number}") == card.read(name)
        assert row.copies[0].mtime == (archive.path / f"staging/{number}").stat().st_mtime_ns
        assert row.copies[0].mtime == (card.path / os.fsdecode(name)).stat().st_mtime_ns
        if row.read >= 4096:
            found = extents(archive.path / f"staging/{number}")
            assert found
            assert all("shared" in line for line in found), found
    assert looks(card) == before
    read, written, proven = page.words()[1:4]
    alone = sum(row.read for row, inside in zip(rows, embedded, strict=True) if inside)
    assert (read, written, proven) == (sum(row.read for row in rows), alone, sum(row.read for row in rows))


@pytest.mark.root
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_a_clone_takes_next_to_no_room_and_lives_on_when_the_source_is_changed(make_disk, stage, kind, place, card_on):
    disk = make_disk(kind)
    card, [name] = card_on(disk, (64 * MIB,))
    archive, whole = place(disk / "archive"), card.read("00.mov")
    free = shutil.disk_usage(disk).free

    [row] = stage(card, [archive], name, strategy="reflink")
    subprocess.run(["sync", "-f", disk], check=True)

    assert row.copies[0].strategy == "reflink"
    assert free - shutil.disk_usage(disk).free < 4 * MIB
    with open(card.path / "00.mov", "r+b") as file:
        file.write(b"edited")
    assert archive.read("staging/0") == whole


@pytest.mark.root
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["xfs", "btrfs", "ext4"])
def test_hard_links_are_the_sources_own_files_and_nothing_of_these_is_touched(
    make_disk, stage, kind, threads, place, card_on
):
    disk = make_disk(kind)
    card, names = card_on(disk, (*SIZES, *[5000] * 40))
    os.chmod(card.path / "03.mov", 0o400)
    before, archive, page = looks(card, linked=True), place(disk / "archive"), _native.Page()

    rows = stage(card, [archive], *names, strategy="hardlink", threads=threads, together=True, page=page)

    for number, (name, row) in enumerate(zip(names, rows, strict=True)):
        assert (row.fault, row.copies[0].fault, row.copies[0].strategy) == (None, None, "hardlink"), name
        assert (row.copies[0].method == "reread") == is_embedded(kind, row.read), name
        assert row.digest == _native.blake3(card.read(name))
        assert os.path.samefile(archive.path / f"staging/{number}", card.path / os.fsdecode(name))
    assert looks(card, linked=True) == before
    assert {(card.path / os.fsdecode(name)).stat().st_nlink for name in names} == {2}
    assert page.words()[2] == 0


@pytest.mark.root
@pytest.mark.parametrize("strategy", ["reflink", "hardlink"])
def test_nothing_is_done_to_a_source_but_to_open_read_flush_and_link_it(make_disk, traced, strategy, place, card_on):
    """Under either of its names, if it has two."""
    disk = make_disk("xfs")
    card, _ = card_on(disk, (5000, 2 * MIB))
    archive = place(disk / "archive")

    _, calls = traced(STAGE, card.path, archive.path, strategy, trace="desc,file")

    names = (f"{card.path}/01.mov>", f'{card.path}>, "01.mov"')
    if strategy == "hardlink":
        names += (f"{archive.path}/01.mov>", f'{archive.path}>, "01.mov"')
    concerned = [call for call in calls if any(name in call for name in names)]
    done = {call.partition("(")[0] for call in concerned}
    assert {"openat2", "read"} <= done <= {
        "openat2", "fstat", "newfstatat", "statx", "fadvise64", "read", "pread64", "close", "fcntl", "linkat", "ioctl",
        "fsync", "sync_file_range", "cachestat",
    }  # fmt: skip
    assert ("linkat" in done) == (strategy == "hardlink")
    assert len([call for call in calls if "FICLONE" in call]) == (2 if strategy == "reflink" else 0)
    assert len([call for call in calls if call.startswith("fsync(") and f"{archive.path}/01.mov>" in call]) == 1
    assert not [call for call in concerned if "O_RDWR" in call or "O_WRONLY" in call or "O_CREAT" in call]
    assert len([call for call in concerned if call.startswith("openat2") and f"{card.path}>" in call]) == 1


@pytest.mark.root
@pytest.mark.parametrize("kind", ["xfs", "btrfs", "ext4"])
def test_links_of_one_file_under_many_names_are_each_read_from_the_device(make_disk, stage, kind, place, card_on):
    """Two archives on the source's disk, and a card on which one file has two names: four copies, one file."""
    disk = make_disk(kind)
    card, [name] = card_on(disk, (300_000,))
    os.link(card.path / "00.mov", card.path / "again.mov")
    archives = [place(disk / "one"), place(disk / "other")]

    rows = stage(card, archives, name, b"again.mov", strategy="hardlink", threads=4)

    assert [copy.strategy for row in rows for copy in row.copies] == ["hardlink"] * 4
    assert {copy.method for row in rows for copy in row.copies} <= {"direct", "evicted"}
    assert (card.path / "00.mov").stat().st_nlink == 6


@pytest.mark.root
@pytest.mark.parametrize("size", [5000, 20 * MIB])
@pytest.mark.parametrize("strategy", ["reflink", "hardlink"])
def test_of_several_destinations_those_on_the_sources_disk_share_and_the_others_get_copies(
    make_disk, stage, archive, strategy, size, place, card_on
):
    disk = make_disk("xfs")
    elsewhere = place(make_disk("ext4"))
    card, [name] = card_on(disk, (size,))
    page = _native.Page()

    [row] = stage(
        card,
        [archive, place(disk / "one"), elsewhere, place(disk / "two")],
        name,
        strategy=strategy,
        page=page,
        threads=2,
    )

    assert [copy.strategy for copy in row.copies] == ["copy", strategy, "copy", strategy]
    assert [copy.fault for copy in row.copies] == [None] * 4
    assert row.read == size
    assert page.words()[1:4] == [size, 2 * size, 4 * size]
    assert archive.read("staging/0") == elsewhere.read("staging/0") == card.read(name)
    assert (archive.path / "staging/0").stat().st_mtime_ns == (card.path / "00.mov").stat().st_mtime_ns


@pytest.mark.root
def test_where_a_file_system_makes_no_clones_bytes_are_written_and_it_is_asked_once(
    make_disk, traced, rows, place, card_on
):
    disk = make_disk("ext4")
    card, _ = card_on(disk, (5000, 0, 2 * MIB))
    archive = place(disk / "archive")

    result, calls = traced(STAGE, card.path, archive.path, "reflink", trace="ioctl", about=archive.path / "00.mov")

    assert [row.copies[0].strategy for row in rows(result)] == ["copy"] * 3
    assert len([call for call in calls if "FICLONE" in call and "EOPNOTSUPP" in call]) == 1
    _, calls = traced(STAGE, card.path, place(disk / "next").path, "reflink", trace="ioctl", about=disk / "next/01.mov")
    assert not [call for call in calls if "FICLONE" in call]
    assert all(archive.read(name) == card.read(name) for name in card.files())


@pytest.mark.root
@pytest.mark.parametrize("code", ["EXDEV", "EOPNOTSUPP", "ENOTTY", "ENOSYS", "EINVAL", "EPERM", "EMLINK", "ETXTBSY"])
@pytest.mark.parametrize(("strategy", "call"), [("reflink", "ioctl"), ("hardlink", "linkat")])
def test_a_file_that_the_kernel_refuses_to_share_is_written(
    make_disk, traced, rows, strategy, call, code, place, card_on
):
    disk = make_disk("xfs")
    card, _ = card_on(disk, (5000, 2 * MIB, 700))
    archive = place(disk / "archive")

    result, calls = traced(
        STAGE, card.path, archive.path, strategy, trace=call, inject=(f"{call}:error={code}",),
        about=archive.path / "01.mov" if call == "ioctl" else Path("01.mov"),
    )  # fmt: skip

    assert [line for line in calls if "(INJECTED)" in line]
    told = rows(result)
    assert [row.copies[0].fault for row in told] == [None] * 3
    last = "copy" if code in ("EXDEV", "EOPNOTSUPP", "ENOTTY", "ENOSYS") else strategy
    assert [row.copies[0].strategy for row in told] == [strategy, "copy", last]
    assert all(archive.read(name) == card.read(name) for name in card.files())
    assert not os.path.samefile(archive.path / "01.mov", card.path / "01.mov")


@pytest.mark.root
@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
@pytest.mark.parametrize(
    ("strategy", "call", "operation"), [("reflink", "ioctl", "clone"), ("hardlink", "linkat", "link")]
)
def test_a_disk_that_fails_is_no_refusal(make_disk, traced, rows, strategy, call, operation, code, place, card_on):
    disk = make_disk("xfs")
    card, _ = card_on(disk, (5000, 2 * MIB))
    archive = place(disk / "archive")

    result, _ = traced(
        STAGE, card.path, archive.path, strategy, trace=call, inject=(f"{call}:error={code}",),
        about=archive.path / "01.mov" if call == "ioctl" else Path("01.mov"),
    )  # fmt: skip

    fault = rows(result)[1].copies[0].fault
    assert fault[:4] == ("io", operation, getattr(errno, code), os.fsencode(archive.path / "01.mov"))
    assert archive.files() == {"00.mov"}
    assert card.files() == {"00.mov", "01.mov"}


def disturbed(card: Any, archives: list[Any], disturb, **options) -> tuple:
    """Stage the card's one file of 64 MiB, and do something when the first of it was read."""
    page = _native.Page()
    seen = (card.path / "00.mov").stat()
    told: list[tuple] = []

    def work() -> None:
        told.append(
            _native.stage(
                card.root(),
                [archive.root() for archive in archives],
                [0],
                [b"00.mov"],
                [seen.st_size],
                [seen.st_mtime_ns],
                [[b"part"] for _ in archives],
                buffer=4096,
                page=page,
                **options,
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    while page.words()[1] < MIB:
        assert thread.is_alive(), "it ended before anything was read"
    disturb(page)
    thread.join(60)
    return told[0]


@pytest.mark.root
@pytest.mark.parametrize("strategy", ["reflink", "hardlink"])
def test_a_source_that_is_written_to_while_it_is_read_is_changed_and_no_copy_of_it_stays(
    make_disk, rows, archive, strategy, place, card_on
):
    disk = make_disk("xfs")
    card, _ = card_on(disk, (64 * MIB,))
    near = place(disk / "archive")

    def edit(_: _native.Page) -> None:
        with open(card.path / "00.mov", "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"!")

    [row] = rows(disturbed(card, [near, archive], edit, strategy=strategy))

    assert row.fault is not None
    assert row.fault[0] == "changed"
    assert near.files() == archive.files() == set()
    assert card.files() == {"00.mov"}


@pytest.mark.root
@pytest.mark.parametrize("strategy", ["reflink", "hardlink"])
def test_a_change_that_hides_itself_between_the_clone_and_the_read_shows_in_the_read_back(
    make_disk, rows, strategy, place, card_on
):
    """The clone has what the source was, and the digest is of what it is; a link follows its file."""
    disk = make_disk("btrfs")
    card, _ = card_on(disk, (64 * MIB,))
    near = place(disk / "archive")

    def edit(_: _native.Page) -> None:
        seen = (card.path / "00.mov").stat()
        with open(card.path / "00.mov", "r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last ^ 1]))
        os.utime(card.path / "00.mov", ns=(seen.st_atime_ns, seen.st_mtime_ns))

    [row] = rows(disturbed(card, [near], edit, strategy=strategy))

    assert row.digest == _native.blake3(card.read("00.mov"))
    [copy] = row.copies
    if strategy == "hardlink":
        assert (copy.fault, copy.strategy) == (None, "hardlink")
        return
    assert copy.fault is not None
    assert (copy.fault[0], copy.fault[5]) == ("mismatch", [(64 * MIB - 1, 64 * MIB)])
    assert near.files() == set()


@pytest.mark.root
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("strategy", ["reflink", "hardlink"])
def test_a_request_to_stop_is_heeded_and_leaves_only_the_source(make_disk, rows, strategy, threads, place, card_on):
    disk = make_disk("xfs")
    card, _ = card_on(disk, (64 * MIB,))
    before, near = looks(card, linked=True), place(disk / "archive")

    [row] = rows(disturbed(card, [near], lambda page: page.cancel(), strategy=strategy, threads=threads))

    assert row.fault is not None
    assert row.fault[0] == "cancelled"
    assert near.files() == set()
    assert looks(card, linked=True) == before
    assert (card.path / "00.mov").stat().st_nlink == 1


STOPPED = """
import threading, time
card, archive = sys.argv[1:]
page, seen = _native.Page(), os.stat(card + "/00.mov")
threading.Timer(0.3, page.cancel).start()
began = time.monotonic()
staged = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive))], [0], [b"00.mov"], [seen.st_size],
    [seen.st_mtime_ns], [[b"part"]], strategy="reflink", page=page,
)
result = staged[4][0][0], page.words()[1], time.monotonic() - began
"""


@pytest.mark.root
def test_the_wait_for_a_source_that_is_not_on_the_disk_yet_can_be_stopped(make_disk, traced, place, card_on):
    """The kernel writes out what it is to clone; here each slice takes two seconds."""
    disk = make_disk("xfs")
    card, _ = card_on(disk, (0,))
    with open(card.path / "00.mov", "wb") as file:
        file.truncate(250 * MIB)
    archive = place(disk / "archive")

    (fault, read, took), _ = traced(
        STOPPED, card.path, archive.path, trace="sync_file_range", inject=("sync_file_range:delay_enter=2s",)
    )

    assert (fault, read) == ("cancelled", 0)
    assert 2 <= took < 5
    assert archive.files() == set()


@pytest.mark.root
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_any_size_in_any_mode_arrives_shared_and_proven(make_disk, stage, kind, place, card_on):
    disk = make_disk(kind)
    card, _ = card_on(disk, ())
    tries = itertools.count()

    @settings(max_examples=40, deadline=None)
    @given(
        size=st.one_of(st.integers(0, 70_000), st.integers(MIB - 2, MIB + 2), st.integers(16 * MIB - 2, 16 * MIB + 2)),
        mode=st.sampled_from(["read", "mmap", "direct"]),
        power=st.integers(12, 20),
        threads=st.integers(1, 4),
        together=st.booleans(),
        strategy=st.sampled_from(["reflink", "hardlink"]),
    )
    def arrives(size: int, mode: str, power: int, threads: int, together: bool, strategy: str) -> None:
        archive = place(disk / f"archive{next(tries)}")
        name = card.write("clip.mov", noise(size))

        [row] = stage(
            card, [archive], name, mode=mode, buffer=1 << power, threads=threads, together=together, strategy=strategy
        )

        # What btrfs keeps among its records has no blocks to share, and a link to it cannot be read cold.
        inside = is_embedded(kind, size)
        made = "copy" if inside and strategy == "reflink" else strategy
        assert (row.fault, row.copies[0].fault, row.copies[0].strategy) == (None, None, made)
        assert row.digest == _native.blake3(noise(size))
        assert (row.copies[0].method == "reread") == (inside and strategy == "hardlink")
        shutil.rmtree(archive.path)

    arrives()


@pytest.mark.root
@pytest.mark.parametrize("strategy", ["reflink", "hardlink"])
def test_an_existing_staging_name_is_a_fault_and_stays_as_it_is(make_disk, stage, strategy, place, card_on):
    disk = make_disk("xfs")
    card, [name] = card_on(disk, (5000,))
    archive = place(disk / "archive")
    archive.write("staging/0", b"somebody else's")

    [row] = stage(card, [archive], name, strategy=strategy)

    assert row.copies[0].fault is not None
    assert row.copies[0].fault[2] == errno.EEXIST
    assert archive.read("staging/0") == b"somebody else's"


@pytest.mark.root
def test_subvolumes_of_one_btrfs_share_blocks_and_no_names(make_disk, stage, place, card_on):
    disk = make_disk("btrfs")
    subprocess.run(["btrfs", "subvolume", "create", disk / "volume"], check=True, capture_output=True)
    card, [name] = card_on(disk, (300_000,))

    [cloned] = stage(card, [place(disk / "volume/a")], name, strategy="reflink")
    [linked] = stage(card, [place(disk / "volume/b")], name, strategy="hardlink")

    assert (cloned.copies[0].strategy, linked.copies[0].strategy) == ("reflink", "copy")


def test_a_strategy_that_is_none_is_refused(card, archive, stage):
    with pytest.raises(ValueError, match="strategy must be copy, reflink or hardlink, not"):
        stage(card, [archive], strategy="auto")


def test_every_copy_tells_that_it_is_one(card, archive, stage):
    [row] = stage(card, [archive], card.write("a.mov", b"a"))

    assert row.copies[0].strategy == "copy"
