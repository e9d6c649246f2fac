"""Rows looked up by path and by content, and told again."""

from __future__ import annotations

import pytest

from ingest import engine
from ingest.manifest.parts import write_part
from ingest.manifest.reader import open_manifests
from ingest.manifest.recorded import Act, holders, latest, retold
from ingest.manifest.sandbox import sandbox
from ingest.model.states import ItemState

ACT = Act(3, "its content is not what was copied", "evicted", "exchange", "reflink", 1_800_000_000_000_000_000,
          1_800_000_001_000_000_000, 1_800_000_002_000_000_000)  # fmt: skip
OTHER = "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d"


@pytest.fixture
def ask_latest():
    def ask(archive, paths):
        with sandbox("256MB") as connection:
            return latest(connection, open_manifests([archive.root]), paths)

    return ask


def test_the_latest_row_of_each_path_that_arrived(archive, record, ask_latest):
    archive.add([record(1, b"CARD/a", b"one"), record(2, b"CARD/b", b"two"), record(3, b"CARD/\xff", b"raw")])
    archive.add([record(9, b"CARD/a", b"newer"), record(10, b"CARD/b", b"no", state=ItemState.FAILED)])

    found = ask_latest(archive, [b"CARD/a", b"CARD/b", b"CARD/\xff", b"CARD/none"])

    assert set(found) == {b"CARD/a", b"CARD/b", b"CARD/\xff"}
    assert found[b"CARD/a"].blake3 == engine.blake3(b"newer")
    assert (found[b"CARD/b"].blake3, found[b"CARD/b"].size) == (engine.blake3(b"two"), 3)
    assert found[b"CARD/\xff"].source_path == b"/media/CARD/CARD/\xff"


def test_a_row_told_again_keeps_what_is_true_of_the_file_and_says_what_was_done(archive, record, ask_latest, ask):
    archive.add([record(1, b"CARD/\xff", b"raw", group=7)])
    (found,) = ask_latest(archive, [b"CARD/\xff"]).values()
    facts = archive.facts(OTHER, created_ns=1_800_000_000_000_000_000)

    part = write_part(archive.root, facts, [retold(found, ACT, facts, archive.root.path)])

    assert part.rows == 1
    first, again = ask([archive.root], "SELECT * FROM copies ORDER BY finalized_at")
    changed = {name for name in first if first[name] != again[name]}
    assert changed == {
        "session", "item", "reason", "publish_method", "strategy", "group", "read_mode", "worker", "started_at",
        "copied_at", "validated_at", "finalized_at", "operation",
    }  # fmt: skip
    assert (again["operation"], again["session"], again["item"], again["group"]) == ("repair", OTHER, 3, None)
    assert (again["publish_method"], again["strategy"], again["reason"]) == ("exchange", "reflink", ACT.reason)
    assert ask_latest(archive, [b"CARD/\xff"])[b"CARD/\xff"].session == OTHER


def test_contents_are_found_by_digest_under_any_name_and_not_those_that_failed(archive, record):
    archive.add([
        record(1, b"x/a", b"same"), record(2, b"y/b", b"same"), record(3, b"z", b"else"),
        record(4, b"lost", b"same", state=ItemState.FAILED),
    ])  # fmt: skip

    with sandbox("256MB") as connection:
        found = holders(connection, open_manifests([archive.root]), [engine.blake3(b"same"), engine.blake3(b"none")])

    assert found == {engine.blake3(b"same"): [b"x/a", b"y/b"]}
