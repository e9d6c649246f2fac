"""Disks that lie: silent bit flips, lost writes, errors at every step, answers that got lost, a dead daemon.

The destination is a FUSE file system that passes everything to a folder and fails where it is told to. For every
fault at every site the outcome must not be silent: the bytes arrive after all, or the copy is named and has no name.
Each test proves that the fault was met.
"""

from __future__ import annotations

import os

import blake3
import pytest

pytestmark = pytest.mark.root

FILES = {"A.JPG": 10_000, "B.MOV": 3_000_000, "C.JPG": 70_000}
MEDIA = "*/staging/????????/[0-9]*.part"  # footage on its way; manifest parts have other names


@pytest.fixture
def card(make_card):
    return make_card(FILES)


@pytest.fixture
def disk(faulty_disk, shell, make_card, tmp_path):
    """A disk that is an archive already, so that faults meet footage and not the marker."""
    disk = faulty_disk()
    assert shell.run("copy", make_card({"X": 10}, tmp_path / "FIRST").folder, disk.mount).code == 0
    (disk.mount / "FIRST/X").unlink()
    (disk.mount / "FIRST").rmdir()
    return disk


def attempts(journal, card):
    copies = journal.copies(journal.session(card)["key"]).values()
    return {os.fsdecode(row["source_path"]): row["attempts"] for row in copies}


def staged(number):
    """The staging files of one item: a card of one folder is numbered in the order of its names."""
    return f"*/staging/????????/{number}-*.part"


# Each file of a card meets a fault of its own, once: it is made again, and arrives.

ONCE = {
    "bit flip on write": {"op": "write", "act": "flip"},
    "lost write": {"op": "write", "act": "drop"},
    "zeros on write": {"op": "write", "act": "zero"},
    "bit flip on read-back": {"op": "read", "act": "flip"},
    "short read-back": {"op": "read", "act": "short", "size": 100},
    "EIO on create": {"op": "create", "err": "EIO"},
    "EIO on write": {"op": "write", "err": "EIO"},
    "EIO on fsync": {"op": "fsync", "err": "EIO"},
    "EIO on fsync, after it was done": {"op": "fsync", "err": "EIO", "after": True},
    "EIO on close": {"op": "flush", "err": "EIO"},
    "EIO on times": {"op": "utimens", "err": "EIO"},
    "EIO on open for read-back": {"op": "open", "err": "EIO"},
    "EIO on read-back": {"op": "read", "err": "EIO"},
    "EIO on rename": {"op": "rename", "err": "EIO"},
    "EIO on rename, after it was done": {"op": "rename", "err": "EIO", "after": True},
}
# A rename is looked at, or tried again; what is read short is read on; readahead that failed is asked for again.
THE_COPY_WAS_GOOD = {
    "EIO on rename", "EIO on rename, after it was done", "short read-back", "EIO on read-back"
}  # fmt: skip


def test_a_fault_that_passes_costs_a_second_attempt_and_nothing_else(make_card, disk, shell, check, journal, tally):
    names = {f"{number:02}.JPG": fault for number, fault in enumerate(ONCE, 1)}
    card = make_card({**dict.fromkeys(names, 30_000), "99.JPG": 30_000})
    disk.rules(*({"path": staged(number), **rule} for number, rule in enumerate(ONCE.values(), 1)))

    ended = shell.run("copy", card.folder, disk.mount)

    tally["faults met"] += len(disk.hits())
    assert len(disk.hits()) == len(ONCE), "every fault was met, once"
    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    made = attempts(journal, card)
    for name, fault in names.items():
        assert made[name] == 2 or fault in THE_COPY_WAS_GOOD, (fault, made[name])
    assert max(made.values()) == 2
    disk.rules()
    check(card, disk.mount)


# The same, for ever: the file is named, has no name in the archive, and all others arrive.

ALWAYS = {
    "bit flip on write": ({"op": "write", "act": "flip"}, "corrupt_destination"),
    "lost write": ({"op": "write", "act": "drop"}, "corrupt_destination"),
    "bit flip on read-back": ({"op": "read", "act": "flip"}, "corrupt_destination"),
    "EIO on write": ({"op": "write", "err": "EIO"}, "io"),
    "EIO on fsync": ({"op": "fsync", "err": "EIO"}, "io"),
    "EIO on close": ({"op": "flush", "err": "EIO"}, "io"),
    "EIO on read-back": ({"op": "read", "err": "EIO"}, "io"),
    "EIO on rename": ({"op": "rename", "err": "EIO"}, "io"),
    "EACCES on create": ({"op": "create", "err": "EACCES"}, "permission"),
}


