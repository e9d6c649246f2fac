"""Names: labels, card folders, and the suffix of a name that is taken. Bytes in, bytes out."""

from __future__ import annotations

import os
import unicodedata
from typing import Final

from ingest.errors import UsageError

# What nearly every file system allows for one component (255 bytes on ext4, xfs, btrfs; 255 UTF-16 units elsewhere).
NAME_MAX: Final = 255
# What a path must never contain.
_RESERVED: Final = (b"", b".", b"..")


def label_of(path: bytes, chosen: str | None) -> bytes:
    """The folder name that a source's files go under: the one asked for, else the source's own name.

    Raises:
        UsageError: it is not one usable path component.
    """
    label = os.fsencode(chosen) if chosen is not None else os.path.basename(os.path.abspath(path))
    if label in _RESERVED or b"/" in label or b"\0" in label or _like_ours(label):
        raise UsageError(
            f"{os.fsdecode(label)!r} cannot be the name of its folder", path=path, operation="label",
            advice="Choose another: use --label",
        )  # fmt: skip
    if len(label) > NAME_MAX:
        raise UsageError(f"the label has {len(label)} bytes, at most {NAME_MAX} fit", path=path, operation="label",
                         advice="Choose a shorter one: use --label")  # fmt: skip
    return label


def _like_ours(label: bytes) -> bool:
    """Whether some file system takes a name for our own folder's, or for a staging file's beside it.

    Many ignore case, FAT what stands behind the last letter; ext4 can be told to ignore what Unicode calls alike, and
    what cannot be seen.
    """
    text = unicodedata.normalize("NFKC", label.decode("utf-8", "replace")).casefold()
    seen = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn"))
    return seen.rstrip(". ") == ".ingest" or seen.startswith(".ingest-")


def card_folder(label: bytes, number: int) -> bytes:
    """The numbered folder of another card with the same label: ``LABEL``, ``LABEL_2``, ``LABEL_3`` and so on."""
    return label if number == 1 else _numbered(label, label, number, b"")


def suffixed(path: bytes, number: int) -> bytes:
    """The path with ``_1``, ``_2`` … before the extension of its last component; 0 is the path itself.

    The component stays within NAME_MAX bytes: what is cut off is the end of the stem, at a character's border.
    """
    if number == 0:
        return path
    folder, slash, name = path.rpartition(b"/")
    stem, dot, extension = name.rpartition(b".")
    if not stem:  # no dot, or only a leading one
        stem, dot, extension = name, b"", b""
    return folder + slash + _numbered(name, stem, number, dot + extension)


def _numbered(name: bytes, stem: bytes, number: int, extension: bytes) -> bytes:
    """Another name than `name`, of the same stem."""
    longest = NAME_MAX
    # A stem that has to be cut may give the very name back: then it is cut shorter.
    while (fitted := _fitted(stem, b"_%d" % number, extension, longest)) == name:
        longest -= 1
    return fitted


def _fitted(stem: bytes, suffix: bytes, extension: bytes, longest: int) -> bytes:
    room = longest - len(suffix) - len(extension)
    if room < 1:  # an extension of 250 bytes is a name, not an extension
        return _fitted(stem + extension, suffix, b"", longest)
    if len(stem) > room:
        cut = room
        while cut > 1 and stem[cut] & 0xC0 == 0x80:  # never inside a UTF-8 sequence
            cut -= 1
        stem = stem[:cut]
    return stem + suffix + extension


def mirrored(folder: bytes, path: bytes) -> bytes:
    """The mirror layout: the source's tree, byte for byte, below its card folder."""
    return folder + b"/" + path
