"""Verify: read an archive back and hold it against its own manifests. No database is asked.

Promises: every file that a manifest says has arrived is looked at, read from the device as far as the file system
allows, and compared by BLAKE3; the manifests and the root's marker are checked themselves. Nothing is written. A
disk that goes away is an error, never a list of missing files. Memory grows with what is found wrong, not with
the number of files (but by four bytes for each big one, once there is damage to be located).

Not promised: that missing last parts of a session are noticed (see :mod:`ingest.manifest.chain`), nor which bytes
within a damaged block differ. Times of files are not compared: a copy whose mtime changed is whole.
"""

from __future__ import annotations

import errno
import stat
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import CancelledError, IngestError, MissingError, UsageError, from_os_error
from ingest.manifest.blocks import blocks_path
from ingest.manifest.chain import Damage, walk_chain
from ingest.manifest.expected import Expected, expected, strays
from ingest.manifest.lookup import BlockLookup
from ingest.manifest.parts import list_parts
from ingest.manifest.reader import no_manifest, of_parts
from ingest.manifest.sandbox import sandbox
from ingest.pipeline.damage import examine
from ingest.storage.marker import MARKER, read_marker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from ingest.manifest.parts import Part
    from ingest.manifest.reader import Manifests

MEMORY: Final = "512MB"
THREADS: Final = 2
# One engine call: enough files to keep it busy, few enough bytes that progress moves.
_FILES: Final = 64
_BYTES: Final = 256 << 20
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Finding:
    """One name that is not as its manifest says.

    Attributes:
        root: the root's path. path: below it. reason: one sentence, empty for what is merely there (`extra`).
        size, expected_size: bytes, None where it is not about size. ranges: differing byte ranges, where known.
    """

    root: bytes
    path: bytes
    reason: str
    size: int | None = None
    expected_size: int | None = None
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verification found.

    Attributes:
        checked: files that manifests name and that were looked at. ok: those that are as they should be.
        missing, changed: with manifests and markers among them, which `checked` does not count.
        extra: what no manifest accounts for; empty unless it was asked for.
        verify_method: how the files that could be read were read back, each method's number.
        bytes: read back. parts: manifest parts that were read.
    """

    checked: int
    ok: int
    missing: tuple[Finding, ...]
    changed: tuple[Finding, ...]
    extra: tuple[Finding, ...]
    verify_method: dict[str, int]
    bytes: int
    parts: int

    @property
    def sound(self) -> bool:
        """Nothing is missing or changed."""
        return not self.missing and not self.changed


@dataclass(slots=True)
class _Findings:
    missing: list[Finding] = field(default_factory=list)
    changed: list[Finding] = field(default_factory=list)
    methods: Counter[str] = field(default_factory=lambda: Counter(direct=0, evicted=0, reread=0))
    checked: int = 0
    ok: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Verdict:
    """One file: its verify method if it was read, what is wrong if anything, and whether it is not there at all."""

    size: int
    method: str | None = None
    finding: Finding | None = None
    missing: bool = False


def verify(
    roots: Sequence[engine.Root],
    *,
    session: str | None = None,
    strict: bool = False,
    threads: int = THREADS,
    buffer: int = 1 << 20,
    memory: str = MEMORY,
    page: engine.Page | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Check archives against their manifests.

    Args:
        roots: pinned; one that is named twice is checked once.
        session: a unique beginning of a session's UUID: only its files are read. Manifests are checked whole.
        strict: also list what no manifest accounts for.
        threads: engine calls at the same time.
        buffer: of each, bytes, a power of two.
        memory: DuckDB's limit.
        page: cancels the work, and shows the bytes read back while a big file is read.
        progress: called after each batch, in this thread, with the files checked and the bytes read so far.

    Raises:
        MissingError: a root has no manifest, or none of the session.
        UsageError: several sessions begin so.
        NewerFormatError: a manifest is newer than this program.
        CancelledError: the page said so.
        IngestError: a root went away, or its folder of manifests cannot be read.
    """
    distinct = tuple({(root.dev, root.ino): root for root in roots}.values())
    chosen = _session(distinct, session) if session is not None else None
    page = page or engine.Page()
    found = _Findings()
    parts = [(index, part) for index, root in enumerate(distinct) for part in _parts(root, found)]
    manifests = of_parts(distinct, parts)
    with sandbox(memory) as connection:
        batches = _batches(expected(connection, manifests, chosen))
        for verdicts in _checked(distinct, batches, threads, buffer, page):
            _note(found, verdicts)
            if progress is not None:
                progress(found.checked, found.bytes)
        extra = _extra(connection, manifests) if strict else ()
    for root in distinct:
        _require(root)
    return VerifyReport(
        checked=found.checked,
        ok=found.ok,
        missing=tuple(found.missing),
        changed=tuple(found.changed),
        extra=extra,
        verify_method=dict(found.methods),
        bytes=found.bytes,
        parts=len(parts),
    )


def _session(roots: Sequence[engine.Root], prefix: str) -> str:
    """The session that begins so, which every root must hold."""
    held = [{listed.session for listed in list_parts(root)} for root in roots]
    for root, sessions in zip(roots, held, strict=True):
        if not sessions:
            raise no_manifest(root)
    begun = sorted(each for each in set().union(*held) if each.startswith(prefix.lower()))
    if len(begun) > 1:
        raise UsageError(
            f"{len(begun)} sessions begin with {prefix}", operation="verify",
            advice=f"Give more of its id: {', '.join(begun[:5])}",
        )  # fmt: skip
    for root, sessions in zip(roots, held, strict=True):
        if not begun or begun[0] not in sessions:
            raise MissingError(
                f"it has no session that begins with {prefix}", path=root.path, operation="verify",
                advice='Its sessions are listed by: ingest query "SELECT session FROM sessions"',
            )  # fmt: skip
    return begun[0]


