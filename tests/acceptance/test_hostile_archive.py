"""An archive whose own record was damaged, cut, exchanged or forged: every command says it, and none makes it worse."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.engine import blake3
from ingest.manifest.codec import seal
from ingest.manifest.schema import FORMAT_VERSION

FILES = 6  # of the card
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 7, 8}


CARD = {
    "DCIM/100EOSR5/IMG_0001.CR3": bytes(range(256)) * 300, "DCIM/100EOSR5/MVI_0002.MP4": b"ftypmp42" * 20_000,
    "DCIM/100EOSR5/MVI_0002.XMP": b"<x:xmpmeta/>", "MISC/AUTPRINT.MRK": b"", ".cameraid": b"R5-0042", "a.jpg": b"a",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(shared):
    """A card on two archives; made once, and given back what the tests did to the archive's record."""
    card = shared.plant("EOS_DIGITAL", CARD)
    places = [shared.plant(name, {}) for name in ("archive", "backup")]
    told = shared.tell("copy", card, places[0], "--also", places[1])
    assert told.code == 0, told.errors
    shutil.copytree(places[0] / ".ingest", shared.folder / "kept/.ingest")
    shutil.copytree(shared.home, shared.folder / "kept/home")
    return told.document["session"]


@pytest.fixture
def copied(shared, made):
    yield made
    for name, place in ((".ingest", shared.folder / "archive/.ingest"), ("home", shared.home)):
        shutil.rmtree(place)
        shutil.copytree(shared.folder / "kept" / name, place)


@pytest.fixture
def card(shared):
    return shared.folder / "EOS_DIGITAL"


@pytest.fixture
def archive(shared):
    return shared.folder / "archive"


@pytest.fixture
def backup(shared):
    return shared.folder / "backup"


@pytest.fixture
def tell(shared):
    return shared.tell


@pytest.fixture
def marker(copied, archive):
    return archive / ".ingest/root.json"


@pytest.fixture
def part(copied, archive):
    (found,) = archive.glob(".ingest/manifests/*/items-0001.parquet")
    return found


@pytest.fixture
def ask(tell, card, archive, backup, media):
    """Run commands, all if none is named: each ends with a documented code, explains an error, and leaves the footage."""
    commands = {
        "verify": ("verify", archive),
        "query": ("query", "SELECT count(*) AS n FROM copies", "--root", archive),
        "doctor": ("doctor",),
        "list": ("storage", "list"),
        "status": ("storage", "status", archive),
        "scan": ("scan", card, "--to", archive),
        "copy": ("copy", card, archive),
        "resume": ("resume",),
        "repair": ("repair", archive, "--from", backup),
        "clear": ("clear", archive),
        "rebuild": ("catalog", "rebuild", archive),
    }

    def run(*names):
        before = media(archive)
        said = {}
        for name in names or commands:
            told = said[name] = tell(*commands[name])
            assert told.code in DOCUMENTED, (name, told)
            assert "bug in ingest" not in told.errors, (name, told.errors)
            if isinstance(told.document, dict) and "error" in told.document:
                assert told.error["operation"] not in ("", "internal"), (name, told.error)
                assert told.error["cause"], name
                assert told.error["advice"], (name, told.error)
        assert media(archive) == before
        return said

    return run


def rewrite(path, data):
    path.unlink()
    path.write_bytes(data)


def make_huge(path):
    with path.open("r+b") as file:
        file.truncate(100 << 20)


def replaced_by(make):
    def act(path):
        path.unlink()
        make(path)

    return act


MARKERS = {
    "empty": lambda path: rewrite(path, b""),
    "of 100 MB": make_huge,
    "nested": lambda path: rewrite(path, b'{"uuid": ' + b"[" * 60_000),
    "with a list for a UUID of its disk": lambda path: rewrite(
        path, path.read_bytes().replace(b'"fs_uuid": ', b'"fs_uuid": [1], "was": ')
    ),
    "with a lone surrogate": lambda path: rewrite(
        path, path.read_bytes().replace(b'"fs_uuid": ', b'"fs_uuid": "\\ud800\\u001b[2J", "was": ')
    ),
    "of version 0": lambda path: rewrite(path, path.read_bytes().replace(b'"version": 1', b'"version": 0')),
    "newer": lambda path: rewrite(path, path.read_bytes().replace(b'"version": 1', b'"version": 2')),
    "a link": replaced_by(lambda path: path.symlink_to("/etc/hostname")),
    "a link to a sound one": replaced_by(lambda path: path.symlink_to("../../backup/.ingest/root.json")),
    "a pipe": replaced_by(os.mkfifo),
    "a folder": replaced_by(os.mkdir),
}


