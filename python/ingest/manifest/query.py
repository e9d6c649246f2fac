"""One question in SQL to the manifests of one or several roots.

Promises: exactly one SELECT, or EXPLAIN of one; everything else is refused before it runs, and would find the
doors shut (:mod:`ingest.manifest.sandbox`). Rows stream: memory stays within :data:`MEMORY`, spilling to a private
folder. Not promised: that a query ends; Ctrl-C ends it.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeVar

import duckdb
import pyarrow as pa

from ingest.errors import IngestError, ManifestError, UsageError
from ingest.manifest.plain import rows_of
from ingest.manifest.reader import open_manifests
from ingest.manifest.sandbox import lock, sandbox
from ingest.manifest.views import VIEWS, create_views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from ingest.engine import Root
    from ingest.manifest.plain import Plain

MEMORY: Final = "1GB"
BATCH: Final = 10_000
T = TypeVar("T")

_ADVICE: Final = f"Ask these views: {', '.join(VIEWS)}; what one holds tells: DESCRIBE copies"
_ONE: Final = "Ask one SELECT, or EXPLAIN of one"
_EXPLAIN: Final = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*explain\b(?P<how>\s+analyze\b|\s*\(\s*(?:analyze|format\s+\w+)(?:\s*,\s*(?:analyze|format\s+\w+))*\s*\))?",
    re.IGNORECASE | re.DOTALL,
)
# Errors in the middle of the rows come through Arrow as OSError, with DuckDB's message: only that tells them apart.
_MEMORY: Final = re.compile(r"^Out of Memory Error")
_SCAN: Final = re.compile(r"reading the stream registered as '_rows' failed")
_SYSTEM: Final = re.compile(r"^(IO|INTERNAL|FATAL) Error")


class _Computing:
    """DuckDB at work in a thread of its own. Where it computes, it looks for a signal only now and then."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, stack: ExitStack) -> None:
        self._connection = connection
        self._pool = stack.enter_context(ThreadPoolExecutor(max_workers=1, thread_name_prefix="query"))

    def wait(self, work: Callable[[], T]) -> T:
        """What this gives; Ctrl-C ends it at once."""
        future = self._pool.submit(work)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                self._connection.interrupt()
            raise


class Answer:
    """A result that is still being computed. Use it in a `with`, or close it.

    Attributes:
        columns: their names; one that comes twice has a number behind it the second time.
    """

    def __init__(
        self, columns: tuple[str, ...], batches: pa.RecordBatchReader, computing: _Computing, stack: ExitStack
    ) -> None:
        self.columns = columns
        self._batches = batches
        self._computing = computing
        self._stack = stack

    def __iter__(self) -> Iterator[list[tuple[Plain, ...]]]:
        """The rows, in batches, with values that JSON knows; to be read once.

        Raises:
            UsageError: the question cannot be answered (a cast, a division). ManifestError: a part changed.
        """
        while True:
            try:
                rows = rows_of(self._computing.wait(self._batches.read_next_batch))
            except StopIteration:
                return
            except (duckdb.Error, pa.ArrowException, OSError, ValueError, OverflowError) as error:
                raise _explained(error) from error
            if rows:
                yield rows

    def close(self) -> None:
        """Stop computing, and remove what was spilled."""
        self._batches.close()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def query(roots: Sequence[Root], sql: str, *, memory: str = MEMORY) -> Answer:
    """Ask the manifests of these roots.

    Args:
        roots: pinned; one that is named twice counts once.
        sql: the question.
        memory: DuckDB's limit.

    Raises:
        UsageError: it is not one SELECT or EXPLAIN of one, or DuckDB does not understand it.
        MissingError: a root has no manifest. ManifestError: one is damaged or newer than this program.
    """
    with ExitStack() as stack:
        statement = checked(sql)
        manifests = open_manifests(roots)
        connection = stack.enter_context(sandbox(memory))
        create_views(connection, manifests)
        lock(connection)
        try:
            relation = connection.sql(statement)
            if relation is None:
                raise UsageError("this gives no rows", operation="query", advice=_ONE)
            columns = _distinct(relation.columns)
            computing = _Computing(connection, stack)
            batches = computing.wait(partial(relation.to_arrow_reader, BATCH))
        except (duckdb.Error, pa.ArrowException) as error:
            raise _explained(error) from error
        return Answer(columns, batches, computing, stack.pop_all())


def checked(sql: str) -> str:
    """The statement to run, if it is one SELECT, or EXPLAIN of one.

    DuckDB's own parser decides. Of an EXPLAIN it tells nothing about what is explained, and EXPLAIN ANALYZE runs
    it: so the explained statement is parsed by itself, and the EXPLAIN is put together anew.

    Raises:
        UsageError: it is anything else.
    """
    (kind, text) = _single(sql)
    if kind == duckdb.StatementType.SELECT:
        return text
    match = _EXPLAIN.match(text)
    if kind == duckdb.StatementType.EXPLAIN and match is not None:
        (inner_kind, inner) = _single(text[match.end() :])
        if inner_kind == duckdb.StatementType.SELECT:
            return f"EXPLAIN {match['how'] or ''} {inner}"
    raise UsageError("only a SELECT, or EXPLAIN of one, can be asked", operation="query", advice=_ONE)


def _single(sql: str) -> tuple[duckdb.StatementType, str]:
    try:
        statements = duckdb.extract_statements(sql)
    except (duckdb.Error, ValueError) as error:
        raise _explained(error) from error
    if len(statements) != 1:
        raise UsageError(f"these are {len(statements)} statements", operation="query", advice=_ONE)
    return statements[0].type, statements[0].query


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once: a row becomes an object with them as keys."""
    taken: dict[str, None] = {}
    for name in names:
        new, count = name, 1
        while new in taken:
            count += 1
            new = f"{name}_{count}"
        taken[new] = None
    return tuple(taken)


def _explained(error: Exception) -> IngestError:
    message = str(error)
    first = message.strip().split("\n", 1)[0]
    if _MEMORY.search(message):
        return IngestError(
            "the question needs more memory than it may have", operation="query",
            advice="Ask for fewer columns or rows, or move TMPDIR to a disk with room",
        )  # fmt: skip
    if _SCAN.search(message):
        why = re.search(r"ManifestError: (.+)", message)
        return ManifestError(
            f"a manifest cannot be read: {why[1] if why else first}", operation="query",
            advice="Check the root with: ingest verify",
        )  # fmt: skip
    if _SYSTEM.search(message):
        return IngestError(first, operation="query", advice="See that the folder for temporary files (TMPDIR) has room")
    return UsageError(first, operation="query", advice=_ADVICE)
