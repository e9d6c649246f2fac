"""stage with more digests than BLAKE3: the standard ones, of bytes that are read once, whatever is asked for."""

import errno
import hashlib
import os
import re
import tempfile
import threading
import time
from pathlib import Path
from random import Random

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import _native

KIB, MIB = 1 << 10, 1 << 20
ALL = ("xxh64", "xxh3", "xxh128", "md5", "sha1", "sha256", "sha512")
SLOW = ("md5", "sha1", "sha256", "sha512")
STANDARD = {
    "xxh64": xxhash.xxh64_digest,
    "xxh3": xxhash.xxh3_64_digest,
    "xxh128": xxhash.xxh3_128_digest,
    **{name: lambda data, name=name: hashlib.new(name, data, usedforsecurity=False).digest() for name in SLOW},
}
NOISE = Random(20).randbytes(25 * MIB)

# RFC 1321; FIPS 180 and its examples; for xxh "abc" is what the reference library (Cyan4973/xxHash) gives.
A_MILLION = b"a" * 1_000_000
PUBLISHED = {
    ("md5", b""): "d41d8cd98f00b204e9800998ecf8427e",
    ("md5", b"abc"): "900150983cd24fb0d6963f7d28e17f72",
    ("md5", A_MILLION): "7707d6ae4e027c70eea2a935c2296f21",
    ("sha1", b""): "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    ("sha1", b"abc"): "a9993e364706816aba3e25717850c26c9cd0d89d",
    ("sha1", A_MILLION): "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
    ("sha256", b""): "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ("sha256", b"abc"): "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ("sha256", A_MILLION): "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    ("sha512", b""): "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
    "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
    ("sha512", b"abc"): "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ("sha512", A_MILLION): "e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb"
    "de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b",
    ("xxh64", b"abc"): "44bc2cf5ad770999",
    ("xxh3", b"abc"): "78af5f94892f3950",
    ("xxh128", b"abc"): "06b05ab6733a618578af5f94892f3950",
}
# The sanity check of xxHash (`xsum_sanity_check.c`, seed 0): so many bytes of its test buffer.
SANITY = {
    "xxh64": {
        0: "ef46db3751d8e999",
        1: "e934a84adb052768",
        4: "9136a0dca57457ee",
        14: "8282dcc4994e35c8",
        222: "b641ae8cb691c174",
    },
    "xxh3": {
        0: "2d06800538d394c2",
        1: "c44bdff4074eecdb",
        6: "27b56a84cd2d7325",
        12: "a713daf0dfbb77e7",
        24: "a3fe70bf9d3510eb",
        48: "397da259ecba1f11",
        80: "bcdefbbb2c47c90a",
        195: "cd94217ee362ec3a",
        403: "cdeb804d65c6dea4",
        512: "617e49599013cb6b",
        2048: "dd59e2c3a5f038e0",
        2240: "6e73a90539cf2948",
        2367: "cb37aeb9e5d361ed",
    },
    "xxh128": {
        0: "99aa06d3014798d86001c324468d497f",
        1: "a6cd5e9392000f6ac44bdff4074eecdb",
        6: "082afe0b8162d12a3e7039bdda43cfc6",
        12: "6e3efd8fc7802b18061a192713f69ad9",
        24: "0ce966e4678d37611e7044d28b1b901d",
        48: "a002ac4e5478227ef942219aed80f67b",
        81: "4952f58181ab00425e8bafb9f95fb803",
        222: "337e09641b948717f1aebd597cec6b3a",
        403: "1b6de21e332dd73dcdeb804d65c6dea4",
        512: "18d2d110dcc9bca1617e49599013cb6b",
        2048: "f736557fd47073a5dd59e2c3a5f038e0",
        2240: "ccb134fbfa7ce49d6e73a90539cf2948",
        2367: "e89c0f6ff369b427cb37aeb9e5d361ed",
    },
}


def sanity_buffer(length: int) -> bytes:
    state, made = 2654435761, bytearray()
    for _ in range(length):
        made.append(state >> 56)
        state = state * 11400714785074694797 % (1 << 64)
    return bytes(made)


def standard(data: bytes, hashes=ALL) -> list[bytes]:
    return [STANDARD[name](data) for name in hashes]


