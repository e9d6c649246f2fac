"""A card with sum files: found, checked against what was read, and told; wrong, missing and unreadable entries too."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from ingest import engine

CLIPS = {f"DCIM/100/C{number:04d}.MP4": bytes([number]) * (70_000 * number) for number in range(1, 5)}


def b3(files: dict[str, bytes]) -> bytes:
    return b"".join(
        b"%s  %s\n" % (engine.blake3(data).hex().encode(), os.fsencode(name)) for name, data in files.items()
    )


@pytest.fixture
def bring(tell, plant, tmp_path, archive):
    """Copies a card with these lists beside its clips."""

    def run(lists: dict[str, bytes], *options: str):
        card = plant(tmp_path / "CARD", {**CLIPS, **lists})
        return tell("copy", card, archive, *options)

    return run


def test_a_card_without_lists_says_so(bring):
    told = bring({})

    assert told.code == 0
    assert told.document["sums"] == []
    assert set(told.document["sums_total"].values()) == {0}


def test_a_list_that_is_right_is_said_to_be(bring, tmp_path):
    told = bring({"B3SUMS": b3(CLIPS)})

    assert told.code == 0, told.errors
    (one,) = told.document["sums"]
    assert one == {
        "list": str(tmp_path / "CARD/B3SUMS"), "kind": "blake3", "entries": 4, "matched": 4, "differing": [],
        "differing_total": 0, "missing": 0, "unchecked": 0, "problems": 0,
    }  # fmt: skip
    assert told.document["items"]["finalized"] == 5
    assert "sum files" not in told.errors


def test_one_wrong_entry_is_named_loudly_and_the_file_has_arrived(bring, tmp_path, archive):
    name = "DCIM/100/C0002.MP4"
    told = bring({"list.b3": b3({**CLIPS, name: b"as it was"})})

    assert told.code == told.document["exit_code"] == 7
    assert told.document["state"] == "completed"
    assert told.document["items"]["finalized"] == 5
    (one,) = told.document["sums"]
    assert (one["entries"], one["matched"], one["differing_total"]) == (4, 3, 1)
    assert one["differing"] == [{
        "path": str(tmp_path / "CARD" / name), "algorithm": "blake3", "listed": engine.blake3(b"as it was").hex(),
        "read": engine.blake3(CLIPS[name]).hex(),
    }]  # fmt: skip
    assert "the card's own sum files say something else" in told.errors
    assert (archive / "CARD" / name).read_bytes() == CLIPS[name]


def test_a_file_that_is_missing_on_the_card_is_told(bring):
    told = bring({"list.b3": b3({**CLIPS, "DCIM/100/C0005.MP4": b"gone"})})

    assert told.code == 0
    (one,) = told.document["sums"]
    assert (one["entries"], one["matched"], one["missing"], one["first_missing"]) == (5, 4, 1, "DCIM/100/C0005.MP4")


def test_a_list_that_means_nothing_stops_nothing(bring):
    told = bring({"a.md5": b"\0\xff" * 5000, "b.mhl": b"<!DOCTYPE x [<!ENTITY a 'b'>]><hashlist/>", "c.b3": b3(CLIPS)})

    assert told.code == 0
    by_name = {os.path.basename(one["list"]): one for one in told.document["sums"]}
    assert by_name["a.md5"]["problems"] == 1
    assert "document type declaration" in by_name["b.mhl"]["problem"]
    assert by_name["c.b3"]["matched"] == 4


def test_lists_are_not_read_for_who_does_not_want_it(bring):
    told = bring({"list.b3": b3({**CLIPS, "DCIM/100/C0002.MP4": b"as it was"})}, "--sums", "ignore")

    assert told.code == 0
    assert told.document["sums"] == []


def test_a_list_beside_a_file_that_is_named_alone_is_not_meant(tell, plant, tmp_path, archive):
    card = plant(tmp_path / "CARD", {**CLIPS, "DCIM/100/x.b3": b3({"C0001.MP4": b"another"})})

    assert tell("copy", card / "DCIM/100/C0001.MP4", archive).document["sums"] == []
    assert tell("copy", card / "DCIM/100/x.b3", archive).document["sums"] == []


def test_two_cards_have_their_own_lists(tell, plant, tmp_path, archive):
    one = plant(tmp_path / "ONE", {"A.MP4": b"one", "list.b3": b3({"A.MP4": b"one"})})
    two = plant(tmp_path / "TWO", {"A.MP4": b"two", "list.b3": b3({"A.MP4": b"one"})})

    told = tell("copy", one, two, archive)

    assert told.code == 7
    assert [(entry["list"], entry["matched"], entry["differing_total"]) for entry in told.document["sums"]] == [
        (str(two / "list.b3"), 0, 1), (str(one / "list.b3"), 1, 0),
    ]  # fmt: skip


def test_a_second_copy_of_the_card_is_checked_like_the_first(bring, tell, tmp_path, archive):
    bring({"list.b3": b3({**CLIPS, "DCIM/100/C0002.MP4": b"as it was"})})
    again = tell("copy", tmp_path / "CARD", archive)

    assert again.code == 7
    assert again.document["items"]["duplicate"] == 5
    assert again.document["sums_total"]["differing"] == 1


def test_show_tells_it_too_for_machines_and_for_people(bring, tell, ingest):
    told = bring({"list.b3": b3({**CLIPS, "DCIM/100/C0002.MP4": b"as it was", "DCIM/X.MP4": b""})})
    session = told.document["session"]

    shown = tell("show", session)
    assert shown.document["sums"] == told.document["sums"]
    assert shown.document["exit_code"] == 7
    text = ingest.run("show", session).stdout
    assert re.search(r"C0002.MP4, its blake3 in .*list\.b3:", text)
    assert engine.blake3(b"as it was").hex() in text
    assert engine.blake3(CLIPS["DCIM/100/C0002.MP4"]).hex() in text
    assert "DCIM/X.MP4" in text
    assert "BUT the card's own sum files do not agree" in text


def test_quiet_still_says_what_is_suspect(ingest, plant, tmp_path, archive):
    card = plant(tmp_path / "CARD", {"A.MP4": b"one", "list.b3": b3({"A.MP4": b"two"})})

    done = ingest.run("copy", card, archive, "--quiet")

    assert done.returncode == 7
    assert "A.MP4" in done.stderr
    assert engine.blake3(b"two").hex() in done.stderr


def test_a_session_that_was_killed_keeps_what_its_lists_said(ingest, tell, plant, tmp_path, archive):
    big = {**CLIPS, "LONG.MP4": b"long" * (24 << 20)}
    card = plant(tmp_path / "CARD", {**big, "list.b3": b3({**big, "LONG.MP4": b"as it was"})})
    running = ingest.start("copy", card, archive, "--workers", "1")
    # What is in a session's own staging folder is being copied: the lists were read by then.
    staging = archive / ".ingest/staging"
    while not any(staging.glob("*/*.part")):
        assert running.poll() is None
    running.kill()
    running.communicate()
    (card / "list.b3").write_bytes(b"nobody reads this any more")

    told = tell("resume").document

    assert told["exit_code"] == 7
    assert told["sums_total"]["entries"] == 5
    assert told["sums_total"]["differing"] == 1
    assert told["sums_total"]["problems"] == 0


def test_a_list_is_read_once_more_and_every_other_file_once(ingest, strace, plant, tmp_path, archive):
    files = {**CLIPS, "list.b3": b3(CLIPS)}
    card = plant(tmp_path / "CARD", files)
    log = tmp_path / "calls"
    log.mkdir()

    subprocess.run(
        [strace, "-ff", "-qq", "-y", "-s", "0", "-e", "trace=read,pread64", "-o", log / "t",
         *ingest.command("copy", card, archive, "--read-mode", "read")],
        env=ingest.environment, capture_output=True, check=True,
    )  # fmt: skip

    amounts = dict.fromkeys(files, 0)
    for line in "\n".join(each.read_text(errors="replace") for each in log.iterdir()).splitlines():
        found = re.match(r"\w+\([^<]*<([^>]*)>.* = (\d+)", line)
        if found and found[1].startswith(f"{card}/"):
            amounts[os.path.relpath(found[1], card)] += int(found[2])
    assert amounts == {name: len(data) * (2 if name == "list.b3" else 1) for name, data in files.items()}