def test_a_marker_that_is_not_what_was_written_is_named_by_whoever_needs_it(ask, marker, archive, tell, card):
    sound = marker.read_bytes()
    MARKERS["with a list for a UUID of its disk"](marker)

    said = ask()

    for name in ("copy", "clear", "rebuild", "scan"):
        assert said[name].code == 1, (name, said[name])
        assert said[name].error["path"] == str(marker)
    assert said["verify"].code == said["repair"].code == 3
    assert said["query"].document == [{"n": FILES}]
    (listed,) = [each for each in said["list"].document["storage"] if each["path"] == str(archive)]
    assert not listed["accessible"]
    assert listed["problem"]
    rewrite(marker, sound)
    assert tell("verify", archive).code == 0
    assert tell("copy", card, archive).document["items"]["duplicate"] == FILES


@pytest.mark.parametrize("harm", list(MARKERS))
def test_no_harm_to_a_marker_lets_a_copy_begin(ask, marker, harm):
    MARKERS[harm](marker)

    said = ask("verify", "copy")

    assert said["copy"].code == 1
    assert said["copy"].error["path"] == str(marker)
    assert said["verify"].code == 3
    assert str(marker) in [finding["path"] for finding in said["verify"].document["changed"]]


def flip(at):
    def act(path):
        data = bytearray(path.read_bytes())
        data[at % len(data)] ^= 0xFF
        path.write_bytes(data)

    return act


def cut(share):
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


PARTS = {
    "flipped in the magic": flip(0), "flipped in a page": flip(300), "flipped in the middle": flip(5000),
    "flipped in the footer": flip(-400), "flipped in the footer's length": flip(-7), "flipped at the end": flip(-1),
    "emptied": cut(0), "cut to a tenth": cut(0.1), "cut in half": cut(0.5), "cut at the end": cut(0.999),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"PAR1"),
    "a link": replaced_by(lambda path: path.symlink_to("/etc/hostname")),
    "a pipe": replaced_by(os.mkfifo),
    "a folder": replaced_by(os.mkdir),
    "another program's": lambda path: pq.write_table(pa.table({"session": ["x"]}), path),
}  # fmt: skip


def test_a_part_that_is_not_what_was_written_is_named_by_whoever_reads_it(ask, part, archive, tell):
    sound = part.read_bytes()
    PARTS["flipped in a page"](part)

    said = ask()

    assert said["query"].code == 1
    assert said["query"].error["path"] == str(part)
    assert said["repair"].code == 3
    assert [finding["path"] for finding in said["repair"].document["failed"]] == [str(part)]
    assert said["rebuild"].code == 7
    assert [each["path"] for each in said["rebuild"].document["roots"][0]["damaged"]] == [str(part)]
    # The journal knows what arrived: no footage is copied twice over it.
    assert said["copy"].code == 0
    assert said["copy"].document["items"]["duplicate"] == FILES
    rewrite(part, sound)
    assert tell("verify", archive).code == 0


@pytest.mark.parametrize("harm", list(PARTS))
def test_every_harm_to_a_part_is_found(ask, part, harm):
    PARTS[harm](part)

    said = ask("verify")

    assert said["verify"].code == 3
    assert [finding["path"] for finding in said["verify"].document["changed"]] == [str(part)]
    assert said["verify"].document["ok"] == 0


def facts_of(part):
    metadata = pq.ParquetFile(part).metadata.metadata
    return {k.decode(): v.decode() for k, v in metadata.items() if k.startswith(b"ingest.") and k != b"ingest.seal"}


def forge(place, table=None, **facts):
    """Put a sealed part in this one's place: what somebody with our own program could write."""
    table = pq.read_table(place) if table is None else table
    told = facts_of(place) | {f"ingest.{key}": value for key, value in facts.items()}
    rewrite(place, seal(table, told))


