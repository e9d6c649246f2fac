"""An archive's own record, verified: its marker, the parts of its manifests, their blocks.

Promises: parts that are handed on are sound, as the device holds them; what is wrong with the others is noted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest import engine
from ingest.errors import ABSENT, IngestError
from ingest.manifest.blocks import blocks_path
from ingest.manifest.chain import Damage, walk_chain
from ingest.manifest.parts import list_parts
from ingest.manifest.reader import no_manifest
from ingest.pipeline.findings import Finding, require, told
from ingest.storage.marker import MARKER, read_marker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.manifest.parts import Part
    from ingest.pipeline.findings import Findings


def sound_parts(root: engine.Root, found: Findings) -> Iterator[Part]:
    """The root's sound parts; its marker's and its manifests' damage is noted on the way.

    Raises:
        MissingError: it has no manifest. NewerFormatError: one is newer than this program.
        IngestError: the root went away, or its folder of manifests cannot be read.
    """
    require(root)
    listed = list_parts(root)
    if not listed:
        raise no_manifest(root)
    try:
        if read_marker(root) is None:
            found.missing.append(Finding(root.path, MARKER, "the root's marker is missing"))
    except IngestError as error:
        found.changed.append(Finding(root.path, MARKER, error.cause))
    for each in walk_chain(root, listed):
        if isinstance(each, Damage):
            (found.missing if each.missing else found.changed).append(Finding(root.path, each.path, each.reason))
            continue
        # What was read may have come from memory; this is what the device holds.
        ((digest, _, _, _, fault),) = engine.prove(root, [each.path], cold=True)
        if fault is not None:
            found.changed.append(Finding(root.path, each.path, told(engine.failed(fault))))
        elif digest != each.blake3:
            found.changed.append(Finding(root.path, each.path, "the device holds other bytes than were read before"))
        if each.facts.blocks is not None:
            _look_at_blocks(root, each, each.facts.blocks, found)
        yield each


def _look_at_blocks(root: engine.Root, part: Part, blake3: bytes, found: Findings) -> None:
    """The file of blocks that a part names, as the device holds it."""
    path = blocks_path(part.facts.session, part.number)
    ((digest, _, _, _, fault),) = engine.prove(root, [path], cold=True)
    if fault is not None and engine.failed(fault).errno in ABSENT:
        found.missing.append(Finding(root.path, path, "the chaining values of a part are missing"))
    elif fault is not None:
        found.changed.append(Finding(root.path, path, told(engine.failed(fault))))
    elif digest != blake3:
        found.changed.append(Finding(root.path, path, "it is damaged: its bytes are not those that were written"))
