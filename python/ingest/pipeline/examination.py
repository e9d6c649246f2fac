"""Files of an archive, held against what its manifests say of them: a batch at a time, by any thread.

A file whose name, kind or length is wrong is not read for its digest; all others are, from the device.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import ABSENT, CancelledError
from ingest.pipeline.damage import examine
from ingest.pipeline.findings import Finding, require, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.manifest.expected import Expected
    from ingest.manifest.lookup import BlockLookup

# One engine call: enough files to keep it busy, few enough bytes that progress moves.
_FILES: Final = 64
_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """One file: its verify method if it was read, what is wrong if anything, and whether it is not there at all."""

    size: int
    method: str | None = None
    finding: Finding | None = None
    missing: bool = False


def batches(files: Iterable[Expected]) -> Iterator[tuple[int, list[Expected]]]:
    """Files of one root at a time, a call's worth each."""
    for index, group in groupby(files, attrgetter("root")):
        batch: list[Expected] = []
        size = 0
        for file in group:
            if batch and (len(batch) == _FILES or size + file.size > _BYTES):
                yield index, batch
                batch, size = [], 0
            batch.append(file)
            size += file.size
        yield index, batch


def check(root: engine.Root, kept: BlockLookup, files: list[Expected], buffer: int, page: engine.Page) -> list[Verdict]:
    """Look at some files, and read those whose size is right; the verdict on each, in their order.

    Raises:
        CancelledError: the page said so. IngestError: the root went away.
    """
    verdicts: dict[bytes, Verdict] = {}
    for file, stands in zip(files, root.lstat([file.path for file in files]), strict=True):
        verdict = _look(root, file, stands)
        if verdict is not None:
            verdicts[file.path] = _located(root, kept, file, verdict, page)
    readable = [file for file in files if file.path not in verdicts]
    proofs = engine.prove(root, [file.path for file in readable], cold=True, buffer=buffer, page=page)
    for file, (digest, size, _, method, fault) in zip(readable, proofs, strict=True):
        if fault is not None:
            verdicts[file.path] = _refused(root, file, engine.failed(fault))
        elif digest != file.blake3:
            finding = Finding(root.path, file.path, "its content is not what was copied", size, file.size)
            verdicts[file.path] = _located(root, kept, file, Verdict(size, method, finding), page)
        else:
            verdicts[file.path] = Verdict(size, method)
    return [verdicts[file.path] for file in files]


def _look(root: engine.Root, file: Expected, stands: engine.Identity | OSError | None) -> Verdict | None:
    """What can be said of a file without reading it; None if it has to be read."""
    if isinstance(stands, OSError) and stands.errno not in ABSENT:
        require(root)
        return _changed(root, file, f"it cannot be looked at: {stands.strerror}")
    if stands is None or isinstance(stands, OSError):
        require(root)
        return Verdict(0, finding=Finding(root.path, file.path, "it is not there"), missing=True)
    mode, size, *_ = stands
    if not stat.S_ISREG(mode):
        return _changed(root, file, "it is not a regular file")
    if size != file.size:
        lacks = f"{size:,} bytes long, not {file.size:,}: {_bytes(abs(file.size - size))}"
        reason = f"it is {lacks} {'missing at its end' if size < file.size else 'too many'}"
        return Verdict(0, finding=Finding(root.path, file.path, reason, size, file.size))
    if file.blake3 is None:
        return _changed(root, file, "its manifest holds no digest")
    return None


def _bytes(count: int) -> str:
    return "1 byte is" if count == 1 else f"{count:,} bytes are"


def _located(root: engine.Root, kept: BlockLookup, file: Expected, verdict: Verdict, page: engine.Page) -> Verdict:
    """The verdict with the ranges that are damaged, where its file is there and holds something else."""
    finding = verdict.finding
    if finding is None or finding.size is None or file.blake3 is None:
        return verdict
    found = examine(root, kept, file, file.blake3, finding.size, page)
    if isinstance(found, engine.Failed):
        return _refused(root, file, found)
    return replace(
        verdict, size=max(verdict.size, found.read), finding=replace(finding, size=found.size, ranges=found.ranges)
    )


def _refused(root: engine.Root, file: Expected, failure: engine.Failed) -> Verdict:
    """What a fault of reading says of the file."""
    if failure.kind == "cancelled":
        raise CancelledError("cancelled", operation="verify", advice="Nothing was changed; verify again at any time")
    require(root)
    if failure.errno in ABSENT:
        return Verdict(0, finding=Finding(root.path, file.path, "it is not there"), missing=True)
    return _changed(root, file, told(failure))


def _changed(root: engine.Root, file: Expected, reason: str) -> Verdict:
    return Verdict(0, finding=Finding(root.path, file.path, reason))
