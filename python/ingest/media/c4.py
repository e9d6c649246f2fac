"""C4 identifiers (SMPTE ST 2114): SHA-512 in base58."""

from __future__ import annotations

from typing import Final

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LENGTH: Final = 88


def c4(sha512: bytes) -> str:
    """The identifier of a SHA-512 digest: `c4` and 88 characters."""
    number, text = int.from_bytes(sha512, "big"), ""
    while number:
        number, rest = divmod(number, len(_ALPHABET))
        text = _ALPHABET[rest] + text
    return "c4" + text.rjust(_LENGTH, _ALPHABET[0])