def column(part, name, values):
    table = pq.read_table(part)
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def test_a_newer_part_is_refused_by_who_reads_it_and_hinders_nobody_else(ask, part):
    forge(part, format=str(FORMAT_VERSION + 1))

    said = ask("verify", "query", "repair", "rebuild", "copy")

    for name in ("verify", "query", "repair"):
        assert said[name].code == 1, name
        assert said[name].error["path"] == str(part)
        assert "newer version" in said[name].error["advice"]
    assert said["rebuild"].code == 7
    assert "newer version" in said["rebuild"].document["not_read"][0]["advice"]
    assert said["copy"].code == 0


def test_a_part_that_claims_billions_of_bytes_is_not_unpacked(ask, part):
    table = pq.read_table(part)
    forge(part, pa.concat_tables([table.slice(0, 1)] * 1500).combine_chunks().take(pa.array([0] * 1_500_000)))
    assert part.stat().st_size < 4 << 20

    said = ask("verify", "query")

    assert said["verify"].code == 3
    (finding,) = said["verify"].document["changed"]
    assert "1,500,000 rows" in finding["reason"]
    assert said["query"].code == 1


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"created_ns": "9" * 40}, "facts"),
        ({"run": "-1"}, "facts"),
        ({"counts": '{"finalized": Infinity}'}, "facts"),
        ({"counts": "[" * 50_000}, "facts"),
        ({"sources": '[{"path": 7, "label": {}}]'}, "facts"),
        ({"previous": "00"}, "facts"),
        ({"last": "1e3"}, "facts"),
        ({"part": "2"}, "another name"),
        ({"session": "00000000-0000-4000-8000-000000000000"}, "another name"),
    ],
    ids=str,
)
def test_forged_facts_are_said(ask, part, facts, says):
    forge(part, **facts)

    said = ask("verify")

    assert said["verify"].code == 3
    (finding,) = said["verify"].document["changed"]
    assert (finding["path"], says in finding["reason"]) == (str(part), True), finding


@pytest.mark.parametrize("values", [[-1] * FILES, [None] * FILES], ids=["negative", "null"])
def test_forged_sizes_are_said(ask, part, values):
    table = pq.read_table(part)
    at = table.schema.get_field_index("size")
    forge(part, table.set_column(at, pa.field("size", pa.int64()), pa.array(values, pa.int64())))

    said = ask("verify")

    assert said["verify"].code == 3
    (finding,) = said["verify"].document["changed"]
    assert "size" in finding["reason"]


HOSTILE = ["../../etc/passwd", "/etc/passwd", "../outside.mov", "EOS_DIGITAL/../../outside.mov", "a\0b", ""]


def test_paths_that_lead_out_of_the_archive_lead_nowhere(ask, part, archive, traced_paths):
    outside = archive.parent / "outside.mov"
    outside.write_bytes(b"not of this archive")
    before = outside.stat()
    forge(part, column(part, "path", HOSTILE))

    said = ask("verify", "repair", "rebuild")

    assert said["verify"].code == 3
    told = said["verify"].document["changed"] + said["verify"].document["missing"]
    assert len(told) == FILES
    assert said["repair"].code == 3
    assert said["repair"].document["repaired"] == []
    assert said["rebuild"].document["roots"][0]["files"] == 0
    after = outside.stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    assert sorted(path.name for path in archive.parent.iterdir()) == [
        "EOS_DIGITAL", "archive", "backup", "home", "kept", "outside.mov",
    ]  # fmt: skip
    outside.unlink()
    assert traced_paths("verify", archive) & {"/etc/passwd", str(outside), "../../etc/passwd"} == set()


