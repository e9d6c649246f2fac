"""What a part says of its session: the Parquet key-value metadata, all under `ingest.`.

Promises: `read_facts(to_metadata(facts))` is `facts`; a fact that an older version did not write has its default.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ingest.errors import ManifestError
from ingest.manifest import names
from ingest.manifest.schema import FORMAT_VERSION, check_version
from ingest.model.digests import DIGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.model.session import RootFacts, SessionFacts

PREFIX: Final = "ingest."
FORMAT_KEY: Final = PREFIX + "format"


@dataclass(frozen=True, slots=True)
class SourceNote:
    """One source of the session: its absolute path then, the label its files went under, its file system."""

    path: bytes
    label: bytes
    fs_uuid: str | None = None


@dataclass(frozen=True, slots=True)
class PartFacts:
    """The facts of a session at the moment one of its parts was written.

    Attributes:
        session: UUID, canonical text. root: UUID of the root that the part lies on.
        number: the part's, from 1. previous: BLAKE3 of the part before, None for the first.
        state: of the session then. counts: its items by state, as the report counts them.
        label, options (JSON), profile: what the user chose. version: of the program. run: counts from 1 each time
            the session is taken up. created_ns: when the session began, ns since the epoch.
        last: the journal's sequence number of its last row, so that a journal that lost track finds it again;
            None in parts that were written without a journal.
        blocks: BLAKE3 of the file of blocks beside the part, None where there is none.
    """

    session: str
    root: str
    number: int
    previous: bytes | None
    state: str
    created_ns: int
    sources: tuple[SourceNote, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    label: str | None = None
    options: str = "{}"
    profile: str = ""
    version: str = ""
    host: str = ""
    operator: str = ""
    run: int = 1
    last: int | None = None
    blocks: bytes | None = None

    @classmethod
    def of(
        cls,
        session: SessionFacts,
        root: RootFacts,
        *,
        number: int,
        previous: bytes | None,
        state: str,
        counts: Mapping[str, int],
        last: int | None = None,
    ) -> PartFacts:
        """The facts for the next part of a session on one of its roots."""
        return cls(
            session=session.id,
            root=root.uuid,
            number=number,
            previous=previous,
            state=str(state),
            created_ns=session.created_ns,
            sources=tuple(SourceNote(each.path, each.label, each.fs_uuid) for each in session.sources),
            counts=dict(counts),
            label=session.label,
            options=session.options,
            profile=session.profile,
            version=session.version,
            host=session.host,
            operator=session.operator,
            run=session.run,
            last=last,
        )


def to_metadata(facts: PartFacts) -> dict[str, str]:
    """The facts as the keys and values that stand in the file. What is None has no key."""
    sources = [
        {**names.to_json(source.path), "label": names.to_json(source.label), "fs_uuid": source.fs_uuid}
        for source in facts.sources
    ]
    told = {
        "format": str(FORMAT_VERSION),
        "session": facts.session,
        "root": facts.root,
        "part": str(facts.number),
        "previous": facts.previous.hex() if facts.previous is not None else None,
        "state": facts.state,
        "created_ns": str(facts.created_ns),
        "sources": json.dumps(sources, ensure_ascii=False),
        "counts": json.dumps(facts.counts),
        "label": facts.label,
        "options": facts.options,
        "profile": facts.profile,
        "version": facts.version,
        "host": facts.host,
        "operator": facts.operator,
        "run": str(facts.run),
        "last": str(facts.last) if facts.last is not None else None,
        "blocks": facts.blocks.hex() if facts.blocks is not None else None,
    }
    return {PREFIX + key: _encodable(value) for key, value in told.items() if value is not None}


def _encodable(value: str) -> str:
    """The text without lone surrogates, which neither Parquet nor JSON can hold."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def read_facts(metadata: Mapping[bytes, bytes], where: bytes) -> PartFacts:
    """The facts of a part.

    Args:
        metadata: the file's key-value metadata.
        where: the file, for errors.

    Raises:
        NewerFormatError: the part is newer than this program.
        ManifestError: the facts are not what a version of this program wrote.
    """
    told = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in metadata.items()}
    if FORMAT_KEY not in told:
        raise ManifestError(
            "it is not a part of a manifest", path=where, operation="read",
            advice="Move it away: only ingest writes into this folder",
        )  # fmt: skip
    check_version(told[FORMAT_KEY], where)
    try:
        return _facts({key.removeprefix(PREFIX): value for key, value in told.items()})
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ManifestError(
            f"its facts cannot be read ({error!r})", path=where, operation="read", advice="Restore it from a copy"
        ) from error


def _facts(told: Mapping[str, str]) -> PartFacts:
    sources = tuple(
        SourceNote(names.from_json(source), names.from_json(source["label"]), source.get("fs_uuid"))
        for source in json.loads(told.get("sources", "[]"))
    )
    return PartFacts(
        session=told["session"],
        root=told["root"],
        number=_number(told["part"], 32, least=1),
        previous=_digest(told["previous"]) if "previous" in told else None,
        state=told["state"],
        created_ns=_number(told["created_ns"], 64),
        sources=sources,
        counts={key: _number(value, 64) for key, value in json.loads(told.get("counts", "{}")).items()},
        label=told.get("label"),
        options=told.get("options", "{}"),
        profile=told.get("profile", ""),
        version=told.get("version", ""),
        host=told.get("host", ""),
        operator=told.get("operator", ""),
        run=_number(told.get("run", "1"), 32),
        last=_number(told["last"], 64) if "last" in told else None,
        blocks=_digest(told["blocks"]) if "blocks" in told else None,
    )


def _number(value: str | int, bits: int, *, least: int = 0) -> int:
    """A number as its column can hold it."""
    number = int(value)
    if not least <= number < 1 << (bits - 1):
        raise ValueError(f"{number} is out of range")
    return number


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != DIGEST:
        raise ValueError("a digest has 32 bytes")
    return digest
