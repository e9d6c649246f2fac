"""Verify: read an archive back and hold it against its own manifests. No database is asked.

Promises: every file that a manifest says has arrived is looked at, read from the device as far as the file system
allows, and compared by BLAKE3; the manifests and the root's marker are checked themselves. Nothing is written. A
disk that goes away is an error, never a list of missing files. Memory grows with what is found wrong, not with
the number of files (but by four bytes for each big one, once there is damage to be located).

Not promised: that missing last parts of a session are noticed (see :mod:`ingest.manifest.chain`), nor which bytes
within a damaged block differ. Times of files are not compared: a copy whose mtime changed is whole.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import MissingError, UsageError
from ingest.manifest.expected import Expected, expected, strays
from ingest.manifest.lookup import BlockLookup
from ingest.manifest.parts import list_parts
from ingest.manifest.reader import no_manifest, of_parts
from ingest.manifest.sandbox import sandbox
from ingest.pipeline.examination import batches, check
from ingest.pipeline.findings import Finding, Findings, VerifyReport, require
from ingest.pipeline.manifests import sound_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from ingest.manifest.reader import Manifests
    from ingest.pipeline.examination import Verdict

MEMORY: Final = "512MB"
THREADS: Final = 2


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
    found = Findings()
    parts = [(index, part) for index, root in enumerate(distinct) for part in sound_parts(root, found)]
    manifests = of_parts(distinct, parts)
    with sandbox(memory) as connection:
        files = batches(expected(connection, manifests, chosen))
        for verdicts in _checked(distinct, files, threads, buffer, page):
            _note(found, verdicts)
            if progress is not None:
                progress(found.checked, found.bytes)
        extra = _extra(connection, manifests) if strict else ()
    for root in distinct:
        require(root)
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
    if len(begun) > 1 or not prefix:
        raise UsageError(
            f"{len(begun)} sessions begin with {prefix!r}", operation="verify",
            advice=f"Give more of its id: {', '.join(begun[:5])}",
        )  # fmt: skip
    for root, sessions in zip(roots, held, strict=True):
        if not begun or begun[0] not in sessions:
            raise MissingError(
                f"it has no session that begins with {prefix}", path=root.path, operation="verify",
                advice='Its sessions are listed by: ingest query "SELECT session FROM sessions"',
            )  # fmt: skip
    return begun[0]


def _checked(
    roots: Sequence[engine.Root],
    files: Iterator[tuple[int, list[Expected]]],
    threads: int,
    buffer: int,
    page: engine.Page,
) -> Iterator[list[Verdict]]:
    """The verdicts of each batch, in order; a few batches are under way at a time."""
    running: deque[Future[list[Verdict]]] = deque()
    kept = [BlockLookup(root, page) for root in roots]
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="verify") as pool:
        try:
            for index, batch in files:
                running.append(pool.submit(check, roots[index], kept[index], batch, buffer, page))
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


def _note(found: Findings, verdicts: list[Verdict]) -> None:
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