@pytest.mark.parametrize(("reasons", "code"), [(["corrupt_destination"], 3), (["io", "permission"], 7)], ids=["3", "7"])
def test_a_fault_that_stays_names_the_file_and_gives_it_no_name(make_card, disk, shell, check, tally, reasons, code):
    wanted = [(fault, rule, reason) for fault, (rule, reason) in ALWAYS.items() if reason in reasons]
    names = {f"{number:02}.JPG": reason for number, (_, _, reason) in enumerate(wanted, 1)}
    card = make_card({**dict.fromkeys(names, 30_000), "98.JPG": 30_000, "99.MOV": 3_000_000})
    disk.rules(*({"path": staged(number), "count": 0, **rule} for number, (_, rule, _) in enumerate(wanted, 1)))

    ended = shell.run("copy", card.folder, disk.mount)

    met = {hit["op"] for hit in disk.hits()}
    tally["faults met"] += len(disk.hits())
    assert met == {rule["op"] for _, rule, _ in wanted}, "every fault was met"
    assert (ended.code, ended.document["state"]) == (code, "completed_with_errors"), ended
    failures = {os.path.basename(failure["path"]): failure for failure in ended.document["failures"]}
    assert {name: failure["reason"] for name, failure in failures.items()} == names
    assert all(failure["state"] == "failed" and failure["advice"] for failure in failures.values())
    disk.rules()
    check(card, disk.mount, missing=set(names))
    assert not [name for name in names if (disk.backing / "CARD" / name).exists()]
    # The cause is gone: they arrive when the session is named.
    assert shell.run("resume", ended.document["session"]).code == 0
    check(card, disk.mount)


def test_the_differing_bytes_are_named(card, disk, shell, check):
    disk.rules({"path": MEDIA, "op": "write", "act": "flip", "count": 0})

    ended = shell.run("copy", card.folder, disk.mount)

    assert ended.code == 3
    assert {failure["reason"] for failure in ended.document["failures"]} == {"corrupt_destination"}
    assert any("differing bytes [5000, 5001)" in warning for warning in ended.document["warnings"])
    disk.rules()
    check.nothing(disk.mount)


def test_a_disk_that_damages_everything_gets_no_name_at_all_and_no_lie_in_its_manifest(card, disk, shell, check):
    disk.rules({"path": "*", "op": "write", "act": "flip", "count": 0})

    ended = shell.run("copy", card.folder, disk.mount)

    assert ended.code not in (0, 6)
    disk.rules()
    check.nothing(disk.mount)
    resumed = shell.run("resume", ended.document["session"])
    assert resumed.code == 0
    check(card, disk.mount)


# Short answers, and file systems that know less


def test_short_reads_and_writes_are_no_faults(card, disk, shell, check, tally):
    disk.rules(
        {"path": MEDIA, "op": "write", "act": "short", "size": 4096, "count": 0},
        {"path": MEDIA, "op": "read", "act": "short", "size": 4096, "count": 40},
    )

    ended = shell.run("copy", card.folder, disk.mount)

    tally["faults met"] += len(disk.hits())
    assert len(disk.hits(op="write")) > 100
    assert ended.code == 0
    disk.rules()
    check(card, disk.mount)


@pytest.mark.parametrize(
    ("rules", "method"),
    [
        ([{"op": "rename", "err": "EINVAL", "count": 0}], "link"),
        ([{"op": "rename", "err": "EINVAL", "count": 0}, {"op": "link", "err": "EPERM", "count": 0}], None),
        ([{"op": "rename", "err": "EINVAL", "count": 3}, {"op": "link", "err": "EPERM", "count": 0}], "unguarded"),
    ],
    ids=["no flags", "no way at all", "no flags and no links"],
)
def test_names_are_given_by_what_the_file_system_knows(make_card, disk, shell, check, rules, method):
    card = make_card({"A.MOV": 100_000})
    rules = [{**rule, "path": "*/CARD/*"} for rule in rules]
    if method == "unguarded":
        rules[0]["count"] = 1  # the no-replace rename is refused, the plain one is not
    disk.rules(*rules)

    ended = shell.run("copy", card.folder, disk.mount)

    assert disk.hits(op="rename")
    disk.rules()
    if method is None:
        assert ended.code not in (0, 6)
        check.nothing(disk.mount)
        assert shell.run("resume", ended.document["session"]).code == 0
    else:
        assert ended.code == 0
        assert ended.document["destinations"][0]["publish_method"][method] == 1
    check(card, disk.mount)


