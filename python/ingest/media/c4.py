"""C4: how SMPTE ST 2114 writes a SHA-512, as a name that can stand anywhere.

A C4 ID is ``c4`` and 88 digits of base 58, most significant first: the 64 bytes of the digest as one number. Digits
that look like another one (0, O, I and l) are left out, and what is shorter is filled with ``1``, the zero.
"""

from __future__ import annotations

from typing import Final

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
PREFIX: Final = "c4"
LENGTH: Final = 90
"""Characters of a C4 ID: 58 to the power of 88 is the first above 2 to the power of 512."""
SHA512_BYTES: Final = 64

_VALUES: Final = {digit: value for value, digit in enumerate(ALPHABET)}


def c4(sha512: bytes) -> str:
    """The C4 ID of what has this SHA-512.

    Raises:
        ValueError: it is not 64 bytes long.
    """
    if len(sha512) != SHA512_BYTES:
        raise ValueError(f"a SHA-512 has {SHA512_BYTES} bytes, not {len(sha512)}")
    number = int.from_bytes(sha512, "big")
    digits = []
    for _ in range(LENGTH - len(PREFIX)):
        number, value = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[value])
    return PREFIX + "".join(reversed(digits))


def sha512_of(c4: str) -> bytes:
    """The SHA-512, 64 bytes, that a C4 ID stands for.

    Raises:
        ValueError: it is no C4 ID: another length or prefix, a character that is no digit, or more than 512 bits.
    """
    if len(c4) != LENGTH or not c4.startswith(PREFIX):
        raise ValueError(f"a C4 ID is {PREFIX!r} and {LENGTH - len(PREFIX)} characters, and {c4!r} is not")
    number = 0
    for character in c4[len(PREFIX) :]:
        if character not in _VALUES:
            raise ValueError(f"{character!r} is no digit of a C4 ID")
        number = number * len(ALPHABET) + _VALUES[character]
    if number.bit_length() > 8 * SHA512_BYTES:
        raise ValueError(f"{c4!r} is more than a SHA-512 can be")
    return number.to_bytes(SHA512_BYTES, "big")
