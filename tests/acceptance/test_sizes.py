"""Every size around a boundary, in every way of reading: the digests in the manifest are BLAKE3's own."""

from __future__ import annotations

import random

import blake3
import pytest

KIB, MIB = 1 << 10, 1 << 20
SIZES = sorted({0, 1, *(edge + by for edge in (KIB, 4 * KIB, 64 * KIB, MIB) for by in (-1, 0, 1)), 2 * MIB + 4097})


@pytest.fixture(scope="module")
def sized(shared):
    """A card with a file of each size, none like another."""
    noise = random.Random(42).randbytes(SIZES[-1] + len(SIZES))
    return shared.plant("SIZES", {f"{size:08}.bin": noise[n : n + size] for n, size in enumerate(SIZES)})


@pytest.mark.parametrize("mode", ["auto", "read", "mmap", "direct"])
def test_files_of_every_size_arrive_with_their_true_digest(shared, sized, tell, rows, archive, media, mode):
    told = tell("copy", sized, archive, "--buffer", "4KiB", "--read-mode", mode)

    assert told.code == 0, told.errors
    assert told.document["items"]["finalized"] == len(SIZES)
    assert media(archive / "SIZES") == media(sized)
    noted = {
        row["path"]: row for row in rows(archive, "SELECT path, size, blake3, blake3_hex, state, read_mode FROM copies")
    }
    for size in SIZES:
        row = noted[f"SIZES/{size:08}.bin"]
        content = (sized / f"{size:08}.bin").read_bytes()
        assert row["blake3_hex"] == row["blake3"] == blake3.blake3(content).hexdigest()
        assert (row["size"], row["state"]) == (size, "finalized")
        assert row["read_mode"] == mode or mode == "auto"


def test_a_large_buffer_makes_the_same_copies(shared, sized, tell, archive, media):
    told = tell("copy", sized, archive, "--buffer", "64MiB", "--workers", "2")

    assert told.code == 0, told.errors
    assert media(archive / "SIZES") == media(sized)
