"""DuckDB with its doors shut: a database in memory that reaches nothing but what was registered.

What holds was tried, on DuckDB 2.0: external access is switched off *after* the private folder for spilling is
set, and only then (given to `connect`, a file named `:memory:` in the current folder stays attachable). No
extension is loaded or fetched, names are never looked up among Python's variables, and once locked no setting can
change. The folder for spilling is the one place that SQL could reach; it is private, empty, and goes with the
connection.

Promises: memory within the limit (what is larger spills to the folder for temporary files, which `TMPDIR` moves).
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHUT: Final = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
}


@contextmanager
def sandbox(memory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can compute and nothing else; closed, and its spilled data removed, at the end.

    Args:
        memory: DuckDB's limit, as in `512MB`.
    """
    with tempfile.TemporaryDirectory(prefix="ingest-spill-") as folder:
        connection = duckdb.connect(":memory:", config={**_SHUT, "memory_limit": memory, "temp_directory": folder})
        try:
            # DuckDB takes a process without a main file for an interactive one, and draws a bar on stdout.
            connection.execute("SET enable_progress_bar = false")
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_external_access = false")
            yield connection
        finally:
            connection.close()


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Let no setting change any more, and nothing be written but temporary tables."""
    connection.execute("SET lock_configuration = true")
    connection.execute("BEGIN TRANSACTION READ ONLY")