class Summed:
    """``stage`` of files on a card, and the digests of each, by file."""

    def __init__(self, card, archives, *names: bytes, hashes=ALL, **options) -> None:
        seen = [os.stat(os.path.join(os.fsencode(card.path), name)) for name in names]
        self.staged = _native.stage(
            card.root(), [archive.root() for archive in archives], list(range(len(names))), names,
            [stat.st_size for stat in seen], [stat.st_mtime_ns for stat in seen],
            [[b"staging/%d" % index for index in range(len(names))] for _ in archives], hashes=hashes, **options,
        )  # fmt: skip
        columns = self.staged[8]
        assert [len(column) for column in columns] == [_native.HASHES[name] * len(names) for name in hashes]
        widths = [_native.HASHES[name] for name in hashes]
        self.sums = [
            [column[width * at : width * (at + 1)] for column, width in zip(columns, widths, strict=True)]
            for at in range(len(names))
        ]
        self.faults = self.staged[4]
        self.troubles = [copies[4] for copies in self.staged[5]]


NOTHING = [bytes(_native.HASHES[name]) for name in ALL]


def test_the_names_and_widths_are_those_of_the_contract():
    widths = {name: len(STANDARD[name](b"")) for name in ALL}
    assert widths == _native.HASHES
    assert tuple(_native.HASHES) == ALL


@pytest.mark.parametrize(("name", "data"), PUBLISHED, ids=lambda value: value if isinstance(value, str) else len(value))
def test_digests_are_those_that_were_published(card, name, data):
    path = card.write("clip.mov", data)

    [[digest]] = Summed(card, [], path, hashes=[name]).sums

    assert digest.hex() == PUBLISHED[name, data]


@pytest.mark.parametrize("name", SANITY)
def test_xxh_digests_are_those_of_its_own_sanity_check(card, name):
    buffer = sanity_buffer(max(SANITY[name]))
    paths = [card.write(f"{length}", buffer[:length]) for length in SANITY[name]]

    sums = Summed(card, [], *paths, hashes=[name]).sums

    assert [digest.hex() for [digest] in sums] == list(SANITY[name].values())


SIZES = st.one_of(
    st.sampled_from([0, 1, 63, 64, 65, 4095, 4096, 4097]),
    st.builds(
        lambda base, around: base + around,
        # A piece of the ring, the size from which there are lanes, the whole ring, and what threads share.
        st.sampled_from([64 * KIB, 256 * KIB, MIB, 2 * MIB, 4 * MIB]),
        st.sampled_from([-1, 0, 1, 4096, -4096]),
    ),
    st.integers(0, 5 * MIB),
    st.sampled_from([16 * MIB - 1, 16 * MIB, 16 * MIB + 1, 20 * MIB + 3]),
)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(SIZES, min_size=1, max_size=3),
    hashes=st.lists(st.sampled_from(ALL), unique=True).map(tuple),
    buffer=st.sampled_from([4 * KIB, 64 * KIB, MIB, 4 * MIB]),
    mode=st.sampled_from(["read", "mmap", "direct"]),
    threads=st.integers(1, 3),
    roots=st.integers(0, 2),
    together=st.booleans(),
)
def test_whatever_the_sizes_and_the_way_every_digest_is_the_standard_one(
    sizes, hashes, buffer, mode, threads, roots, together
):
    above = _native.__file__.rpartition("/")[0] if mode == "direct" else None
    with tempfile.TemporaryDirectory(dir=above, prefix=".digests-") as folder:
        files = [NOISE[at : at + size] for at, size in enumerate(sizes)]
        for number, data in enumerate(files):
            Path(folder, f"{number}").write_bytes(data)
        seen = [os.stat(f"{folder}/{number}") for number in range(len(files))]
        archives = [os.fsencode(f"{folder}/archive{number}") for number in range(roots)]
        for archive in archives:
            os.mkdir(archive)

        staged = _native.stage(
            _native.Root(os.fsencode(folder)), [_native.Root(archive) for archive in archives],
            list(range(len(files))), [b"%d" % number for number in range(len(files))], sizes,
            [stat.st_mtime_ns for stat in seen], [[b"part%d" % number for number in range(len(files))]] * roots,
            mode=mode, buffer=buffer, threads=threads, together=together, hashes=hashes,
        )  # fmt: skip

        assert staged[4] == {}
        assert [faults for *_, faults in staged[5]] == [{}] * roots
        assert staged[0] == b"".join(map(_native.blake3, files))
        assert staged[8] == [b"".join(map(STANDARD[name], files)) for name in hashes]
        for archive in archives:
            for number, data in enumerate(files):
                assert Path(os.fsdecode(archive), f"part{number}").read_bytes() == data


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [70_000, 3 * MIB + 7, 17 * MIB])
def test_one_by_one_they_are_what_they_are_all_at_once(card, size, threads):
    path = card.write("clip.mov", NOISE[:size])

    apart = [Summed(card, [], path, hashes=[name], threads=threads).sums[0][0] for name in ALL]

    assert apart == Summed(card, [], path, threads=threads).sums[0] == standard(NOISE[:size])