def test_a_library_without_rename_flags_gives_names_by_links(faulty_disk, card, shell, check):
    disk = faulty_disk(library="fuse")

    ended = shell.run("copy", card.folder, disk.mount)

    assert ended.code == 0
    assert ended.document["destinations"][0]["publish_method"]["link"] == len(FILES)
    check(card, disk.mount)


# Room and manifests


def test_a_disk_that_says_it_is_full_in_the_middle_pauses_the_session(card, disk, shell, check):
    disk.rules({"path": "*", "op": ["write", "create", "fallocate", "mkdir"], "err": "ENOSPC", "count": 0})

    ended = shell.run("copy", card.folder, disk.mount)

    assert (ended.code, ended.document["state"]) == (8, "paused(space)")
    disk.rules()
    check.nothing(disk.mount)
    assert shell.run("resume").code == 0
    check(card, disk.mount)


def test_free_space_that_cannot_be_asked_for_is_no_reason_to_begin_blindly(card, disk, shell, check):
    disk.rules({"op": "statfs", "err": "EIO", "count": 0})
    ended = shell.run("copy", card.folder, disk.mount)
    assert (ended.code, ended.document["error"]["path"]) == (4, str(disk.mount)), "it is asked before all else"

    # How often it is asked before a session begins is nobody's business.
    for nth in range(3, 20):
        disk.rules({"op": "statfs", "err": "EIO", "nth": nth, "count": 0})
        ended = shell.run("copy", card.folder, disk.mount)
        if "error" not in ended.document or ended.document["error"]["operation"] == "statfs":
            break
    assert ended.code not in (0, 4, 6)
    assert disk.hits(op="statfs")
    disk.rules()
    assert shell.run("resume").code == 0
    check(card, disk.mount)


def test_a_manifest_that_cannot_be_written_keeps_the_session_open(card, disk, shell, check):
    command = ["copy", card.folder, disk.mount]
    for rule in ({"op": "write", "act": "flip"}, {"op": "write", "err": "ENOSPC"}, {"op": "fsync", "err": "EIO"}):
        disk.rules({"path": "*/staging/*/items-*", "count": 0, **rule})

        ended = shell.run(*command)

        assert disk.hits(op=rule["op"])
        assert ended.code == 8, rule
        assert "manifest" in ended.document["problem"]
        command = ["resume"]
    disk.rules()
    assert shell.run("resume").code == 0
    check(card, disk.mount)


@pytest.mark.parametrize("rule", [{"op": "write", "act": "flip"}, {"op": "rename", "err": "EIO"}], ids=["flip", "EIO"])
def test_a_marker_that_cannot_be_written_begins_nothing(faulty_disk, card, shell, check, rule):
    disk = faulty_disk()
    disk.rules({"path": "*/root-*", "count": 0, **rule})

    ended = shell.run("copy", card.folder, disk.mount)

    assert disk.hits()
    assert ended.code not in (0, 6, 7)
    disk.rules()
    assert not (disk.mount / ".ingest/root.json").exists()
    check.nothing(disk.mount)
    assert shell.run("copy", card.folder, disk.mount).code == 0
    check(card, disk.mount)


def test_folders_that_cannot_be_flushed_leave_no_copy_that_counts(card, disk, shell, check):
    disk.rules({"path": "*/CARD*", "op": "fsyncdir", "err": "EIO", "count": 0})

    ended = shell.run("copy", card.folder, disk.mount)

    assert disk.hits()
    assert ended.code not in (0, 6)
    assert ended.document["items"]["finalized"] == 0
    disk.rules()
    check(card, disk.mount, complete=False)
    assert shell.run("resume", ended.document["session"]).code == 0
    check(card, disk.mount)


# Daemons that die or hang


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_dies_in_the_middle_pauses_the_session(card, disk, shell, check, tally, call):
    disk.rules({"path": MEDIA, "op": call, "act": "die", "nth": 2})

    ended = shell.run("copy", card.folder, disk.mount)

    assert len(disk.hits()) == 1
    tally["faults met"] += 1
    assert ended.code in (7, 8), ended
    assert ended.document["items"]["finalized"] < len(FILES)
    disk.end()
    assert os.listdir(disk.mount) == [], "nothing was written underneath"
    disk.begin()
    check(card, disk.mount, complete=False)
    assert shell.run("resume", ended.document["session"]).code == 0
    check(card, disk.mount)


