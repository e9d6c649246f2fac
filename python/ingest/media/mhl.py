"""Media hash lists: MHL version 1 and the generations of an ASC MHL history, both XML, read as a stream.

An MHL 1 holds `hashlist/hash`, each with `file`, `size` and a digest; ASC MHL (urn:ASC:MHL:v2.0) holds
`hashlist/hashes/hash` with `path` and any number of digests. What stands elsewhere (the digests of folders, references
to other lists, whatever a vendor adds) is passed over.

Promised: a list is untrusted. One with a document type declaration is refused, so that no entity is ever expanded or
fetched; so are elements nested too deeply and tags too long, so that memory and time are bounded by what is read. What
cannot be understood is a :class:`~ingest.media.sums.Problem`, never an exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.parsers import expat

from ingest.errors import shown
from ingest.media.c4 import sha512_of
from ingest.media.sums import LENGTHS, LIST_BYTES, Entry, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

CHUNK: Final = 64 << 10
# ASC MHL nests five deep; vendors' metadata may add some.
DEPTH: Final = 64
# A tag, comment or instruction that is not whole after so many bytes is none; the parser holds it in memory till then.
TAG_BYTES: Final = 256 << 10
# As a line of a plain list.
TEXT_LENGTH: Final = 16 << 10

_NAMESPACE: Final = "urn:ASC:MHL:"
_HASHES: Final = (["hashlist", "hash"], ["hashlist", "hashes", "hash"])
_PATHS: Final = ("file", "path")
# Digests by their elements' names, lower case. `xxhash64` is MHL 1's older one, its bytes in little-endian order.
_DIGESTS: Final = {
    **{name: name for name in LENGTHS}, "xxhash64be": "xxh64", "xxhash64": "xxh64", "c4": "sha512",
}  # fmt: skip
# Digests that nobody should rely on, or that are none.
_OTHERS: Final = frozenset({"xxhash", "xxh32", "null"})


class _RefusedError(Exception):
    """This list is not read on."""


def read_mhl(stream: BinaryIO) -> Iterator[Entry | Problem]:
    """The entries of a media hash list, one for each digest of a file, and what of it could not be understood.

    A digest that a history itself calls `failed` is no word on how the file should be: it is a problem.

    Raises:
        OSError: the stream cannot be read.
    """
    reader = _Reader()
    fed = 0
    while True:
        chunk = stream.read(CHUNK)
        fed += len(chunk)
        problem = reader.feed(chunk)
        if problem is None and chunk and fed - max(0, reader.position) > TAG_BYTES + CHUNK:
            problem = Problem(reader.line, "a tag without an end")
        if problem is None and fed > LIST_BYTES:
            problem = Problem(reader.line, f"longer than {LIST_BYTES >> 20} MiB: the rest is not read")
        yield from reader.taken()
        if problem is not None:
            yield problem
        if problem is not None or not chunk:
            return


class _Reader:
    """Entries, out of the parser's events."""

    def __init__(self) -> None:
        self._found: list[Entry | Problem] = []
        self._stack: list[str] = []
        self._path: str | None = None
        self._size: int | None = None
        self._digests: list[tuple[str, str, bool]] = []
        self._others: list[str] = []
        self._text: list[str] | None = None
        self._length = 0
        self._failed = False
        self._began = 0
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.StartDoctypeDeclHandler = self._refuse

    @property
    def line(self) -> int:
        """Where the parser is."""
        return self._parser.CurrentLineNumber

    @property
    def position(self) -> int:
        """The byte that it has come to; -1 before the first."""
        return self._parser.CurrentByteIndex

    def taken(self) -> list[Entry | Problem]:
        """What was found since the last call."""
        found, self._found = self._found, []
        return found

    def feed(self, chunk: bytes) -> Problem | None:
        """Parse some more, an empty chunk ends it; why it cannot go on, if it cannot."""
        try:
            self._parser.Parse(chunk, not chunk)
        except _RefusedError as refused:
            return Problem(self.line, str(refused))
        except expat.ExpatError as error:
            return Problem(error.lineno, f"no well-formed XML: {expat.ErrorString(error.code)}")
        except (LookupError, ValueError) as error:
            # Its encoding is one that Python does not know, or that is no encoding of XML.
            return Problem(self.line, f"it cannot be decoded: {error}")
        return None

    def _refuse(self, *_: object) -> None:
        raise _RefusedError("it has a document type declaration, which no hash list needs: it is not read")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        if not self._stack and (local != "hashlist" or (space and not space.startswith(_NAMESPACE))):
            raise _RefusedError(f"it is no media hash list: it begins with {local[:100]!r}")
        if len(self._stack) == DEPTH:
            raise _RefusedError("its elements are nested too deeply")
        if self._stack in _HASHES:
            self._text, self._length = [], 0
            self._failed = attributes.get("action") == "failed"
            if local == "path" and "size" in attributes:
                self._size = _number(attributes["size"])
        else:
            self._text = None
        self._stack.append(local)
        if self._stack in _HASHES:
            self._began = self.line
            self._path, self._size, self._digests, self._others = None, None, [], []

    def _data(self, data: str) -> None:
        if self._text is not None and self._length <= TEXT_LENGTH:
            self._text.append(data)
            self._length += len(data)

    def _end(self, _: str) -> None:
        closed = self._stack.pop()
        if self._text is not None:
            text, self._text = "".join(self._text), None
            if closed in _PATHS:
                self._path = text
            elif closed == "size":
                self._size = _number(text)
            elif (word := closed.lower()) in _DIGESTS:
                self._digests.append((word, text.strip(), self._failed))
            elif word in _OTHERS:
                self._others.append(word)
        elif [*self._stack, closed] in _HASHES:
            self._found += self._entries()

    def _entries(self) -> Iterator[Entry | Problem]:
        """What one `hash` says."""
        if not self._path:
            yield Problem(self._began, "a hash without a path")
            return
        if len(self._path) > TEXT_LENGTH or "\0" in self._path:
            yield Problem(self._began, "a path that is too long")
            return
        path = self._path.encode("utf-8", "surrogatepass")
        if not self._digests:
            told = f" ({', '.join(self._others)[:100]})" if self._others else ""
            yield Problem(self._began, f"{shown(path)}: no digest that can be checked{told}")
        for word, text, failed in self._digests:
            digest = _digest(word, text)
            if digest is None:
                yield Problem(self._began, f"{shown(path)}: {text[:140]!r} is no {word}")
            elif failed:
                yield Problem(self._began, f"{shown(path)}: the history itself says that it failed")
            else:
                yield Entry(path, _DIGESTS[word], digest, self._size)


def _number(text: str) -> int | None:
    """A size, None if it is none that a file can have."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _digest(word: str, text: str) -> bytes | None:
    """The raw digest that an element holds; None if it holds none."""
    try:
        digest = sha512_of(text) if word == "c4" else bytes.fromhex(text)
    except ValueError:
        return None
    if len(digest) != LENGTHS[_DIGESTS[word]]:
        return None
    return digest[::-1] if word == "xxhash64" else digest
