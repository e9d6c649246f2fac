"""The chain: each part of a session names the BLAKE3 of the part before, so that none can go or change unseen.

Promises: a part that is missing before the last, that is damaged, or that was exchanged for another sound one is
told, with its name. Not promised: that missing *last* parts are noticed; nothing that is left names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from ingest.errors import IngestError, ManifestError, MissingError
from ingest.manifest.parts import Listed, Part, list_parts, read_part
from ingest.manifest.schema import NewerFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.engine import Root


@dataclass(frozen=True, slots=True)
class Damage:
    """A part that is not what was written.

    Attributes:
        path: below its root. reason: what is wrong with it. missing: it is not there.
    """

    path: bytes
    reason: str
    missing: bool = False


def walk_chain(root: Root, listed: Sequence[Listed]) -> Iterator[Part | Damage]:
    """Read parts in order and check that each follows from the one before; damage is told, and the walk goes on.

    Args:
        root: where they lie.
        listed: as :func:`list_parts` gives them, whole sessions.

    Raises:
        NewerFormatError: a part is newer than this program, which cannot judge it.
    """
    for _, parts in groupby(listed, attrgetter("session")):
        yield from _walk_session(root, parts)


def _walk_session(root: Root, parts: Iterator[Listed]) -> Iterator[Part | Damage]:
    before: Part | None = None
    expected, unsure = 1, False
    for listed in parts:
        if listed.number > expected:
            yield from _gap(listed.session, expected, listed.number - 1)
            unsure = True
        expected = listed.number + 1
        found = _read(root, listed)
        if isinstance(found, Damage):
            unsure = True
        else:
            if not unsure and found.facts.previous != (before.blake3 if before else None):
                yield Damage(
                    before.path if before else found.path,
                    f"part {found.number} does not follow from it: one of the two was exchanged for another sound part"
                    if before
                    else "it is the first part, and names one before it",
                )
            before, unsure = found, False
        yield found


def _gap(session: str, first: int, last: int) -> Iterator[Damage]:
    if last - first >= 100:
        yield Damage(Listed(session, first).path, f"parts {first} to {last} are missing", missing=True)
        return
    for number in range(first, last + 1):
        yield Damage(Listed(session, number).path, "part of the manifest is missing", missing=True)


def _read(root: Root, listed: Listed) -> Part | Damage:
    try:
        return read_part(root, listed)
    except NewerFormatError:
        raise
    except MissingError as error:
        return Damage(listed.path, error.cause, missing=True)
    except IngestError as error:
        return Damage(listed.path, error.cause)


def chain(root: Root, session: str | None = None) -> list[Part]:
    """All parts of a root, or of one session on it, in order, each checked.

    Raises:
        ManifestError: one is missing, damaged, newer than this program, or does not follow from the one before.
        IngestError: a folder cannot be read.
    """
    parts = []
    for found in walk_chain(root, list_parts(root, session)):
        if isinstance(found, Damage):
            raise ManifestError(
                found.reason, path=root.path + b"/" + found.path, operation="read",
                advice="Restore it from another copy of this archive; all that is damaged tells: ingest verify",
            )  # fmt: skip
        parts.append(found)
    return parts