def test_a_disk_that_hangs_can_be_left_with_two_interrupts(card, disk, shell, check, until):
    """Its worker cannot even be killed, as long as the kernel waits for the disk: it is left behind."""
    disk.rules({"path": MEDIA, "op": "fsync", "act": "hang"})
    running = shell.start("copy", card.folder, disk.mount)
    until(lambda: disk.hits(act="hang"), "the hang")
    try:
        running.interrupt()
        assert "Once more" in running.process.stderr.readline()
        running.interrupt()

        assert running.process.wait(15) == 6
    finally:
        disk.rules()  # it answers again: whatever was left behind ends now
    check.nothing(disk.mount)
    assert shell.run("resume").code == 0
    check(card, disk.mount)


# Sources


@pytest.fixture
def reader(faulty_disk, make_card):
    """A card in a faulty reader."""
    disk = faulty_disk("reader")
    card = make_card(FILES, disk.backing / "CARD")
    card.folder = disk.mount / "CARD"
    return card, disk


def test_every_byte_of_a_source_is_read_once(reader, archive, shell, check, tally):
    """Counted by the disk itself, not by the engine."""
    card, disk = reader
    disk.rules({"path": "/CARD/*", "op": "read", "act": "note", "count": 0})

    assert shell.run("copy", card.folder, archive).code == 0

    read = sum(hit["bytes"] for hit in disk.hits(op="read"))
    assert read == card.size
    tally["source bytes counted"] += read
    check(card, archive)


def test_a_resume_reads_only_what_was_not_validated(reader, archive, shell, check, until, journal):
    """Counted by the disk: what both runs read together is the card, and what was in flight at the kill."""
    card, disk = reader
    for number in range(4):
        (disk.backing / "CARD" / f"BIG{number}.MOV").write_bytes(bytes([number]) * (66 << 20))
        card.versions[f"BIG{number}.MOV"] = set()
        card.admit(f"BIG{number}.MOV")
    disk.rules({"path": "/CARD/*", "op": "read", "act": "note", "count": 0})
    running = shell.start("copy", card.folder, archive, "--workers", "1")
    until(lambda: journal.live("SELECT 1 FROM copies WHERE state IN ('validated', 'finalized')"), "a proven copy")
    running.kill()
    before = sum(hit["bytes"] for hit in disk.hits(op="read"))
    copies = journal.copies(journal.session(card)["key"]).values()
    proven = sum(row["size"] for row in copies if row["state"] in ("validated", "finalized"))
    assert proven > 0

    assert shell.run("resume").code == 0

    again = sum(hit["bytes"] for hit in disk.hits(op="read")) - before
    assert again <= card.size - proven
    check(card, archive)


def test_a_source_that_reads_wrong_once_crashes_nothing(reader, archive, shell, check):
    """What was read is what is archived: without a second read nobody can know. The digest is that of those bytes."""
    card, disk = reader
    disk.rules({"path": "/CARD/B.MOV", "op": "read", "act": "flip"})

    ended = shell.run("copy", card.folder, archive)

    assert len(disk.hits()) == 1
    assert (ended.code, ended.document["items"]["finalized"]) == (0, len(FILES))
    card.versions["B.MOV"] = {blake3.blake3((archive / "CARD/B.MOV").read_bytes()).hexdigest()}
    check(card, archive)


DIFFERENTLY = ("changed", "source_reads_differently")


@pytest.mark.parametrize("first", [True, False], ids=["the first read", "the second read"])
def test_a_source_that_reads_wrong_once_is_found_by_reading_it_twice(reader, archive, shell, check, first):
    """Which of the two reads was right nobody can know: no copy is kept, and the file is named."""
    card, disk = reader
    nth = 1 if first else 2
    disk.rules({"path": "/CARD/A.JPG", "op": "read", "act": "flip", "nth": nth})

    ended = shell.run("copy", card.folder, archive, "--verify-source")

    assert len(disk.hits()) == 1
    assert ended.code == 7
    (failure,) = ended.document["failures"]
    assert (failure["state"], failure["reason"]) == DIFFERENTLY
    assert "another reader" in failure["advice"]
    assert not (archive / "CARD/A.JPG").exists()
    check(card, archive, missing={"A.JPG"})
    # The session still knows that everything is to be read twice.
    disk.rules({"path": "/CARD/A.JPG", "op": "read", "act": "flip"})
    again = shell.run("resume", ended.document["session"])
    assert (again.code, len(disk.hits())) == (7, 2)
    shown = shell.run("show", ended.document["session"])
    assert shown.document["verify_source"] is True
    assert [(one["state"], one["reason"]) for one in shown.document["failures"]] == [DIFFERENTLY]
    disk.rules()
    assert shell.run("resume", ended.document["session"]).code == 0
    check(card, archive)


