"""stage where the system has no thread to give: fewer threads do the same work, and nothing is lost by it."""

import hashlib

import pytest

from ingest import _native

MIB = 1 << 20
HASHES = ("xxh128", "md5", "sha1")

STAGE = """
card, count, *archives = sys.argv[1:]
names = sorted(os.listdir(os.fsencode(card)))
seen = [os.stat(os.path.join(os.fsencode(card), name)) for name in names]
result = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive)) for archive in archives],
    list(range(len(names))), names, [stat.st_size for stat in seen], [stat.st_mtime_ns for stat in seen],
    [[b"staging/" + name for name in names] for _ in archives], threads=int(count), together=True,
    hashes=HASHES,
)
""".replace("HASHES", repr(HASHES))


def pattern(length: int) -> bytes:
    return (bytes(range(251)) * (length // 251 + 1))[:length]


@pytest.mark.parametrize("when", ["1+", "2+", "3+", "4+", "1+2"], ids=lambda when: f"thread {when}")
def test_big_and_small_files_arrive_however_few_threads_there_are(card, disk, archive, traced, rows, when):
    card.write("big.mov", pattern(20 * MIB + 5))
    for number in range(40):
        card.write(f"small-{number:02}", pattern(1000 + number))
    places = [disk, archive]

    # The calls of each thread are counted by themselves: nearly all threads are made by the first.
    inject = (f"clone,clone3:error=EAGAIN:when={when}",)
    result, calls = traced(
        STAGE, card.path, "3", *(place.path for place in places), trace="clone,clone3", inject=inject
    )

    assert any("INJECTED" in call for call in calls)
    names = sorted(card.files())
    for name, row in zip(names, rows(result), strict=True):
        assert row.fault is None
        assert [copy.fault for copy in row.copies] == [None, None]
        assert row.digest == _native.blake3(card.read(name))
        assert all(place.read(f"staging/{name}") == card.read(name) for place in places)
    sums = b"".join(hashlib.md5(card.read(name), usedforsecurity=False).digest() for name in names)
    assert result[8][HASHES.index("md5")] == sums
