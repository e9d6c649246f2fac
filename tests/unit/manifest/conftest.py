"""What the manifest's tests share: archives with real files and the manifests that tell of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest import engine
from ingest.manifest.facts import PartFacts, SourceNote
from ingest.manifest.parts import Part, write_part
from ingest.manifest.query import query
from ingest.model.item import CopyRecord, Kind
from ingest.model.states import ItemState, SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SESSION = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
ROOT = "6fa459ea-ee8a-3ca4-894e-db77e160355e"
START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


@dataclass
class Archive:
    """A root with the hand of somebody who writes its manifests."""

    root: engine.Root
    path: Path
    uuid: str = ROOT
    last: dict[str, Part] = field(default_factory=dict)

    def facts(self, session: str = SESSION, **changes: object) -> PartFacts:
        before = self.last.get(session)
        facts = PartFacts(
            session=session,
            root=self.uuid,
            number=before.number + 1 if before else 1,
            previous=before.blake3 if before else None,
            state=SessionState.COMPLETED,
            created_ns=START,
            sources=(SourceNote(b"/media/CARD", b"CARD", "1234-ABCD"),),
            counts={"discovered": 2, "finalized": 2},
            label="CARD",
            options='{"label": "CARD"}',
            profile="mirror",
            version="0.1.0",
            host="cart",
            operator="mira",
        )
        return replace(facts, **changes)

    def add(self, records: Sequence[CopyRecord], session: str = SESSION, **changes: object) -> Part:
        part = write_part(self.root, self.facts(session, **changes), records)
        self.last[session] = part
        return part

    def put(self, name: bytes, data: bytes) -> Path:
        place = os.fsencode(self.path) + b"/" + name
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(data)
        return Path(os.fsdecode(place))

    def part_file(self, number: int = 1, session: str = SESSION) -> Path:
        return self.path / f".ingest/manifests/session={session}/items-{number:04d}.parquet"

    def mark(self) -> None:
        text = f'{{"version": 1, "uuid": "{self.uuid}", "fs_uuid": null, "created": "2023-11-14T22:13:20+00:00"}}'
        self.put(b".ingest/root.json", text.encode())


@pytest.fixture
def archive_at() -> Callable[..., Archive]:
    def make(path: Path, uuid: str = ROOT) -> Archive:
        path.mkdir()
        archive = Archive(engine.Root(os.fsencode(path)), path, uuid)
        archive.mark()
        return archive

    return make


@pytest.fixture
def archive(tmp_path: Path, archive_at: Callable[..., Archive]) -> Archive:
    return archive_at(tmp_path / "archive")


@pytest.fixture
def record() -> Callable[..., CopyRecord]:
    """Makes a finalized copy of these bytes under this path; everything else as the test wants it."""

    def make(item: int, path: bytes | None, data: bytes = b"", **changes: object) -> CopyRecord:
        at = START + item * SECOND
        made = CopyRecord(
            item=item,
            source_path=b"/media/CARD/" + (path or b"lost"),
            path=path,
            size=len(data),
            mtime_ns=START - 86400 * SECOND + 123,
            kind=Kind.VIDEO,
            state=ItemState.FINALIZED,
            blake3=engine.blake3(data),
            attempts=1,
            verify_method="evicted",
            publish_method="noreplace",
            read_mode="read",
            worker=0,
            started_ns=at,
            copied_ns=at + SECOND // 10,
            validated_ns=at + SECOND // 5,
            finalized_ns=at + SECOND // 4,
        )
        return replace(made, **changes)

    return make


@pytest.fixture
def holding(archive: Archive, record: Callable[..., CopyRecord]) -> Callable[..., Archive]:
    """Files on the root, and one part that tells of them."""

    def fill(files: dict[bytes, bytes], session: str = SESSION) -> Archive:
        records = []
        for item, (name, data) in enumerate(files.items(), 1):
            archive.put(name, data)
            records.append(record(item, name, data))
        archive.add(records, session)
        return archive

    return fill


@pytest.fixture
def ask() -> Callable[..., list[dict[str, object]]]:
    """Rows of a query as objects."""

    def asked(roots: Sequence[engine.Root], sql: str) -> list[dict[str, object]]:
        with query(roots, sql) as answer:
            return [dict(zip(answer.columns, row, strict=True)) for batch in answer for row in batch]

    return asked
