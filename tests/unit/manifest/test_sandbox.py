"""What a hostile question may not do: change, read, or reach anything but the rows."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ingest.errors import UsageError
from ingest.manifest.query import checked, query
from ingest.manifest.sandbox import lock, sandbox


@pytest.fixture
def guarded(archive, record, tmp_path, monkeypatch):
    """An archive in a world where every file is watched: nothing may appear, go or change."""
    world = tmp_path / "world"
    world.mkdir()
    (world / "secret.csv").write_text("user,password\nmira,1234\n")
    monkeypatch.chdir(world)
    monkeypatch.setenv("SECRET", "from the environment")
    archive.add([record(1, b"A/1.mov", b"one")])
    archive.put(b"A/1.mov", b"one")
    before = snapshot(tmp_path)
    yield archive
    assert snapshot(tmp_path) == before


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        os.path.join(at, name): ((path := Path(at, name)).stat().st_mtime_ns, path.read_bytes())
        for at, _, files in os.walk(folder)
        for name in files
    }


# {part} is the manifest's own path, {world} a folder that the process may write.
NOT_A_QUESTION = [
    "COPY (SELECT 1) TO '{part}'",
    "COPY copies TO '{world}/out.csv'",
    "COPY (SELECT 1 AS i) TO '{world}/out.parquet' (FORMAT parquet)",
    "COPY copies FROM '{world}/secret.csv'",
    "ATTACH '{world}/new.db'",
    "ATTACH ':memory:' AS other",
    "DETACH memory",
    "EXPORT DATABASE '{world}/dump'",
    "IMPORT DATABASE '{world}/dump'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{world}/evil.duckdb_extension'",
    "CREATE TABLE t (i INTEGER)",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE OR REPLACE TEMP VIEW copies AS SELECT 1",
    "CREATE SECRET s (TYPE s3)",
    "CREATE MACRO m() AS 1",
    "DROP VIEW copies",
    "INSERT INTO copies VALUES (1)",
    "UPDATE copies SET size = 0",
    "DELETE FROM copies",
    "MERGE INTO copies USING copies AS c ON true WHEN MATCHED THEN DELETE",
    "ALTER VIEW copies RENAME TO c",
    "SET memory_limit = '9GB'",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "SET VARIABLE x = 1",
    "PRAGMA enable_profiling",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CALL enable_logging()",
    "CHECKPOINT",
    "BEGIN",
    "ROLLBACK",
    "VACUUM",
    "ANALYZE",
    "USE memory",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN COPY (SELECT 1) TO '{world}/out.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{world}/out.csv'",
    "EXPLAIN ANALYZE CREATE TABLE t (i INTEGER)",
    "EXPLAIN ANALYZE ATTACH '{world}/new.db'",
    "EXPLAIN ANALYZE DELETE FROM copies",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{world}/out.csv'",
    "/* a */ EXPLAIN /* b */ ANALYZE /* c */ COPY (SELECT 1) TO '{world}/out.csv'",
    "/* /* */ EXPLAIN SELECT 1 /* */ */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{world}/out.csv'",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{world}/out.csv'",
    "EXPLAIN SELECT 1; COPY (SELECT 1) TO '{world}/out.csv'",
    "EXPLAIN ANALYZE SELECT 1; DROP VIEW copies",
    "ROLLBACK; SET enable_external_access = true; SELECT 1",
    "PIVOT copies ON state USING count(*)",
]

# Questions, by their form: what stops them is the connection.
NOT_ANSWERED = [
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('{part}')",
    "SELECT * FROM read_csv('{world}/secret.csv')",
    "SELECT * FROM read_parquet('{part}')",
    "SELECT * FROM read_json('{world}/secret.csv')",
    "SELECT * FROM parquet_metadata('{part}')",
    "SELECT * FROM sniff_csv('{world}/secret.csv')",
    "FROM '/etc/passwd'",
    "FROM '{part}'",
    "FROM '{world}/secret.csv'",
    "FROM 'secret.csv'",
    "FROM 'https://example.org/x.parquet'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT getenv('SECRET')",
    "SELECT * FROM enable_logging(storage='file', storage_path='{world}/log')",
    "SELECT * FROM enable_profiling(save_location='{world}/profile.json')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{world}/out.csv''')",
    "SELECT * FROM query('FROM ''{world}/secret.csv''')",
    "SELECT * FROM query_table(['{world}/secret.csv'])",
    "SELECT * FROM duckdb_extensions()",
    "SELECT * FROM read_duckdb('{world}/x.db')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM ''{world}/secret.csv'''))",
    "WITH x AS (INSERT INTO copies VALUES (1) RETURNING *) FROM x",
    "EXPLAIN ANALYZE SELECT * FROM read_csv('{world}/secret.csv')",
]


@pytest.mark.parametrize("sql", NOT_A_QUESTION)
def test_what_is_no_question_is_refused_before_it_runs(guarded, sql):
    statement = sql.format(part=guarded.part_file(1), world=os.getcwd())

    with pytest.raises(UsageError):
        checked(statement)
    with pytest.raises(UsageError), query([guarded.root], statement) as answer:
        list(answer)


@pytest.mark.parametrize("sql", NOT_ANSWERED)
def test_a_question_reaches_nothing_but_the_rows(guarded, sql):
    statement = sql.format(part=guarded.part_file(1), world=os.getcwd())

    with pytest.raises(UsageError), query([guarded.root], statement) as answer:
        list(answer)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{part}'",
        "COPY (SELECT 1) TO '{world}/out.csv'",
        "ATTACH '{world}/new.db'",
        "ATTACH '{world}/:memory:' AS other",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET allowed_directories = ['/']",
        "SET temp_directory = '{world}'",
        "SET memory_limit = '9GB'",
        "SET python_enable_replacements = true",
        "INSTALL httpfs",
        "LOAD '{world}/evil.duckdb_extension'",
        "CREATE TABLE t (i INTEGER)",
        "EXPORT DATABASE '{world}/dump'",
        "CALL enable_logging(storage='file', storage_path='{world}/log')",
    ],
)
def test_the_doors_are_shut_even_if_a_statement_slipped_through(guarded, sql):
    statement = sql.format(part=guarded.part_file(1), world=os.getcwd())

    with sandbox("100MB") as connection:
        lock(connection)
        with pytest.raises(duckdb.Error):
            connection.execute(statement)


def test_names_are_never_looked_up_among_pythons_variables():
    captured = pa.table({"i": [42]})

    with duckdb.connect() as open_one:
        assert open_one.sql("FROM captured").fetchall() == [(42,)]
    with sandbox("100MB") as connection, pytest.raises(duckdb.CatalogException):
        connection.sql("FROM captured")
    assert captured.num_rows == 1


def test_what_spills_is_private_and_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sql = "SELECT count(*) FROM (SELECT i, row_number() OVER (ORDER BY hash(i)) FROM range(2000000) AS t(i))"

    with sandbox("30MB") as connection:
        (folder,) = tmp_path.iterdir()
        assert connection.sql(sql).fetchall() == [(2_000_000,)]
        assert folder.stat().st_mode & 0o777 == 0o700

    assert list(tmp_path.iterdir()) == []
