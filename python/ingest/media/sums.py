"""Sum files: what md5sum, sha256sum, b3sum, xxhsum and their like wrote of the files beside them.

Promised: any bytes are read to their end or to a limit, a line at a time; what cannot be understood is a
:class:`Problem`, never an exception. Understood are the lines of GNU's tools (`hex  name`, `hex *name`, escaped names
with a backslash before the line), of BSD's and OpenSSL's (`MD5 (name) = hex`), of xxhsum (`XXH3_hex  name`, the `_LE`
tags), and a digest alone, which is meant for the file that the list is named after. Not promised: that a list is
right, or that a path in it leads anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest.errors import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

# So much of a list is read at most: some 500,000 files with SHA-256.
LIST_BYTES: Final = 64 << 20
# A longer line is no entry: the longest path (4,096 bytes), each byte of it escaped, and a digest are half of it.
LINE_BYTES: Final = 16 << 10

# Bytes of each digest that can be checked. C4 is another way to write SHA-512.
LENGTHS: Final = {
    "md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "blake3": 32, "xxh64": 8, "xxh3": 8, "xxh128": 16,
}  # fmt: skip

# What a digest without a tag is, by the kind of its list and its bytes.
_UNTAGGED: Final = {
    **{kind: {length: kind} for kind, length in LENGTHS.items()},
    "sha": {20: "sha1", 32: "sha256", 64: "sha512"},
    "xxh": {8: "xxh64", 16: "xxh128"},
    "xxh3": {8: "xxh3", 16: "xxh128"},
    "sums": {8: "xxh64", 16: "md5", 20: "sha1", 32: "sha256", 64: "sha512"},
}
_TAGS: Final = {
    b"md5": "md5", b"sha1": "sha1", b"sha256": "sha256", b"sha512": "sha512", b"sha2-256": "sha256",
    b"sha2-512": "sha512", b"blake3": "blake3", b"xxh64": "xxh64", b"xxh3": "xxh3", b"xxh128": "xxh128",
}  # fmt: skip

_WORDS: Final = {
    **{kind.encode("ascii"): kind for kind in _UNTAGGED if kind != "sums"}, b"b3": "blake3", b"xxhash": "xxh",
}  # fmt: skip
_EXTENSIONS: Final = {word + end: kind for word, kind in _WORDS.items() for end in (b"", b"sum", b"sums")}
_NAMES: Final = {
    word + end: kind for word, kind in _WORDS.items() for end in (b"sum", b"sums", b"sum.txt", b"sums.txt")
}
_ANY: Final = frozenset((b"checksum", b"checksums"))
# The folder of a history as ASC MHL keeps it; its lists speak of the folder that it lies in.
_HISTORY: Final = b"ascmhl"

_PLAIN: Final = re.compile(rb"(XXH3_)?([0-9A-Fa-f]{8,128})(?:\t| [ *]?)(.+)", re.DOTALL)
_TAGGED: Final = re.compile(rb"([A-Za-z0-9_/-]{2,16}) ?\((.+)\) ?= ?([0-9A-Fa-f]{8,128})", re.DOTALL)
_LONE: Final = re.compile(rb"[0-9A-Fa-f]{16,128}")
_ESCAPE: Final = re.compile(rb"\\(.?)", re.DOTALL)
_ESCAPED: Final = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}
_DRIVE: Final = re.compile(rb"[A-Za-z]:[\\/]")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a list says of one file.

    Attributes:
        path: as it is written, relative to where the list's paths begin (:func:`start_of`).
        algorithm: a key of LENGTHS. digest: raw, as its algorithm's canonical (big-endian) form. size: bytes, if told.
    """

    path: bytes
    algorithm: str
    digest: bytes
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What of a list could not be understood: its line (from 1; 0 for the whole), and one phrase."""

    line: int
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}" if self.line else self.what


def kind_of_list(path: bytes) -> str | None:
    """What kind of sum file a path below a source names; None for everything else.

    The algorithm that the name tells, `sha` or `xxh` where the digests' length has to tell it, `sums` for a list of
    any algorithm, `mhl`, or `ascmhl` for a generation of a history.
    """
    folder, _, name = path.rpartition(b"/")
    name = name.lower()
    stem, dot, extension = name.rpartition(b".")
    if dot and extension == b"mhl":
        return "ascmhl" if folder.rpartition(b"/")[2].lower() == _HISTORY else "mhl"
    if dot and extension in _EXTENSIONS:
        return _EXTENSIONS[extension]
    return _NAMES.get(name) or ("sums" if (stem or name) in _ANY else None)


def start_of(path: bytes, kind: str) -> bytes:
    """The folder in which a list's paths begin: its own, and for a history the one that it is kept in."""
    folder = path.rpartition(b"/")[0]
    return folder.rpartition(b"/")[0] if kind == "ascmhl" else folder


