"""Parts: where they lie, how one is added, how they are found.

A session leaves `.ingest/manifests/session=<uuid>/items-NNNN.parquet` on every root, NNNN from 0001. Each part
names the BLAKE3 of the one before.

Promises: a part appears under its name complete, read back and flushed, or not at all; a name that is taken is
never replaced. Not promised: that two writers may share a session; the session's lease sees to that.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import ManifestError, from_os_error
from ingest.manifest.blocks import Blocks, write_blocks
from ingest.manifest.codec import decode, encode
from ingest.manifest.files import read_file
from ingest.model.item import CopyRecord
from ingest.storage.deposit import deposit
from ingest.storage.marker import INTERNAL, staging_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from ingest.manifest.facts import PartFacts
    from ingest.model.columns import CopyColumns

MANIFESTS: Final = INTERNAL + b"/manifests"
PART_ROWS: Final = 10_000
"""Rows of a part at most: a machine that burns loses no more, and a part fits in memory."""

_SESSION: Final = re.compile(rb"session=([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_ITEMS: Final = re.compile(rb"items-(0(?!000\.)[0-9]{3}|[1-9][0-9]{3,})\.parquet")


@dataclass(frozen=True, slots=True)
class Listed:
    """A part's place, as its name tells it: nothing was read."""

    session: str
    number: int

    @property
    def path(self) -> bytes:
        """Below the root."""
        return b"%s/session=%s/items-%04d.parquet" % (MANIFESTS, self.session.encode("ascii"), self.number)


@dataclass(frozen=True, slots=True)
class Part:
    """A part that was read and found intact.

    Attributes:
        facts: what it says of its session. rows: how many copies it lists. blake3: of its bytes.
    """

    facts: PartFacts
    rows: int
    blake3: bytes

    @property
    def number(self) -> int:
        """Its number within its session, from 1."""
        return self.facts.number

    @property
    def path(self) -> bytes:
        """Below the root."""
        return Listed(self.facts.session, self.facts.number).path


def write_part(
    root: engine.Root,
    facts: PartFacts,
    records: Sequence[CopyRecord | CopyColumns | pa.Table],
    blocks: Sequence[Blocks] = (),
    texts: Mapping[int, Mapping[str, str]] | None = None,
) -> Part:
    """Add a part to a root, durably, after the blocks of its big files.

    Args:
        root: where.
        facts: with the number of the new part, and `previous` the BLAKE3 of the part before.
        records: at most :data:`PART_ROWS`, one by one, as columns or as rows that stand as they are; none is a part
            too, one that tells how the session ended.
        blocks: of the files that have any. texts: further digests by item and column, as text.

    Raises:
        ValueError: too many records, or one that no column can hold.
        ManifestError: its name is taken by other bytes, or it does not read back as written.
        IngestError: it could not be written.
    """
    rows = sum(1 if isinstance(one, CopyRecord) else len(one) for one in records)
    if rows > PART_ROWS:
        raise ValueError(f"{rows} records: a part holds {PART_ROWS}")
    if blocks:
        (stands,) = root.lstat([Listed(facts.session, facts.number).path])
        kept = write_blocks(root, facts.session, facts.number, blocks, named=stands is not None)
        facts = replace(facts, blocks=kept)
    data = encode(facts, root.path, records, texts)
    part = Part(facts, rows, engine.blake3(data))
    short = facts.session.replace("-", "")[:8]
    staging = b"%s/items-%04d-%s.part" % (staging_folder(short), facts.number, token_hex(4).encode("ascii"))
    if not deposit(root, part.path, staging, data):
        _adopt(root, part)
    return part


def _adopt(root: engine.Root, part: Part) -> None:
    """Take what stands under the part's name for it, if it is: a run that died just after publishing it left it."""
    where = root.path + b"/" + part.path
    ((digest, _, _, _, fault),) = engine.prove(root, [part.path], cold=True)
    if fault is None and digest != part.blake3:
        raise ManifestError(
            "its name is taken by another part", path=where, operation="rename",
            advice="Nothing was replaced. See what it holds with: ingest query, or check it with: ingest verify",
        )  # fmt: skip
    if fault is None:
        (fault,) = engine.settle(root, [part.path])
    if fault is not None:
        raise engine.failed(fault).error(path=where)


def list_parts(root: engine.Root, session: str | None = None) -> list[Listed]:
    """The parts that lie on a root, in order of session and number; nothing is read.

    Args:
        root: where.
        session: only this one's, its full UUID.

    Raises:
        IngestError: a folder cannot be read. No manifests at all is an empty list.
    """
    sessions = [session] if session is not None else sorted(_matches(root, MANIFESTS, _SESSION))
    return [
        Listed(each, number)
        for each in sessions
        for number in sorted(int(found) for found in _matches(root, _session_folder(each), _ITEMS))
    ]


def read_part(root: engine.Root, listed: Listed) -> Part:
    """A part, checked against its seal and its name.

    Raises:
        MissingError: it is not there. IngestError: it cannot be read.
        NewerFormatError: it is newer than this program. ManifestError: it is damaged, or another part.
    """
    where = root.path + b"/" + listed.path
    data = read_file(root, listed.path)
    facts, rows = decode(data, where)
    if (facts.session, facts.number) != (listed.session, listed.number):
        raise ManifestError(
            f"it is part {facts.number} of session {facts.session}, and lies under another name",
            path=where, operation="read", advice="Give it back its name",
        )  # fmt: skip
    return Part(facts, rows, engine.blake3(data))


def _session_folder(session: str) -> bytes:
    return MANIFESTS + b"/session=" + session.encode("ascii")


def _matches(root: engine.Root, path: bytes, pattern: re.Pattern[bytes]) -> Iterator[str]:
    """The first group of every name in a folder that the pattern matches whole; other names are not ours."""
    try:
        folder = root.open_folder(path)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if match := pattern.fullmatch(os.fsencode(entry.name)):
                        yield match[1].decode("ascii")
        finally:
            os.close(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_os_error(error, "list", root.path + b"/" + path) from error