def test_a_big_file_that_reads_wrong_leaves_no_part_to_be_gone_on_with(faulty_disk, make_card, archive, shell, check):
    disk = faulty_disk("reader")
    card = make_card({"BIG.MOV": (66 << 20) + 5}, disk.backing / "CARD")
    card.folder = disk.mount / "CARD"
    disk.rules({"path": "/CARD/BIG.MOV", "op": "read", "act": "flip", "nth": 100})

    ended = shell.run("copy", card.folder, archive, "--verify-source")

    assert (ended.code, len(disk.hits())) == (7, 1)
    disk.rules()
    resumed = shell.run("resume", ended.document["session"])
    assert resumed.code == 0
    assert resumed.document["bytes"]["resumed"] == 0
    check(card, archive)


def test_a_source_that_cannot_be_read_a_second_time_is_tried_again(reader, archive, shell, check):
    card, disk = reader
    disk.rules({"path": "/CARD/A.JPG", "op": "read", "err": "EIO", "nth": 2})

    ended = shell.run("copy", card.folder, archive, "--verify-source")

    assert len(disk.hits()) == 1
    assert (ended.code, ended.document["state"]) == (0, "completed")
    check(card, archive)


@pytest.mark.parametrize(("count", "code"), [(1, 0), (0, 7)], ids=["once", "always"])
def test_a_source_that_cannot_be_read_is_tried_again_and_then_named(reader, archive, shell, check, count, code):
    card, disk = reader
    disk.rules({"path": "/CARD/B.MOV", "op": "read", "err": "EIO", "count": count})

    ended = shell.run("copy", card.folder, archive)

    assert disk.hits()
    assert ended.code == code, ended
    if code:
        (failure,) = ended.document["failures"]
        assert (failure["state"], failure["reason"]) == ("failed", "io")
        disk.rules()
        check(card, archive, missing={"B.MOV"})
        assert shell.run("resume", ended.document["session"]).code == 0
    disk.rules()
    check(card, archive)


def test_a_source_that_ends_early_is_changed_and_not_archived_short(reader, archive, shell, check):
    card, disk = reader
    disk.rules({"path": "/CARD/B.MOV", "op": "read", "act": "short", "size": 0, "nth": 2, "count": 0})

    ended = shell.run("copy", card.folder, archive)

    assert disk.hits()
    assert ended.code == 7
    disk.rules()
    check(card, archive, missing={"B.MOV"})


@pytest.mark.parametrize("call", ["open", "read"])
def test_a_reader_that_dies_pauses_the_session(reader, archive, shell, check, call):
    card, disk = reader
    disk.rules({"path": "/CARD/B.MOV", "op": call, "act": "die"})

    ended = shell.run("copy", card.folder, archive)

    assert len(disk.hits()) == 1
    assert (ended.code, ended.document["state"]) == (8, "paused(network)"), ended
    assert ended.document["items"]["failed"] == ended.document["items"]["removed"] == 0
    disk.end()
    disk.begin()
    assert shell.run("resume").code == 0
    check(card, archive)


@pytest.mark.parametrize(
    "fault", [{"op": "write", "act": "flip"}, {"op": "write", "err": "ENOSPC"}], ids=["flip", "ENOSPC"]
)
def test_one_of_two_destinations_is_faulty_and_the_other_gets_everything(card, disk, archive, shell, check, fault):
    disk.rules({"path": MEDIA, "count": 0, **fault})

    ended = shell.run("copy", card.folder, disk.mount, "--also", archive)

    assert disk.hits()
    assert ended.code in (3, 7, 8)
    faulty, well = ended.document["destinations"]
    assert (faulty["copies"]["finalized"], well["copies"]["finalized"]) == (0, len(FILES))
    disk.rules()
    check.nothing(disk.mount)
    check(card, archive, complete=False)
    assert shell.run("resume", ended.document["session"]).code == 0
    check(card, disk.mount, archive)
