"""Questions, and the views that answer them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ingest import engine
from ingest.errors import IngestError, ManifestError, MissingError, UsageError
from ingest.manifest.query import query
from ingest.manifest.views import VIEWS
from ingest.model.states import RANK, ItemState, worst

SESSION = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
LATER = "2c5f39cb-2fa1-11d2-883f-0016d3cca427"
SECOND_ROOT = "7fa459ea-ee8a-3ca4-894e-db77e160355e"
START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


@pytest.fixture
def two(archive, archive_at, tmp_path):
    return archive, archive_at(tmp_path / "second", SECOND_ROOT)


def test_copies_are_all_rows_of_all_roots(two, record, ask):
    for archive in two:
        archive.add([record(1, b"A/1.mov", b"one"), record(2, b"A/2.mov", b"two")])

    rows = ask([a.root for a in two], "SELECT destination_root, path, size FROM copies ORDER BY ALL")

    assert [(row["destination_root"][0], row["path"], row["size"]) for row in rows] == [
        ("6", "A/1.mov", 3),
        ("6", "A/2.mov", 3),
        ("7", "A/1.mov", 3),
        ("7", "A/2.mov", 3),
    ]


def test_a_root_that_is_named_twice_counts_once(archive, record, ask):
    archive.add([record(1, b"A")])
    again = engine.Root(os.fsencode(archive.path) + b"/.")

    assert ask([archive.root, again], "SELECT count(*) AS n FROM copies") == [{"n": 1}]


def test_a_copy_shows_where_it_lay_and_its_digest_both_ways(archive, record, ask):
    archive.add([record(1, b"A/1.mov", b"one")])

    (row,) = ask([archive.root], "SELECT * FROM copies")

    assert row["destination_path"] == f"{archive.path}/A/1.mov"
    assert row["blake3"] == row["blake3_hex"] == engine.blake3(b"one").hex()
    assert row["operation"] == "copy"
    assert row["finalized_at"] == "2023-11-14T22:13:21.250000+00:00"
    assert row["mtime_ns"] == START - 86400 * SECOND + 123


@pytest.mark.parametrize("first", list(ItemState))
@pytest.mark.parametrize("second", [ItemState.FINALIZED, ItemState.FAILED, ItemState.DUPLICATE, ItemState.CANCELLED])
def test_an_item_is_as_well_off_as_the_worst_of_its_copies(two, record, ask, first, second):
    for archive, state in zip(two, (first, second), strict=True):
        archive.add([record(1, b"A", state=state, reason=f"it is {state}")])

    (row,) = ask([a.root for a in two], "SELECT * FROM items")

    assert (row["state"], row["copies"]) == (worst([first, second]), 2)
    assert row["reason"] == f"it is {worst([first, second])}"


def test_every_state_has_a_rank():
    assert set(RANK) == set(ItemState)


def test_a_copy_that_a_resumed_session_made_counts_by_its_last_part(archive, record, ask):
    archive.add([record(1, b"A", state=ItemState.FAILED, reason="io", finalized_ns=None)])
    archive.add([record(1, b"A")])

    assert ask([archive.root], "SELECT state, copies FROM items") == [{"state": "finalized", "copies": 1}]
    assert ask([archive.root], "SELECT * FROM failures") == []


def test_failures_are_what_did_not_arrive_and_not_what_was_left_out_on_purpose(archive, record, ask):
    archive.add([record(n, b"%d" % n, state=state) for n, state in enumerate(ItemState, 1)])

    states = {row["state"] for row in ask([archive.root], "SELECT state FROM failures")}

    assert states == set(ItemState) - {"finalized", "duplicate", "excluded", "skipped"}


def test_duplicates_are_copies_that_were_there_already(archive, record, ask):
    archive.add([record(1, b"A", b"x"), record(2, b"A", b"x", state=ItemState.DUPLICATE, finalized_ns=None)])

    assert ask([archive.root], "SELECT item, path FROM duplicates") == [{"item": 2, "path": "A"}]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_latest_row_of_a_path_wins_whichever_part_it_is_in(archive, record, ask, order):
    for at in order:
        archive.add([record(at, b"A", b"v%d" % at)], SESSION if at == 1 else LATER)

    rows = ask([archive.root], "SELECT blake3_hex FROM latest")

    assert rows == [{"blake3_hex": engine.blake3(b"v2").hex()}]


def test_a_failed_row_does_not_hide_what_stands_at_its_path(archive, record, ask):
    archive.add([record(1, b"A", b"v1")])
    archive.add([record(2, b"A", b"v2", state=ItemState.FAILED, blake3=None)], LATER)

    assert ask([archive.root], "SELECT item FROM latest") == [{"item": 1}]


def test_paths_that_only_look_alike_are_different_paths(archive, record, ask):
    archive.add([record(1, b"\xff"), record(2, rb"\xff")])

    rows = ask([archive.root], "SELECT path, path_raw FROM latest ORDER BY item")

    assert rows == [{"path": "\\xff", "path_raw": "ff"}, {"path": "\\xff", "path_raw": None}]


def test_assets_count_copies_and_roots_of_the_same_content(two, record, ask):
    one, other = two
    one.add([record(1, b"A", b"x"), record(2, b"B", b"x"), record(3, b"C", b"y")])
    other.add([record(1, b"A", b"x")])

    rows = ask([a.root for a in two], "SELECT * FROM assets ORDER BY copies")

    assert [(row["blake3_hex"], row["size"], row["copies"], row["roots"]) for row in rows] == [
        (engine.blake3(b"y").hex(), 1, 1, 1),
        (engine.blake3(b"x").hex(), 1, 3, 2),
    ]
    assert rows[1]["first_seen"] == "2023-11-14T22:13:21.250000+00:00"
    assert rows[1]["last_verified"] == "2023-11-14T22:13:22.200000+00:00"


def test_sessions_are_told_by_their_last_part_on_each_root(two, record, ask):
    one, other = two
    one.add([record(1, b"A")], state="copying")
    one.add([record(2, b"B")], state="completed")
    other.add([record(1, b"A")], state="paused(network)")

    rows = ask([a.root for a in two], "SELECT * FROM sessions ORDER BY root")

    assert [(row["state"], row["parts"], row["rows"]) for row in rows] == [
        ("completed", 2, 2),
        ("paused(network)", 1, 1),
    ]
    assert rows[0]["counts"] == {"discovered": 2, "finalized": 2}
    assert rows[0]["sources"] == ["/media/CARD"]
    assert (rows[0]["host"], rows[0]["operator"], rows[0]["label"]) == ("cart", "mira", "CARD")
    assert rows[0]["created"] == "2023-11-14T22:13:20+00:00"


def test_throughput_is_bytes_over_the_time_they_took(archive, record, ask):
    end = START + 4 * SECOND
    archive.add(
        [
            record(1, b"A", size=3_000_000, started_ns=START, finalized_ns=START + SECOND),
            record(2, b"B", size=5_000_000, started_ns=START + SECOND, finalized_ns=end),
            record(3, b"C", size=9_000_000, state=ItemState.FAILED, finalized_ns=None),
        ]
    )

    rows = ask([archive.root], "SELECT * FROM throughput")

    assert rows == [
        {"session": SESSION, "destination": archive.uuid, "bytes": 8_000_000, "seconds": 4.0, "mb_per_s": 2.0}
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_asked_and_its_rows_are_json(archive, record, ask, view):
    archive.add([record(1, b"\xff\n", b"x"), record(2, None, state=ItemState.FAILED, blake3=None)])

    rows = ask([archive.root], f"SELECT * FROM {view}")

    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("42", 42),
        ("170141183460469231731687303715884105727::HUGEINT", 170141183460469231731687303715884105727),
        ("sum(size) FILTER (true)", 1),
        ("1.50::DECIMAL(5,2)", 1.5),
        ("'NaN'::DOUBLE", None),
        ("'-inf'::DOUBLE", None),
        ("'\\xFF\\x00'::BLOB", "ff00"),
        ("TIMESTAMP '2024-02-29 01:02:03.000004'", "2024-02-29T01:02:03.000004"),
        ("TIMESTAMP_NS '2024-02-29 01:02:03.123456789'", "2024-02-29T01:02:03.123456"),
        ("TIMESTAMPTZ '2024-02-29 01:02:03+01'", "2024-02-29T00:02:03+00:00"),
        ("DATE '2024-02-29'", "2024-02-29"),
        ("TIME '01:02:03'", "01:02:03"),
        ("uuid '6fa459ea-ee8a-3ca4-894e-db77e160355e'", "6fa459ea-ee8a-3ca4-894e-db77e160355e"),
        ("[1, NULL]", [1, None]),
        ("{'a': 'x', 'b': ['\\xFF'::BLOB]}", {"a": "x", "b": ["ff"]}),
        ("map {'a': 1}", {"a": 1}),
        ("'a'::ENUM ('a', 'b')", "a"),
        ("true", True),
        ("NULL", None),
    ],
)
def test_values_of_every_type_are_json(archive, record, ask, expression, value):
    archive.add([record(1, b"A", b"x")])

    (row,) = ask([archive.root], f"SELECT {expression} AS v FROM copies GROUP BY ALL")

    assert row["v"] == value
    json.dumps(row, allow_nan=False)


def test_an_interval_is_text(archive, record, ask):
    archive.add([record(1, b"A")])

    (row,) = ask([archive.root], "SELECT INTERVAL 1 DAY AS v")

    assert isinstance(row["v"], str)


def test_columns_of_the_same_name_keep_their_values(archive, record, ask):
    archive.add([record(1, b"A")])

    assert ask([archive.root], "SELECT 1 AS a, 2 AS a, 3 AS a_2") == [{"a": 1, "a_2": 2, "a_2_2": 3}]


def test_no_rows_still_have_columns(archive, record):
    archive.add([record(1, b"A")])

    with query([archive.root], "SELECT path, size FROM copies WHERE false") as answer:
        assert answer.columns == ("path", "size")
        assert list(answer) == []


def test_rows_come_in_batches_and_reading_may_stop(archive, record):
    archive.add([record(1, b"A")])

    with query([archive.root], "SELECT * FROM range(10_000_000)") as answer:
        first = next(iter(answer))

    assert 0 < len(first) <= 10_000


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT * FROM copies",
        "explain analyze select count(*) from copies",
        "-- why\n/* so */ EXPLAIN SELECT 1",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT 1",
        "FROM copies",
        "DESCRIBE copies",
        "SUMMARIZE SELECT size FROM copies",
        "SHOW TABLES",
        "VALUES (1)",
        "WITH a AS (SELECT 1) FROM a",
        "SELECT 1;",
        "SELECT ';' -- ; a comment",
    ],
)
def test_what_reads_is_answered(archive, record, ask, sql):
    archive.add([record(1, b"A")])

    assert ask([archive.root], sql)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT nope FROM copies", "nope"),
        ("SELEKT 1", "syntax error"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT 'x'::INTEGER", "x"),
        ("", "0 statements"),
        ("-- nothing", "0 statements"),
    ],
)
def test_a_question_that_cannot_be_answered_is_a_usage_error_with_its_first_line(archive, record, ask, sql, says):
    archive.add([record(1, b"A")])

    with pytest.raises(UsageError, match=says) as caught:
        ask([archive.root], sql)

    assert "\n" not in caught.value.cause
    assert caught.value.advice


def test_a_question_with_an_unknown_column_lists_the_views(archive, record, ask):
    archive.add([record(1, b"A")])

    with pytest.raises(UsageError) as caught:
        ask([archive.root], "SELECT nope FROM copies")

    assert all(view in caught.value.advice for view in VIEWS)


def test_an_error_in_the_middle_of_the_rows_is_a_usage_error(archive, record, ask):
    archive.add([record(1, b"A")])

    with pytest.raises(UsageError, match="Conversion"):
        ask([archive.root], "SELECT (CASE WHEN i = 3000000 THEN 'x' ELSE '1' END)::INTEGER FROM range(3000001) AS t(i)")


def test_a_question_that_needs_too_much_memory_says_so(archive, record):
    archive.add([record(1, b"A")])
    sql = "SELECT list(i || repeat('x', 1000)) FROM range(1000000) AS t(i)"

    with pytest.raises(IngestError, match="memory"), query([archive.root], sql, memory="20MB") as answer:
        list(answer)


def test_a_part_that_changes_after_it_was_checked_ends_the_query(archive, record, ask, monkeypatch):
    archive.add([record(1, b"A")])

    def damage(connection: object) -> None:
        archive.part_file(1).write_bytes(archive.part_file(1).read_bytes()[:-1] + b"x")

    monkeypatch.setattr("ingest.manifest.query.lock", damage)

    with pytest.raises(ManifestError, match="changed"):
        ask([archive.root], "SELECT * FROM copies")


def test_a_root_without_manifests_is_not_found(two, record, ask):
    two[0].add([record(1, b"A")])

    with pytest.raises(MissingError) as caught:
        ask([a.root for a in two], "SELECT 1")

    assert caught.value.path == two[1].root.path


@pytest.fixture
def in_a_process(archive, record, tmp_path):
    """What a process of its own prints for a question, and what it leaves in its folders."""
    archive.add([record(1, b"A")])
    (tmp_path / "home").mkdir()
    script = (
        "import os, sys\n"
        "def main():\n"
        "    from ingest import engine\n"
        "    from ingest.manifest.query import query\n"
        "    with query([engine.Root(os.fsencode(sys.argv[1]))], sys.argv[2]) as answer:\n"
        "        print(list(answer))\n"
        "main()\n"
    )

    def run(sql: str) -> tuple[str, str, list[str]]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script, str(archive.path), sql],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path / "home",
            env={**os.environ, "TMPDIR": str(tmp_path / "home"), "HOME": str(tmp_path / "home")},
        )
        return done.stdout, done.stderr, os.listdir(tmp_path / "home")

    return run


def test_a_question_leaves_nothing_behind(in_a_process):
    assert in_a_process("SELECT path FROM copies") == ("[[('A',)]]\n", "", [])


def test_no_progress_bar_gets_between_the_rows_even_without_a_main_file(in_a_process):
    assert in_a_process("SELECT current_setting('enable_progress_bar')") == ("[[(False,)]]\n", "", [])


def test_facts_of_many_sessions_do_not_mix(archive, record, ask):
    for n in range(5):
        session = f"{n}b4e28ba-2fa1-11d2-883f-0016d3cca427"
        archive.last.pop(session, None)
        archive.add([replace(record(1, b"%d" % n), attempts=n)], session, created_ns=START + n * SECOND)

    rows = ask([archive.root], "SELECT session[1]::INT AS n, attempts FROM copies ORDER BY n")

    assert [(row["n"], row["attempts"]) for row in rows] == [(n, n) for n in range(5)]
