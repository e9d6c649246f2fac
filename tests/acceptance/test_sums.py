"""A card with sum files: found, checked against what was read, and told; wrong, missing and unreadable entries too."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest import engine
from ingest.media.c4 import c4

if TYPE_CHECKING:
    from collections.abc import Callable

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


# Lists of every kind, on one card: right, with one wrong entry, with one missing file

WRONG, GONE = "DCIM/100/C0002.MP4", "DCIM/100/C0005.MP4"


def plain(tool: str) -> Callable[[dict[str, bytes]], bytes]:
    """What a tool says of these files; of what is no file, a line with its digest."""

    def write(files: dict[str, bytes]) -> bytes:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
        told = b""
        for name, data in files.items():
            digits, _, _ = subprocess.run([tool, "-"], input=data, capture_output=True, check=True).stdout.partition(
                b" "
            )
            told += digits + b"  " + name.encode() + b"\n"
        return told

    return write


def mhl_1(files: dict[str, bytes]) -> bytes:
    hashes = "".join(
        f"<hash><file>{name}</file><size>{len(data)}</size><md5>{hashlib.md5(data).hexdigest()}</md5>"
        f"<sha1>{hashlib.sha1(data).hexdigest()}</sha1><hashdate>2024-03-01T10:00:01Z</hashdate></hash>\n"
        for name, data in files.items()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<hashlist version="1.1">{hashes}</hashlist>'.encode()


def mhl_2(files: dict[str, bytes]) -> bytes:
    hashes = "".join(
        f'<hash><path size="{len(data)}">{name}</path>'
        f'<c4 action="original">{c4(hashlib.sha512(data).digest())}</c4></hash>\n'
        for name, data in files.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0">'
        f"<hashes>{hashes}</hashes></hashlist>"
    ).encode()


KINDS = {
    "md5": ("md5sums.txt", plain("md5sum"), ["md5"]),
    "sha1": ("card.sha1", plain("sha1sum"), ["sha1"]),
    "sha256": ("SHA256SUMS", plain("sha256sum"), ["sha256"]),
    "sha512": ("SHA512SUMS", plain("sha512sum"), ["sha512"]),
    "blake3": ("card.b3", b3, ["blake3"]),
    "xxh64": ("card.xxh64", plain("xxh64sum"), ["xxh64"]),
    "xxh128": ("card.xxh128", plain("xxh128sum"), ["xxh128"]),
    "mhl": ("card.mhl", mhl_1, ["md5", "sha1"]),
    "ascmhl": ("ascmhl/0001_CARD_2024-03-01_100000Z.mhl", mhl_2, ["sha512"]),
}


# All kinds on one card, and by INGEST_CAMPAIGN=full also each alone, where only its own digests are computed.
CARDS = [[*KINDS], *([kind] for kind in KINDS if os.environ.get("INGEST_CAMPAIGN") == "full")]


def lists_of(kinds: list[str], files: dict[str, bytes]) -> tuple[dict[str, bytes], dict[str, list[str]]]:
    """Lists of those kinds whose tools are here, and the algorithms of each list."""
    lists, algorithms = {}, {}
    for kind in kinds:
        name, write, those = KINDS[kind]
        try:
            lists[name] = write(files)
        except pytest.skip.Exception:
            if kinds == [kind]:
                raise
        else:
            algorithms[kind] = those
    return lists, algorithms


@pytest.mark.parametrize("kinds", CARDS, ids="+".join)
def test_every_kind_of_list_finds_one_wrong_entry_and_one_missing_file(bring, kinds, tmp_path):
    right = {each: data for each, data in CLIPS.items() if each != WRONG}
    lists, algorithms = lists_of(kinds, {**CLIPS, WRONG: CLIPS[WRONG][:-1] + b"?", GONE: b"gone"})
    told = bring(lists)

    assert told.code == 7, told.errors
    assert told.document["state"] == "completed"
    assert sorted(one["kind"] for one in told.document["sums"]) == sorted(algorithms)
    for one in told.document["sums"]:
        those = algorithms[one["kind"]]
        assert (one["matched"], one["missing"], one["unchecked"]) == (len(right) * len(those), 1, 0), one
        assert one["first_missing"] == GONE, one
        assert {(each["path"], each["algorithm"]) for each in one["differing"]} == {
            (str(tmp_path / "CARD" / WRONG), algorithm) for algorithm in those
        }, one
        assert all(each["read"] != each["listed"] for each in one["differing"]), one


@pytest.mark.parametrize("kinds", CARDS, ids="+".join)
def test_every_kind_of_list_agrees_with_a_card_that_is_as_it_was(bring, kinds):
    lists, algorithms = lists_of(kinds, CLIPS)
    told = bring(lists)

    assert told.code == 0, told.errors
    assert {one["kind"]: (one["entries"], one["matched"]) for one in told.document["sums"]} == {
        kind: (len(CLIPS) * len(those),) * 2 for kind, those in algorithms.items()
    }
    assert len(told.document["sums"]) == len(algorithms)


def test_a_history_as_the_reference_tool_keeps_it(plant, tell, tmp_path, archive, backup):
    tool = Path(sys.executable).with_name("ascmhl")
    if not tool.exists():
        pytest.skip("ascmhl is not installed")
    card = plant(tmp_path / "CARD", {**CLIPS, "Ton & Bild ä.txt": b"sidecar"})
    for formats in (["-h", "xxh64"], ["-h", "md5", "-h", "xxh128", "-h", "xxh3", "-h", "sha1", "-h", "c4"]):
        subprocess.run([tool, "create", *formats, card], capture_output=True, check=True)

    right = tell("copy", card, archive)
    (card / WRONG).write_bytes(CLIPS[WRONG][:-1] + b"?")
    again = subprocess.run([tool, "create", "-h", "xxh64", card], capture_output=True, check=False)
    wrong = tell("copy", card, backup)

    assert right.code == 0, right.errors
    # The second generation repeats the format of the first.
    assert (right.document["sums_total"]["lists"], right.document["sums_total"]["matched"]) == (2, 5 * 6)
    assert again.returncode != 0
    assert wrong.code == 7
    assert {each["path"] for one in wrong.document["sums"] for each in one["differing"]} == {str(card / WRONG)}


def test_several_lists_are_checked_in_one_read(ingest, tell, strace, plant, tmp_path, archive, backup):
    lists = {KINDS[kind][0]: KINDS[kind][1](CLIPS) for kind in ("md5", "sha256", "mhl", "ascmhl", "blake3")}
    card = plant(tmp_path / "CARD", {**CLIPS, **lists})
    done, amounts = counted(ingest, strace, tmp_path, card, "copy", card, archive, "--also", backup)

    assert done.returncode == 0, done.stderr
    assert amounts == {name: len(data) for name, data in CLIPS.items()} | {
        name: 2 * len(data) for name, data in lists.items()
    }
    (session,) = tell("sessions").document["sessions"]
    total = tell("show", session["session"]).document["sums_total"]
    assert (total["lists"], total["entries"], total["matched"]) == (5, 24, 24)


def test_what_a_list_asked_for_is_in_the_manifest_too(bring, rows, archive):
    bring({"card.sha256": plain("sha256sum")(CLIPS)})

    told = rows(archive, "SELECT size, sha256, md5 FROM copies WHERE path LIKE '%C0003.MP4'")

    assert told == [
        {
            "size": len(CLIPS["DCIM/100/C0003.MP4"]),
            "sha256": hashlib.sha256(CLIPS["DCIM/100/C0003.MP4"]).hexdigest(),
            "md5": None,
        }
    ]


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


def test_every_file_that_is_not_what_a_list_says_can_be_listed_afterwards(ingest, tell, plant, tmp_path, archive):
    files = {f"C{number:04}.MP4": b"%d" % number for number in range(130)} | {os.fsdecode(b"\xff.MP4"): b"odd"}
    wrong = {name: data + b"!" for name, data in files.items()}
    card = plant(tmp_path / "CARD", {**files, "list.b3": b3(wrong), "more.b3": b3({"C0007.MP4": b"seven"})})
    done = ingest.run("copy", card, archive)
    session = tell("sessions").document["sessions"][0]["session"]

    assert done.returncode == 7
    told = done.stdout.count("      listed ")
    assert f"… and {132 - told:,} more: ingest show {session[:8]} --differing" in done.stdout

    document = tell("show", session[:8], "--differing").document
    assert sum(len(one["differing"]) for one in document["sums"]) == 100
    found = {(one["list"], one.get("path_b64", one["path"])): one for one in document["differing_listed"]}
    odd = base64.b64encode(os.fsencode(card) + b"/\xff.MP4").decode()
    assert found.keys() == {(f"{card}/more.b3", f"{card}/C0007.MP4")} | {
        (f"{card}/list.b3", odd if not name.isascii() else f"{card}/{name}") for name in files
    }
    assert len(document["differing_listed"]) == 132
    assert found[f"{card}/more.b3", f"{card}/C0007.MP4"] == {
        "list": f"{card}/more.b3", "path": f"{card}/C0007.MP4", "algorithm": "blake3",
        "listed": engine.blake3(b"seven").hex(), "read": engine.blake3(b"7").hex(),
    }  # fmt: skip
    # Without being asked for they are not told, and for people they stand one by one.
    assert "differing_listed" not in tell("show", session).document
    shown = ingest.run("show", session, "--differing").stdout
    for name, data in wrong.items():
        assert f"      listed {engine.blake3(data).hex()}" in shown, name


def test_a_session_without_contradictions_lists_none(tell, bring):
    session = bring({"list.b3": b3(CLIPS)}).document["session"]

    assert tell("show", session, "--differing").document["differing_listed"] == []


def test_a_session_that_was_killed_keeps_what_its_lists_said(ingest, tell, plant, tmp_path, archive):
    big = {**CLIPS, "LONG.MP4": b"long" * (24 << 20)}
    card = plant(tmp_path / "CARD", {**big, "list.b3": b3({**big, "LONG.MP4": b"as it was"})})
    running = ingest.start("copy", card, archive, "--workers", "1")
    # What is in a session's own staging folder is being copied: the lists were read by then.
    staging = archive / ".ingest/staging"
    while not any(staging.glob("*/*.part")):
        assert running.poll() is None
        time.sleep(0.001)
    running.kill()
    running.communicate()
    (card / "list.b3").write_bytes(b"nobody reads this any more")

    told = tell("resume").document

    assert told["exit_code"] == 7
    assert told["sums_total"]["entries"] == 5
    assert told["sums_total"]["differing"] == 1
    assert told["sums_total"]["problems"] == 0


def counted(ingest, strace, tmp_path, card, *arguments):
    """Runs a command under strace: what came of it, and the bytes that were read of each file of a card."""
    log = tmp_path / "calls"
    log.mkdir()
    done = subprocess.run(
        [strace, "-ff", "-qq", "-y", "-s", "0", "-e", "trace=read,pread64", "-o", log / "t",
         *ingest.command(*arguments, "--read-mode", "read")],
        env=ingest.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    amounts: dict[str, int] = {}
    for line in "\n".join(each.read_text(errors="replace") for each in log.iterdir()).splitlines():
        found = re.match(r"\w+\([^<]*<([^>]*)>.* = (\d+)", line)
        if found and found[1].startswith(f"{card}/"):
            name = os.path.relpath(found[1], card)
            amounts[name] = amounts.get(name, 0) + int(found[2])
    return done, amounts


def test_a_list_is_read_once_more_and_every_other_file_once(ingest, strace, plant, tmp_path, archive):
    files = {**CLIPS, "list.b3": b3(CLIPS)}
    card = plant(tmp_path / "CARD", files)
    done, amounts = counted(ingest, strace, tmp_path, card, "copy", card, archive)

    assert done.returncode == 0, done.stderr
    assert amounts == {name: len(data) * (2 if name == "list.b3" else 1) for name, data in files.items()}