def places(start: bytes, written: bytes) -> tuple[bytes, ...]:
    """Where below the source a listed path may lie, the likeliest first; none if it leaves the source.

    As it is written; and as other systems write it: with backslashes between components, with white space around
    it, and with accents composed or decomposed (Apple's file systems decompose, most lists do not).
    """
    spelt = [written, written.replace(b"\\", b"/")]
    spelt += [one.strip() for one in spelt]
    if not written.isascii():
        try:
            texts = [one.decode("utf-8") for one in spelt]
        except UnicodeDecodeError:
            texts = []
        spelt += [unicodedata.normalize(form, text).encode() for form in ("NFC", "NFD") for text in texts]
    if _DRIVE.match(written):
        return ()
    found = [_below(start, one) for one in dict.fromkeys(spelt)]
    return () if None in found else tuple(dict.fromkeys(path for path in found if path))


def _below(start: bytes, path: bytes) -> bytes | None:
    """A path from a folder on, without dots; None if it leaves the source."""
    if path.startswith(b"/"):
        return None
    parts: list[bytes] = []
    for part in (start + b"/" + path).split(b"/"):
        if part == b"..":
            if not parts:
                return None
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def read_sums(stream: BinaryIO, kind: str, name: bytes) -> Iterator[Entry | Problem]:
    """The entries of a plain list, and what of it could not be understood, in the order of its lines.

    Args:
        kind: as `kind_of_list` says, but for `mhl` and `ascmhl`. name: the list's own, without its folder.

    Raises:
        OSError: the stream cannot be read.
    """
    stem = name.rpartition(b".")[0]
    number = size = 0
    while line := stream.readline(LINE_BYTES):
        number += 1
        size += len(line)
        if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            yield Problem(1, "it is UTF-16: save it as UTF-8")
            return
        if size > LIST_BYTES:
            yield Problem(number, f"longer than {LIST_BYTES >> 20} MiB: the rest is not read")
            return
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            yield Problem(number, "the line is too long")
            while (rest := stream.readline(LINE_BYTES)) and size <= LIST_BYTES:
                size += len(rest)
                if rest.endswith(b"\n"):
                    break
            continue
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        if line.strip() and not line.startswith((b"#", b";")):
            yield _understood(line, number, kind, stem)


def _understood(line: bytes, number: int, kind: str, stem: bytes) -> Entry | Problem:
    """What a line says."""
    escaped = line.startswith(b"\\")
    body = line[1:] if escaped else line
    turned = False
    if found := _TAGGED.fullmatch(body):
        tag, path, digits = found.groups()
        turned = tag.lower().endswith(b"_le")
        algorithm = _TAGS.get(tag.lower().removesuffix(b"_le"))
        if algorithm is None or (turned and not algorithm.startswith("xxh")):
            return Problem(number, f"{shown(path)}: {shown(tag)} cannot be checked")
    elif found := _PLAIN.fullmatch(body):
        prefix, digits, path = found.groups()
        algorithm = "xxh3" if prefix else _UNTAGGED[kind].get(len(digits) // 2)
    elif _LONE.fullmatch(body) and stem and not escaped:
        digits, path = body, stem
        algorithm = _UNTAGGED[kind].get(len(digits) // 2)
    else:
        return Problem(number, "it is no entry")
    if algorithm is None or len(digits) != 2 * LENGTHS[algorithm]:
        return Problem(number, f"{shown(path)}: a digest of {len(digits)} digits in a list of {kind}")
    if b"\0" in path:
        return Problem(number, "a zero byte in a path")
    if escaped:
        if any(one[1] not in _ESCAPED for one in _ESCAPE.finditer(path)):
            return Problem(number, f"{shown(path)}: an escape that is not known")
        path = _ESCAPE.sub(lambda one: _ESCAPED[one[1]], path)
    digest = bytes.fromhex(digits.decode("ascii"))
    return Entry(path, algorithm, digest[::-1] if turned else digest)
