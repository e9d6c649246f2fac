"""What scripts read: the documents of --json, key by key as the contract has them."""

from __future__ import annotations

import os
import re

import pytest

ITEMS = [
    "discovered",
    "finalized",
    "duplicate",
    "excluded",
    "skipped",
    "failed",
    "changed",
    "removed",
    "cancelled",
    "waiting",
]
COLUMNS = {
    "session", "item", "source_path", "source_path_raw", "destination_root", "destination_path", "path", "path_raw", "size",
    "mtime_ns", "blake3", "blake3_hex", "state", "reason", "attempts", "verify_method", "publish_method", "read_mode",
    "worker", "capture_time", "capture_offset", "capture_confidence", "camera", "kind", "group", "started_at", "copied_at",
    "validated_at", "finalized_at",
}  # fmt: skip
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def places(shared):
    """Two archives."""
    return [shared.plant("archive", {}), shared.plant("backup", {})]


@pytest.fixture(scope="module")
def copied(shared, places):
    """A copy in which every quiet end of an item occurs."""
    source = shared.plant("CARD", {"clip.mp4": b"clip" * 5000, "note.txt": b"note", ".DS_Store": b"", "out.tmp": b"x"})
    (source / "link").symlink_to("clip.mp4")
    os.mkfifo(source / "pipe")
    assert shared.tell("copy", source, places[0], "--only", "note.txt").code == 0
    return shared.tell("copy", source, places[0], "--also", places[1], "--exclude", "*.tmp")


def test_a_copys_document_has_the_keys_of_the_contract(copied):
    document = copied.document

    contract = {"session", "state", "exit_code", "items", "bytes", "seconds", "destinations", "manifests", "failures",
                "failures_total"}  # fmt: skip
    assert contract <= set(document) <= contract | {"warnings", "problem", "sums", "sums_total", "verify_source"}
    assert UUID.fullmatch(document["session"])
    assert document["state"] == "completed"
    assert document["exit_code"] == copied.code == 0
    assert list(document["items"]) == ITEMS
    assert set(document["bytes"]) == {"discovered", "read", "copied", "verified", "resumed"}
    assert set(document["seconds"]) == {"total", "scan", "copy", "validate", "finalize"}
    assert all(isinstance(value, float) and value >= 0 for value in document["seconds"].values())
    assert document["failures"] == []
    assert document["failures_total"] == 0


def test_each_destination_tells_its_copies_and_how_they_were_proven_and_named(copied, places):
    destinations = copied.document["destinations"]

    assert [place["root"] for place in destinations] == [str(path) for path in places]
    for place in destinations:
        assert set(place) == {"root", "uuid", "state", "copies", "verify_method", "publish_method", "strategy"}
        assert UUID.fullmatch(place["uuid"])
        assert place["state"] == "completed"
        assert {"finalized", "duplicate", "excluded", "skipped", "failed"} <= set(place["copies"])
        assert set(place["verify_method"]) == {"direct", "evicted", "reread"}
        assert set(place["publish_method"]) == {"noreplace", "link", "unguarded"}
        assert place["strategy"] == {"copy": place["copies"]["finalized"], "reflink": 0, "hardlink": 0}
    assert destinations[0]["uuid"] != destinations[1]["uuid"]
    assert [place["copies"]["finalized"] for place in destinations] == [1, 2]
    assert [place["copies"]["duplicate"] for place in destinations] == [1, 0]
    assert sum(destinations[1]["publish_method"].values()) == 2


def test_the_books_close(copied):
    items = dict(copied.document["items"])

    assert items.pop("discovered") == sum(items.values()) == 6
    assert {state: number for state, number in items.items() if number} == {"finalized": 2, "excluded": 2, "skipped": 2}


def test_every_manifest_that_is_named_exists_one_for_each_destination(copied, places):
    manifests = copied.document["manifests"]

    assert all(os.path.isfile(path) for path in manifests)
    session = copied.document["session"]
    assert manifests == [f"{root}/.ingest/manifests/session={session}/items-0001.parquet" for root in places]


def test_the_state_in_the_manifest_is_the_state_in_the_document(shared, copied, places):
    (session,) = shared.tell("query", "SELECT session, state, counts FROM sessions", "--root", places[1]).document

    assert session["session"] == copied.document["session"]
    assert session["state"] == copied.document["state"]
    assert session["counts"] == copied.document["items"]


def test_the_manifest_has_the_columns_of_the_contract(shared, copied, places):
    (first, *_) = shared.tell("query", "SELECT * FROM copies", "--root", places[1]).document

    assert set(first) >= COLUMNS


def test_an_errors_document_tells_path_operation_errno_cause_and_advice(tell, tmp_path, archive):
    told = tell("copy", tmp_path / "no card", archive)

    assert told.code == 4
    assert set(told.document) == {"error", "exit_code"}
    assert told.document["exit_code"] == 4
    assert set(told.error) == {"path", "operation", "errno", "cause", "advice"}
    assert told.error["path"] == str(tmp_path / "no card")
    assert told.error["errno"] == 2
    assert told.error["advice"]
    assert len(told.errors.splitlines()) == 1
    assert "no card" in told.errors
