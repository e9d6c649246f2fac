"""Paths as text: how bytes that need not be UTF-8 stand in a manifest, and come back.

Promises: `raw(text, bytes)` gives back exactly the bytes that `text` and `raw_or_none` were made of, whatever
they are. Not promised: that the text alone tells (a name may contain a real backslash).
"""

from __future__ import annotations

import base64
from typing import Final

# How the path of a row reads as bytes in SQL.
NAME_SQL: Final = "coalesce(path_raw, encode(path))"


def text(path: bytes) -> str:
    """The path as UTF-8, what is not UTF-8 backslash-escaped."""
    return path.decode("utf-8", "backslashreplace")


def raw_or_none(path: bytes) -> bytes | None:
    """The path's bytes where the text does not tell them, else None."""
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return path
    return None


def raw(shown: str, stored: bytes | None) -> bytes:
    """The bytes again, of the two columns of a path."""
    return stored if stored is not None else shown.encode("utf-8")


def to_json(path: bytes) -> dict[str, str]:
    """The path as the JSON documents tell it: `path`, and `path_b64` where it is not UTF-8."""
    bytes_ = raw_or_none(path)
    told = {"path": text(path)}
    if bytes_ is not None:
        told["path_b64"] = base64.b64encode(bytes_).decode("ascii")
    return told


def from_json(told: dict[str, str]) -> bytes:
    """The bytes again, of what :func:`to_json` told.

    Raises:
        KeyError, ValueError: it did not.
    """
    stored = told.get("path_b64")
    return raw(told["path"], None if stored is None else base64.b64decode(stored, validate=True))


def below(path: bytes) -> bool:
    """Whether a path is one that a file below a root can have: rows come from a disk that anybody may have written to."""
    return b"\0" not in path and not {b"", b".", b".."}.intersection(path.split(b"/"))