@pytest.fixture
def traced_paths(shared, tmp_path):
    """The names that a command opened."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")

    def run(*arguments):
        log = tmp_path / "strace"
        subprocess.run(
            ["strace", "-f", "-qq", "-o", log, "-e", "trace=open,openat,openat2", *shared.command(*arguments)],
            env=shared.environment, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        opened = [line for line in log.read_text(errors="replace").splitlines() if " = -1 " not in line]
        names = {name for line in opened for name in re.findall(r'"([^"]*)"', line)}
        assert any("items-0001" in name for name in names), "nothing was seen"
        return names

    return run


@pytest.fixture
def chained(part):
    """The same rows in three parts of two, the second of which tells of files that nothing else does."""
    table, before = pq.read_table(part), None
    for number in (1, 2, 3):
        facts = {**facts_of(part), "ingest.part": str(number)} | ({"ingest.previous": before} if before else {})
        data = seal(table.slice(2 * number - 2, 2).combine_chunks(), facts)
        place = part.with_name(f"items-{number:04}.parquet")
        if number > 1:
            place.write_bytes(data)
        else:
            rewrite(place, data)
        before = blake3(data).hex()
    return part.parent


def test_a_part_that_is_missing_from_the_middle_is_named_and_the_others_count(ask, chained):
    (chained / "items-0002.parquet").unlink()

    said = ask("verify", "query", "rebuild")

    assert said["verify"].code == 3
    assert [finding["path"] for finding in said["verify"].document["missing"]] == [str(chained / "items-0002.parquet")]
    assert said["verify"].document["ok"] == FILES - 2
    assert said["query"].code == 1
    assert said["rebuild"].document["roots"][0]["files"] == FILES - 2


def test_a_part_of_another_session_that_was_copied_in_is_no_part_of_this_one(ask, chained):
    facts = {**facts_of(chained / "items-0002.parquet"), "ingest.session": "00000000-0000-4000-8000-000000000000"}
    rewrite(chained / "items-0002.parquet", seal(pq.read_table(chained / "items-0002.parquet"), facts))

    said = ask("verify")

    assert said["verify"].code == 3
    assert [finding["path"] for finding in said["verify"].document["changed"]] == [str(chained / "items-0002.parquet")]


def test_two_parts_that_changed_places_are_both_named(ask, chained):
    first, second, aside = (chained / name for name in ("items-0001.parquet", "items-0002.parquet", "aside"))
    first.rename(aside)
    second.rename(first)
    aside.rename(second)

    said = ask("verify")

    assert said["verify"].code == 3
    assert {finding["path"] for finding in said["verify"].document["changed"]} == {str(first), str(second)}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("repair/0badc0de-0001.json", b"{}"),
        ("repair/0badc0de-0001.json", b"[" * 60_000),
        ("repair/0badc0de-0001.json", b'{"version": 1e999}'),
    ],
    ids=["empty", "nested", "infinite"],
)
def test_a_note_of_a_repair_that_nobody_wrote_stops_a_repair_and_nothing_else(ask, copied, archive, name, data):
    (archive / ".ingest/repair").mkdir()
    (archive / ".ingest" / name).write_bytes(data)

    said = ask("repair", "verify", "copy")

    assert said["repair"].code == 1
    assert said["repair"].error["path"] == str(archive / ".ingest" / name)
    assert said["verify"].code == said["copy"].code == 0


def test_a_note_of_a_repair_that_speaks_of_footage_moves_none(ask, copied, archive):
    """Somebody's note says that a clip is what a repair built, and is to have another name."""
    clip = archive / "EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4"

    def text(path):
        return base64.b64encode(path).decode()

    note = {
        "version": 1, "session": "0badc0de-2fa1-11d2-883f-0016d3cca427", "number": 1, "path": text(b"taken.mp4"),
        "staging": text(b"EOS_DIGITAL/DCIM/100EOSR5/MVI_0002.MP4"), "slot": text(b"slot"), "size": clip.stat().st_size,
        "blake3": blake3(clip.read_bytes()).hex(), "strategy": "copy", "reason": "x",
    }  # fmt: skip
    (archive / ".ingest/repair").mkdir()
    (archive / ".ingest/repair/0badc0de-0001.json").write_text(json.dumps(note))

    said = ask("repair")

    assert said["repair"].code == 1
    assert clip.exists()
    assert not (archive / "taken.mp4").exists()


def test_leases_and_claims_that_nobody_wrote_hold_nothing_up(ask, copied, archive):
    for folder, name in (("leases", "0badc0de-2fa1-11d2-883f-0016d3cca427"), ("claims", "EOS_DIGITAL_2")):
        (archive / ".ingest" / folder).mkdir(exist_ok=True)
        (archive / ".ingest" / folder / name).write_bytes(b'{"every": NaN, "session": [' + b"[" * 3000)
    os.mkfifo(archive / ".ingest/leases/1badc0de-2fa1-11d2-883f-0016d3cca427")

    said = ask("copy", "verify", "clear", "doctor")

    assert said["copy"].code == said["verify"].code == said["clear"].code == 0
