"""Cards to be brought home, and what is known of them: every content that each of their files ever had.

A file may change while it is copied, so that there is more than one right content for it; there is never one that the
card did not hold. Contents are made from names: who knows a path, a size and a seed can make the bytes again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Self

import blake3

if TYPE_CHECKING:
    from pathlib import Path

# A few files of every kind of size, small ones enough to share a flush; several batches of work for two workers, and
# still read in a blink.
SMALL_CARD = {
    **{f"DCIM/100CANON/IMG_{number:04}.JPG": 4000 + 977 * number for number in range(40)},
    **{f"DCIM/101CANON/MVI_{number:04}.MOV": 1_500_000 + 77 * number for number in range(4)},
    "PRIVATE/empty.bin": 0, "PRIVATE/index.xml": 1, "CLIP/C0001.MP4": (70 << 20) + 5,
}  # fmt: skip
LONG = 1 << 18  # bytes of a block; each begins with its number


@dataclass
class Card:
    """A source, and every content that each of its files ever had."""

    folder: Path
    versions: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, files: dict[str, int]) -> Self:
        """A card with files of these sizes."""
        card = cls(folder)
        for path, size in files.items():
            card.write(path, size)
        return card

    def write(self, path: str, size: int, seed: int = 0) -> Path:
        """Make a file, or give it other content."""
        data = content(path, size, seed)
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        self.versions.setdefault(path, set()).add(blake3.blake3(data).hexdigest())
        return place

    def admit(self, path: str) -> None:
        """What this file holds now may also arrive."""
        self.versions[path].add(digest(self.folder / path))

    @property
    def size(self) -> int:
        return sum((self.folder / path).stat().st_size for path in self.versions)


def content(name: str, size: int, seed: int = 0) -> bytes:
    """Bytes that differ from file to file and from block to block."""
    block = Random(f"{name} {seed}").randbytes(min(size, LONG))
    whole = bytearray(block * (size // LONG + 1))
    for number in range(size // LONG + 1):
        whole[number * LONG : number * LONG + 8] = number.to_bytes(8, "big")
    return bytes(memoryview(whole)[:size])


def digest(path: Path) -> str:
    hasher = blake3.blake3()
    hasher.update_mmap(path) if path.stat().st_size else None
    return hasher.hexdigest()
