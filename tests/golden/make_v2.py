"""Makes the session of version 1 as format version 2 writes it, its blocks, and v2/said.json.

They are committed and never made again. Version 2 has further digests and the strategy of each copy, and names the
file of blocks beside a part.

    python tests/golden/make_v2.py tests/golden/v2
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from make_v1 import FACTS, RECORDS, said

from ingest import engine
from ingest.manifest.blocks import Blocks, encode_blocks
from ingest.manifest.codec import encode
from ingest.manifest.facts import PartFacts
from ingest.manifest.schema import FORMAT_VERSION

MIB = 1 << 20
# A file of three blocks, whose bytes anybody can make again.
CLIP = (bytes(range(251)) * (3 * MIB // 251))[: 2 * MIB + 77]
TEXTS = {
    1: {"xxh64": "e34615aade2e6333", "md5": "bc4c81b1b3b9a8c9ba7b5c4e4a8d1a1f"},
    2: {"sha512": "ab" * 64, "c4": "c4" + "1" * 88},
}
STRATEGIES = {1: "copy", 2: "reflink", 3: "hardlink"}


def blocks() -> bytes:
    """The file of blocks beside the first part."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "clip").write_bytes(CLIP)
        ((values, *_),) = engine.inspect(engine.Root(os.fsencode(folder)), [b"clip"], [len(CLIP)])
    return encode_blocks(FACTS.session, 1, [Blocks(1, len(CLIP), engine.blake3(CLIP), values or b"")])


def parts() -> list[tuple[PartFacts, bytes]]:
    """The session's two parts: facts and bytes."""
    records = [dataclasses.replace(record, strategy=STRATEGIES.get(record.item)) for record in RECORDS]
    facts = dataclasses.replace(FACTS, blocks=engine.blake3(blocks()))
    first = encode(facts, b"/mnt/raid", records[:3], TEXTS)
    last = dataclasses.replace(
        FACTS, number=2, previous=engine.blake3(first), state="completed_with_errors", run=3, last=6
    )
    return [(facts, first), (last, encode(last, b"/mnt/raid", records[3:]))]


if __name__ == "__main__":
    if FORMAT_VERSION != 2:
        sys.exit("this program writes another version: make_v2.py is a record only")
    folder = Path(sys.argv[1])
    (folder / "blocks-0001.parquet").write_bytes(blocks())
    made = parts()
    for facts, data in made:
        (folder / f"items-{facts.number:04d}.parquet").write_bytes(data)
    everything = [said(*part) for part in made]
    (folder / "said.json").write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
