"""Manifests answer questions in SQL, and nothing that is asked can change or reach anything."""

from __future__ import annotations

import csv
import io
import json

import pytest

VIEWS = ["copies", "items", "assets", "sessions", "failures", "duplicates", "throughput"]


@pytest.fixture(scope="module")
def desk(shared):
    """A card on two archives, once more on the first, with a file that fails."""
    archive, backup = shared.plant("archive", {}), shared.plant("backup", {})
    card = shared.plant(
        "CARD",
        {"100/a.mov": b"a" * 4000, "100/b.jpg": b"same", "101/b.jpg": b"same", ".DS_Store": b"", "x/y.jpg": b"y"},
    )
    shared.plant("archive/CARD", {"x": b"a file where a folder should be"})
    first = shared.tell("copy", card, archive, "--also", backup, "--label", "CARD")
    second = shared.tell("copy", card, archive, "--label", "CARD")
    assert (first.code, second.code) == (7, 7), first.errors
    (shared.folder / "bait.csv").write_text("secret\n1\n")
    return shared, archive, backup


@pytest.fixture(scope="module")
def ask(desk):
    """The rows of an answer about the first archive."""

    def rows(sql, *options):
        told = desk[0].tell("query", sql, *(options or ("--root", desk[1])))
        assert told.code == 0, told.errors
        return told.document

    return rows


def test_json_is_a_list_of_objects(ask):
    rows = ask("SELECT path, size, state FROM copies WHERE state = 'finalized' ORDER BY path")

    assert rows == [
        {"path": "CARD/100/a.mov", "size": 4000, "state": "finalized"},
        {"path": "CARD/100/b.jpg", "size": 4, "state": "finalized"},
        {"path": "CARD/101/b.jpg", "size": 4, "state": "finalized"},
    ]


def test_no_rows_are_an_empty_list(ask):
    assert ask("SELECT * FROM copies WHERE size < 0") == []


def test_csv_has_a_header_and_quotes_what_needs_it(desk):
    shared, archive, _ = desk

    done = shared.run("query", "SELECT 'a,\"b' AS odd, count(*) AS n FROM copies", "--root", archive, "--csv")

    assert done.returncode == 0, done.stderr
    assert list(csv.reader(io.StringIO(done.stdout))) == [["odd", "n"], ['a,"b', "10"]]


def test_people_get_columns_between_tabs(desk):
    shared, archive, _ = desk

    done = shared.run("query", "SELECT 1 AS one, 'x' AS two, NULL AS three", "--root", archive)

    assert done.stdout == "one\ttwo\tthree\n1\tx\t\n"


def test_every_view_of_the_contract_answers(ask):
    counted = ask("SELECT " + ", ".join(f"(SELECT count(*) FROM {view}) AS {view}" for view in VIEWS))

    assert counted == [
        {"copies": 10, "items": 10, "assets": 2, "sessions": 2, "failures": 2, "duplicates": 3, "throughput": 1}
    ]


def test_assets_count_the_places_of_one_content(desk, ask):
    _, archive, backup = desk

    rows = ask("SELECT size, copies, roots FROM assets ORDER BY size", "--root", archive, "--root", backup)

    assert rows == [
        {"size": 1, "copies": 1, "roots": 1},
        {"size": 4, "copies": 4, "roots": 2},
        {"size": 4000, "copies": 2, "roots": 2},
    ]


def test_failures_say_what_and_why(ask):
    rows = ask("SELECT DISTINCT source_path, state, reason FROM failures")

    assert [row["reason"] for row in rows] == ["folder_is_a_file"]
    assert rows[0]["source_path"].endswith("CARD/x/y.jpg")


def test_throughput_adds_up(ask):
    (row,) = ask("SELECT * FROM throughput")

    assert set(row) == {"session", "destination", "bytes", "seconds", "mb_per_s"}
    assert row["bytes"] == 4008
    assert row["seconds"] > 0


def test_without_a_root_every_archive_of_the_journal_is_asked(desk, ask):
    rows = ask("SELECT DISTINCT root_path FROM sessions ORDER BY 1", "--json")

    assert [row["root_path"] for row in rows] == [str(desk[1]), str(desk[2])]


def test_one_archive_named_twice_counts_once(desk, ask):
    assert ask("SELECT count(*) AS n FROM copies", "--root", desk[1], "--root", f"{desk[1]}/.") == [{"n": 10}]


def test_explain_and_with_and_comments_are_questions(ask):
    assert ask("EXPLAIN SELECT * FROM copies")
    assert ask("/* how */ -- many?\nWITH c AS (SELECT * FROM copies) SELECT count(*) AS n FROM c;") == [{"n": 10}]


HOSTILE = [
    "COPY (SELECT 1) TO '{bait}'",
    "COPY copies TO '{part}' (FORMAT parquet)",
    "ATTACH '{folder}/new.db' AS x",
    "INSTALL httpfs",
    "SELECT * FROM read_text('{bait}')",
    "SELECT * FROM '{bait}'",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT 1; COPY (SELECT 1) TO '{bait}'",
    "PRAGMA enable_external_access",
    "SET enable_external_access = true",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{bait}'",
    "/* SELECT */ DELETE FROM copies",
    "EXPORT DATABASE '{folder}/dump'",
    "SELECT * FROM no_such_view",
    "this is not SQL",
    "",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_anything_but_a_question_about_manifests_is_refused_and_touches_nothing(desk, snapshot, sql):
    shared, archive, _ = desk
    (part, *_) = sorted((archive / ".ingest/manifests").glob("*/*.parquet"))
    before = snapshot(shared.folder)

    told = shared.tell(
        "query", sql.format(bait=shared.folder / "bait.csv", part=part, folder=shared.folder), "--root", archive
    )

    assert told.code == 2, told
    assert told.error["cause"]
    assert told.error["advice"]
    after = snapshot(shared.folder)
    assert {name: entry for name, entry in after.items() if not name.startswith(b"home")} == {
        name: entry for name, entry in before.items() if not name.startswith(b"home")
    }


@pytest.mark.parametrize("rows", [10, 50_000])
def test_a_question_that_fails_on_the_way_leaves_one_document_all_the_same(desk, rows):
    shared, archive, _ = desk

    told = shared.tell(
        "query",
        f"SELECT CASE WHEN i < {rows - 1} THEN i ELSE CAST('x' AS INT) END FROM range({rows}) t(i)",
        "--root",
        archive,
    )

    assert told.code == 2
    assert "x" in told.error["cause"]


def test_many_rows_come_through_whole(desk):
    shared, archive, _ = desk

    done = shared.run("query", "SELECT range AS i FROM range(120000)", "--root", archive, "--json")

    assert [row["i"] for row in json.loads(done.stdout)] == list(range(120_000))
