"""Makes v1/items-0001.parquet and items-0002.parquet, a session as format version 1 writes it, and v1/said.json.

They are committed and never made again: archives with such parts exist. Once the format has a version 2, this
script is a record of where they came from, and does not run any more.

    python tests/golden/make_v1.py tests/golden/v1
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ingest import engine
from ingest.manifest.codec import encode
from ingest.manifest.facts import PartFacts, SourceNote
from ingest.manifest.plain import plain, rows_of
from ingest.manifest.schema import FORMAT_VERSION
from ingest.model.item import CopyRecord, Kind
from ingest.model.states import ItemState

NOON = 1_718_452_800_000_000_000
SECOND = 1_000_000_000

FACTS = PartFacts(
    session="1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    root="6fa459ea-ee8a-3ca4-894e-db77e160355e",
    number=1,
    previous=None,
    state="copying",
    created_ns=NOON - SECOND,
    sources=(
        SourceNote(b"/media/mira/EOS_DIGITAL", b"EOS_DIGITAL", "1234-ABCD"),
        SourceNote(b"/media/mira/caf\xe9", b"caf\xe9", None),
    ),
    counts={"discovered": 6, "finalized": 3, "duplicate": 1, "excluded": 1, "failed": 1},
    label=None,
    options='{"duplicates": "skip", "label": null}',
    profile="mirror",
    version="0.1.0",
    host="cart-7",
    operator="mira",
    run=2,
    last=3,
)


def _arrived(item: int, name: bytes, data: bytes, kind: Kind, **more: object) -> CopyRecord:
    at = NOON + item * SECOND
    return dataclasses.replace(
        CopyRecord(
            item=item,
            source_path=b"/media/mira/EOS_DIGITAL/DCIM/" + name,
            path=b"EOS_DIGITAL/DCIM/" + name,
            size=len(data),
            mtime_ns=NOON - 3600 * SECOND + item,
            kind=kind,
            state=ItemState.FINALIZED,
            blake3=engine.blake3(data),
            attempts=1,
            verify_method="evicted",
            publish_method="noreplace",
            read_mode="mmap",
            worker=0,
            started_ns=at,
            copied_ns=at + 100_000_000,
            validated_ns=at + 200_000_999,
            finalized_ns=at + 300_000_000,
        ),
        **more,
    )


RECORDS = [
    _arrived(1, b"100CANON/IMG_0001.CR3", b"raw", Kind.RAW),
    _arrived(2, b"100CANON/IMG_0001.JPG", b"jpeg", Kind.IMAGE, group=1, worker=1, verify_method="direct"),
    _arrived(
        3, b"caf\xe9\n\xf0\x9f\x8e\xac.mov", b"", Kind.VIDEO, attempts=2, publish_method="link", reason="copied twice"
    ),
    _arrived(
        4,
        "100CANON/Brücke\n2.wav".encode(),
        b"wave",
        Kind.AUDIO,
        state=ItemState.DUPLICATE,
        attempts=0,
        verify_method=None,
        publish_method=None,
        read_mode=None,
        worker=None,
        started_ns=None,
        copied_ns=None,
        validated_ns=None,
        finalized_ns=None,
    ),
    CopyRecord(
        item=5,
        source_path=b"/media/mira/EOS_DIGITAL/.DS_Store",
        path=None,
        size=6148,
        mtime_ns=-1,
        kind=Kind.OTHER,
        state=ItemState.EXCLUDED,
        reason="litter",
    ),
    _arrived(
        6,
        b"100CANON/MVI_0002.MP4",
        b"",
        Kind.VIDEO,
        size=1 << 43,
        state=ItemState.FAILED,
        blake3=None,
        reason="io: read: Input/output error",
        attempts=3,
        verify_method=None,
        publish_method=None,
        copied_ns=None,
        validated_ns=None,
        finalized_ns=None,
    ),
]


def parts() -> list[tuple[PartFacts, bytes]]:
    """The session's two parts: facts and bytes."""
    first = encode(FACTS, b"/mnt/raid", RECORDS[:3])
    last = dataclasses.replace(
        FACTS, number=2, previous=engine.blake3(first), state="completed_with_errors", run=3, last=6
    )
    return [(FACTS, first), (last, encode(last, b"/mnt/raid", RECORDS[3:]))]


def said(facts: PartFacts, data: bytes) -> dict[str, object]:
    """What a part says, as JSON."""
    table = pq.read_table(pa.BufferReader(data))
    rows = [dict(zip(table.column_names, row, strict=True)) for batch in table.to_batches() for row in rows_of(batch)]
    return {"facts": {key: plain(value) for key, value in dataclasses.asdict(facts).items()}, "rows": rows}


if __name__ == "__main__":
    if FORMAT_VERSION != 1:
        sys.exit("this program writes another version: make_v1.py is a record only")
    folder = Path(sys.argv[1])
    made = parts()
    for facts, data in made:
        (folder / f"items-{facts.number:04d}.parquet").write_bytes(data)
    everything = [said(*part) for part in made]
    (folder / "said.json").write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