def test_they_come_in_the_order_in_which_they_were_asked_for(card):
    path = card.write("clip.mov", NOISE[: 2 * MIB])
    backwards = ALL[::-1]

    assert Summed(card, [], path, hashes=backwards).sums == [standard(NOISE[: 2 * MIB], backwards)]


def test_where_none_are_asked_for_none_are_told(card, archive):
    path = card.write("clip.mov", NOISE[: 2 * MIB])

    assert Summed(card, [archive], path, hashes=()).staged[8] == []


@pytest.mark.parametrize(
    "hashes", [["md4"], ["MD5"], [""], ["md5", "blake3"], ["c4"], ["md5", "md5"], ["xxh3", "md5", "xxh3"]]
)
def test_names_that_are_unknown_or_stand_there_twice_are_refused(card, archive, hashes):
    path = card.write("clip.mov", b"x")

    with pytest.raises(ValueError, match="hashes must"):
        Summed(card, [archive], path, hashes=hashes)
    assert archive.files() == set()


def test_a_file_that_fails_leaves_no_trace_in_those_after_it(card, archive):
    """Of the first, the lanes have seen a part: its time changes while it is read."""
    first = card.write("first.mov", NOISE[: 24 * MIB])
    others = [card.write(f"{size}.mov", NOISE[:size]) for size in (1000, 2 * MIB, 5 * MIB + 1)]
    page, over = _native.Page(), threading.Event()

    def touch():
        while page.words()[1] == 0 and not over.is_set():
            pass
        os.utime(card.path / "first.mov", ns=(0, 0))

    thread = threading.Thread(target=touch)
    thread.start()
    summed = Summed(card, [archive], first, *others, page=page)
    over.set()
    thread.join()

    assert {at: fault[0] for at, fault in summed.faults.items()} == {0: "changed"}
    assert summed.sums == [NOTHING, *(standard(NOISE[:size]) for size in (1000, 2 * MIB, 5 * MIB + 1))]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_root_that_fills_up_changes_nothing_and_when_none_is_left_there_are_no_digests(
    card, archive, mounts, threads
):
    path = card.write("clip.mov", NOISE[: 17 * MIB])
    small = mounts.tmpfs("size=5m")

    both = Summed(card, [small, archive], path, threads=threads)
    alone = Summed(card, [small], path, threads=threads)

    assert [trouble.keys() for trouble in both.troubles] == [{0}, set()]
    assert both.troubles[0][0][2] == errno.ENOSPC
    assert both.sums == [standard(NOISE[: 17 * MIB])]
    assert alone.sums == [NOTHING]


# A thread that has ended is listed for a moment still.
LEFT = """
import time

def left():
    given_up = time.monotonic() + 10
    while (many := len(os.listdir("/proc/self/task"))) > 1 and time.monotonic() < given_up:
        pass
    return many
"""

STAGE = (
    LEFT
    + """
card, threads, hashes, *archives = sys.argv[1:]
seen = os.stat(card + "/clip.mov")
staged = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive)) for archive in archives], [0], [b"clip.mov"],
    [seen.st_size], [seen.st_mtime_ns], [[b"part"] for _ in archives], threads=int(threads), buffer=65536,
    hashes=hashes.split(),
)
result = (staged[1], staged[4], staged[8], left())
"""
)


