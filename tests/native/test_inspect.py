"""inspect, block_of and root_of: what files hold, block by block; and the blocks that stage tells of."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import _native

MIB = 1 << 20
SIZES = [MIB + 1, 2 * MIB, 2 * MIB + 5, 5 * MIB - 1, 17 * MIB + 3]


def noise(length: int) -> bytes:
    return (bytes(range(251)) * (length // 251 + 1))[:length]


def staged(card, archive, name, **options):
    seen = (card.path / name).stat()
    return _native.stage(
        card.root(), [archive.root()], [0], [name.encode()], [seen.st_size], [seen.st_mtime_ns], [[b"part"]], **options
    )


@pytest.mark.parametrize("mode", ["read", "mmap", "direct"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_what_stage_tells_is_what_inspect_finds_and_merges_into_the_digest(card, archive, size, threads, mode):
    card.write("clip.mov", noise(size))

    digests, *_, blocks = staged(card, archive, "clip.mov", threads=threads, mode=mode)[:8]

    assert list(blocks) == [0]
    assert len(blocks[0]) == 32 * -(-size // MIB)
    assert _native.root_of(size, blocks[0]) == digests == _native.blake3(noise(size))
    [(values, found, method, fault)] = _native.inspect(archive.root(), [b"part"], [size])
    assert (values, found, fault) == (blocks[0], size, None)
    assert method in ("evicted", "direct", "reread")


@pytest.mark.parametrize("size", [0, 1, MIB])
def test_a_file_of_one_block_has_no_values(card, archive, size):
    card.write("clip.mov", noise(size))

    assert staged(card, archive, "clip.mov")[7] == {}
    assert _native.root_of(size, b"") is None


def test_values_belong_to_the_files_that_were_read_to_their_end(card, archive):
    for name in ("a", "c"):
        card.write(name, noise(2 * MIB))
    seen = (card.path / "a").stat()

    result = _native.stage(
        card.root(), [archive.root()], [0, 1, 2], [b"a", b"b", b"c"], [seen.st_size] * 3,
        [seen.st_mtime_ns, 0, (card.path / "c").stat().st_mtime_ns], [[b"0", b"1", b"2"]],
    )  # fmt: skip

    assert list(result[4]) == [1]
    assert sorted(result[7]) == [0, 2]


@settings(max_examples=25, deadline=None)
@given(st.integers(MIB + 1, 6 * MIB), st.data())
def test_one_flipped_byte_changes_one_value(tmp_path_factory, size, data):
    place = tmp_path_factory.mktemp("flip")
    content = bytearray(noise(size))
    (place / "good").write_bytes(content)
    at = data.draw(st.integers(0, size - 1))
    content[at] ^= 1
    (place / "bad").write_bytes(content)

    (good, *_), (bad, *_) = _native.inspect(_native.Root(os.fsencode(place)), [b"good", b"bad"], [size, size])

    differing = [n for n in range(len(good) // 32) if good[32 * n : 32 * n + 32] != bad[32 * n : 32 * n + 32]]
    assert differing == [at // MIB]


@pytest.mark.parametrize("has", [0, 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 7])
def test_what_is_too_short_or_too_long_keeps_the_values_of_whole_blocks(archive, has):
    size = 3 * MIB + 5
    archive.write("good", noise(size))
    archive.write("other", noise(max(size, has))[:has])

    (good, *_), (found, bytes_there, _, fault) = _native.inspect(archive.root(), [b"good", b"other"], [size, size])

    assert (bytes_there, fault) == (has, None)
    assert len(found) == 32 * min(4, -(-has // MIB))
    whole = 32 * (min(size, has) // MIB)
    assert found[:whole] == good[:whole]


def test_a_file_that_cannot_be_looked_into_is_a_fault_and_hides_no_other(archive):
    archive.write("good", noise(2 * MIB))
    os.symlink("good", archive.path / "link")

    gone, link, good = _native.inspect(archive.root(), [b"gone", b"link", b"good"], [2 * MIB] * 3)

    assert gone[3][:3] == ("io", "open", errno.ENOENT)
    assert link[3][:3] == ("io", "open", errno.ELOOP)
    assert good[3] is None
    with pytest.raises(ValueError, match="entries"):
        _native.inspect(archive.root(), [b"good"], [])


def test_blocks_double_above_64_gib():
    gib = 1 << 30
    assert [_native.block_of(size) for size in (0, MIB, 64 * gib, 64 * gib + 1, 129 * gib)] == [
        MIB, MIB, MIB, 2 * MIB, 4 * MIB,
    ]  # fmt: skip


def test_values_that_do_not_fit_have_no_root():
    assert _native.root_of(2 * MIB, bytes(32)) is None
    assert _native.root_of(2 * MIB, bytes(63)) is None
    assert _native.root_of(2 * MIB, bytes(65)) is None
    assert _native.root_of(2 * MIB, bytes(64)) is not None


def test_a_cancelled_page_stops_it(archive):
    archive.write("good", noise(2 * MIB))
    page = _native.Page()
    page.cancel()

    [(values, _, _, fault)] = _native.inspect(archive.root(), [b"good"], [2 * MIB], page=page)

    assert values is None
    assert fault[0] == "cancelled"


HELD = """
import mmap
root = _native.Root(os.fsencode(sys.argv[1]))
size = os.path.getsize(sys.argv[1] + "/clip.mov")
with open(sys.argv[1] + "/clip.mov", "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    touched = mapped[0]  # a page that is held cannot be evicted: what is left is to read around the cache
    [(_, found, inspected, fault)] = _native.inspect(root, [b"clip.mov"], [size])
    [(digest, _, _, proved, _)] = _native.prove(root, [b"clip.mov"], cold=True)
result = (found, inspected, fault, digest, proved)
"""


def held(disk, traced, data, **options):
    """How a file was read of which a page is held in memory, by inspect and by prove; and the calls traced."""
    root = disk.root()
    if root.cold != "evicted" or root.magic != 0xEF53:
        pytest.skip("needs ext4 and a kernel that tells what its cache holds (Linux 6.5)")
    disk.write("clip.mov", data)
    (found, inspected, fault, digest, proved), calls = traced(
        HELD, disk.path, trace="pread64,read", about=disk.path / "clip.mov", **options
    )
    assert (found, fault, digest) == (len(data), None, _native.blake3(data))
    return inspected, proved, calls


def test_what_was_read_around_the_cache_says_so_also_where_its_end_is_unaligned(disk, traced):
    inspected, proved, _ = held(disk, traced, noise(3 * MIB + 5))

    assert (inspected, proved) == ("direct", "direct")


@pytest.mark.parametrize("when", [1, 2])
def test_where_direct_reads_are_refused_nobody_claims_them(disk, traced, when):
    """As file systems do that take the wish for them, and then answer each with EINVAL: from one read on."""
    inject = (f"pread64,read:error=EINVAL:when={when}",)

    inspected, _, calls = held(disk, traced, noise(3 * MIB), inject=inject)

    assert any("INJECTED" in call for call in calls)
    assert inspected == "reread"


def test_a_proof_whose_direct_reads_are_refused_does_not_claim_them(disk, traced):
    # The reads of inspect are by position, those of prove in order.
    _, proved, calls = held(disk, traced, noise(3 * MIB), inject=("read:error=EINVAL:when=1",))

    assert any("INJECTED" in call for call in calls)
    assert proved == "reread"
