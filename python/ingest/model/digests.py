"""What an item was read as besides its BLAKE3: names, widths, and one item's share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# Bytes of a BLAKE3 digest, and of a chaining value.
DIGEST: Final = 32

ALGORITHMS: Final = ("xxh64", "xxh3", "xxh128", "md5", "sha1", "sha256", "sha512")
"""What the engine computes besides BLAKE3, in the order of the journal's columns."""

C4: Final = "c4"
"""Another way to write SHA-512 (base58, SMPTE ST 2114): asked for as a hash, kept as sha512."""

HASHES: Final = (*ALGORITHMS, C4)
"""What may be asked for besides BLAKE3, in the order of the manifest's columns."""


def computed(asked: tuple[str, ...]) -> tuple[str, ...]:
    """What the engine has to compute for what was asked for, in the order of :data:`ALGORITHMS`."""
    wanted = {"sha512" if name == C4 else name for name in asked}
    return tuple(name for name in ALGORITHMS if name in wanted)


@dataclass(frozen=True, slots=True)
class Digests:
    """What one item was read as.

    Attributes:
        blocks: the chaining values of its blocks, 32 bytes each, if it has more than one.
        raw: digests by the names of :data:`ALGORITHMS`, as bytes, for those that were computed.
    """

    blocks: bytes | None = None
    raw: dict[str, bytes] = field(default_factory=dict)