@pytest.mark.parametrize(("threads", "call"), [("1", "read"), ("2", "pread64")])
def test_the_source_is_opened_once_and_each_byte_is_read_once_for_all_of_them(card, traced, threads, call):
    """Without an archive, so that no other file is read; a call may be traced in two halves."""
    size = 17 * MIB + 5
    card.write("clip.mov", NOISE[:size])

    (read, _, more, _), calls = traced(STAGE, card.path, threads, " ".join(ALL), trace="openat,openat2,read,pread64")

    assert (read, more) == ([size], standard(NOISE[:size]))
    assert len([line for line in calls if line.startswith("open") and '"clip.mov"' in line]) == 1
    ours = [line for line in calls if "clip.mov>" in line or "resumed>" in line]
    done = [line for line in ours if not line.endswith("<unfinished ...>") and re.search(r"= \d+$", line)]
    counted = [line for line in done if line.startswith(call) or f"{call} resumed" in line]
    assert sum(int(line.rsplit("= ", 1)[1]) for line in counted) == size


@pytest.mark.parametrize(("threads", "call"), [("1", "read"), ("3", "pread64")])
def test_a_source_that_cannot_be_read_has_none(card, archive, traced, threads, call):
    card.write("clip.mov", NOISE[: 17 * MIB])

    (_, faults, more, left), _ = traced(
        STAGE, card.path, threads, " ".join(ALL), archive.path,
        trace=call, inject=(f"{call}:error=EIO:when=5+",), about=card.path / "clip.mov",
    )  # fmt: skip

    assert faults[0][:3] == ("io", "read", errno.EIO)
    assert more == NOTHING
    assert left == 1, "no thread outlives the call"
    assert archive.files() == set()


LANES = (
    LEFT
    + """
card, hashes = sys.argv[1:]
names = sorted(os.fsencode(name) for name in os.listdir(card))
seen = [os.stat(os.fsencode(card) + b"/" + name) for name in names]
_native.stage(
    _native.Root(os.fsencode(card)), [], list(range(len(names))), names, [stat.st_size for stat in seen],
    [stat.st_mtime_ns for stat in seen], [], hashes=hashes.split(),
)
result = left()
"""
)


@pytest.mark.parametrize(
    ("size", "hashes", "threads"),
    [
        (2 * MIB, "", 0),
        (2 * MIB, "xxh64 xxh3 xxh128", 0),
        (2 * MIB, "xxh3 md5", 1),
        (2 * MIB, " ".join(ALL), 4),
        (MIB - 1, " ".join(ALL), 0),
    ],
)
def test_there_is_a_thread_for_each_slow_digest_of_a_call_with_big_files_and_none_is_left(
    card, traced, size, hashes, threads
):
    for number in range(5):
        card.write(f"{number}", NOISE[:size])

    many, calls = traced(LANES, card.path, hashes, trace="clone,clone3")

    begun = [call for call in calls if call.startswith("clone") and "CLONE_THREAD" in call]
    assert (len(begun), many) == (threads, 1)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_request_to_stop_is_heeded_at_once_and_there_are_none(card, archive, threads):
    with open(card.path / "huge.mov", "wb") as file:
        file.truncate(4096 * MIB)
    page, asked = _native.Page(), []

    def cancel():
        while page.words()[1] < 16 * MIB:
            pass
        asked.append(time.monotonic())
        page.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    summed = Summed(card, [archive], b"huge.mov", page=page, threads=threads, buffer=65536)
    ended = time.monotonic()
    thread.join()

    assert summed.faults[0][0] == "cancelled"
    assert summed.sums == [NOTHING]
    assert ended - asked[0] < 1.0  # 100 ms are promised; a busy machine may schedule us late
    assert archive.files() == set()


PEAK = """
card, hashes = sys.argv[1:]
seen = os.stat(card + "/huge.mov")

def peak():
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

before = peak()
_native.stage(
    _native.Root(os.fsencode(card)), [], [0], [b"huge.mov"], [seen.st_size], [seen.st_mtime_ns], [], buffer=65536,
    hashes=hashes.split(),
)
result = peak() - before
"""


def test_memory_does_not_grow_with_the_file(card, traced):
    with open(card.path / "huge.mov", "wb") as file:
        file.truncate(512 * MIB)

    kib, _ = traced(PEAK, card.path, " ".join(ALL), trace="none")

    assert kib < 12 * KIB, "the ring is 2 MiB, and each thread has a stack"