def _parts(root: engine.Root, found: _Findings) -> Iterator[Part]:
    """The root's sound parts; its marker's and its manifests' damage is noted on the way."""
    _require(root)
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
            found.changed.append(Finding(root.path, each.path, _told(engine.failed(fault))))
        elif digest != each.blake3:
            found.changed.append(Finding(root.path, each.path, "the device holds other bytes than were read before"))
        if each.facts.blocks is not None:
            _look_at_blocks(root, each, each.facts.blocks, found)
        yield each


def _look_at_blocks(root: engine.Root, part: Part, blake3: bytes, found: _Findings) -> None:
    """The file of blocks that a part names, as the device holds it."""
    path = blocks_path(part.facts.session, part.number)
    ((digest, _, _, _, fault),) = engine.prove(root, [path], cold=True)
    if fault is not None and engine.failed(fault).errno in _ABSENT:
        found.missing.append(Finding(root.path, path, "the chaining values of a part are missing"))
    elif fault is not None:
        found.changed.append(Finding(root.path, path, _told(engine.failed(fault))))
    elif digest != blake3:
        found.changed.append(Finding(root.path, path, "it is damaged: its bytes are not those that were written"))


def _batches(files: Iterable[Expected]) -> Iterator[tuple[int, list[Expected]]]:
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


def _checked(
    roots: Sequence[engine.Root],
    batches: Iterator[tuple[int, list[Expected]]],
    threads: int,
    buffer: int,
    page: engine.Page,
) -> Iterator[list[_Verdict]]:
    """The verdicts of each batch, in order; a few batches are under way at a time."""
    running: deque[Future[list[_Verdict]]] = deque()
    kept = [BlockLookup(root) for root in roots]
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="verify") as pool:
        try:
            for index, batch in batches:
                running.append(pool.submit(_check, roots[index], kept[index], batch, buffer, page))
                if len(running) > threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BaseException:
            # Ctrl-C, a root that went away: the other calls end within one buffer, not within their files.
            page.cancel()
            for future in running:
                future.cancel()
            raise


def _check(
    root: engine.Root, kept: BlockLookup, files: list[Expected], buffer: int, page: engine.Page
) -> list[_Verdict]:
    """Look at some files, and read those whose size is right."""
    verdicts: dict[bytes, _Verdict] = {}
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
            verdicts[file.path] = _located(root, kept, file, _Verdict(size, method, finding), page)
        else:
            verdicts[file.path] = _Verdict(size, method)
    return [verdicts[file.path] for file in files]


def _look(root: engine.Root, file: Expected, stands: engine.Identity | OSError | None) -> _Verdict | None:
    """What can be said of a file without reading it; None if it has to be read."""
    if isinstance(stands, OSError) and stands.errno not in _ABSENT:
        _require(root)
        return _changed(root, file, f"it cannot be looked at: {stands.strerror}")
    if stands is None or isinstance(stands, OSError):
        _require(root)
        return _Verdict(0, finding=Finding(root.path, file.path, "it is not there"), missing=True)
    mode, size, *_ = stands
    if not stat.S_ISREG(mode):
        return _changed(root, file, "it is not a regular file")
    if size != file.size:
        lacks = f"{size:,} bytes long, not {file.size:,}: {_bytes(abs(file.size - size))}"
        reason = f"it is {lacks} {'missing at its end' if size < file.size else 'too many'}"
        return _Verdict(0, finding=Finding(root.path, file.path, reason, size, file.size))
    if file.blake3 is None:
        return _changed(root, file, "its manifest holds no digest")
    return None


def _bytes(count: int) -> str:
    return "1 byte is" if count == 1 else f"{count:,} bytes are"


def _located(root: engine.Root, kept: BlockLookup, file: Expected, verdict: _Verdict, page: engine.Page) -> _Verdict:
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


def _refused(root: engine.Root, file: Expected, failure: engine.Failed) -> _Verdict:
    """What a fault of reading says of the file."""
    if failure.kind == "cancelled":
        raise CancelledError("cancelled", operation="verify", advice="Nothing was changed; verify again at any time")
    _require(root)
    if failure.errno in _ABSENT:
        return _Verdict(0, finding=Finding(root.path, file.path, "it is not there"), missing=True)
    return _changed(root, file, _told(failure))


def _changed(root: engine.Root, file: Expected, reason: str) -> _Verdict:
    return _Verdict(0, finding=Finding(root.path, file.path, reason))


def _told(failure: engine.Failed) -> str:
    return f"{failure.operation}: {failure.detail}"


def _require(root: engine.Root) -> None:
    """Tell a file that is not there from a disk that is not there."""
    try:
        root.check()
    except OSError as error:
        raise from_os_error(error, "check", root.path, "Is the disk mounted? Mount it, and verify again") from error


def _note(found: _Findings, verdicts: list[_Verdict]) -> None:
    for verdict in verdicts:
        found.checked += 1
        found.bytes += verdict.size
        if verdict.method is not None:
            found.methods[verdict.method] += 1
        if verdict.finding is None:
            found.ok += 1
        else:
            (found.missing if verdict.missing else found.changed).append(verdict.finding)


def _extra(connection: DuckDBPyConnection, manifests: Manifests) -> tuple[Finding, ...]:
    return tuple(
        Finding(manifests.roots[stray.root].path, stray.path, stray.reason) for stray in strays(connection, manifests)
    )
