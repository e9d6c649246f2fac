"""A manifest may be anything: it is read, or named as what it is. Nothing that it says leads out of its root."""

from __future__ import annotations

import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import engine
from ingest.errors import IngestError, ManifestError
from ingest.manifest import codec
from ingest.manifest.codec import decode, seal
from ingest.manifest.expected import proven
from ingest.manifest.facts import PartFacts, read_facts
from ingest.manifest.lookup import BlockLookup
from ingest.manifest.query import query
from ingest.manifest.reader import Rows, open_manifests
from ingest.manifest.sandbox import sandbox
from ingest.manifest.schema import SCHEMA
from ingest.manifest.views import VIEWS
from ingest.pipeline.repair import repair
from ingest.pipeline.spares import open_spares
from ingest.pipeline.verify import verify

FUZZ = settings.get_profile("fuzz")
HOSTILE = st.sampled_from(
    ["../../etc/passwd", "/etc/passwd", "..", ".", "", "a/../b", "a//b", "CARD/CLIP.MOV", "CARD/DCIM/IMG_1.JPG", "CARD",
     "x\0y", "\x1b[2J", ".ingest/root.json", ".ingest/manifests", "a" * 300, "\u202e" * 9]
)  # fmt: skip
TEXT = st.one_of(HOSTILE, st.text(max_size=10))
VALUES = {
    pa.string(): TEXT, pa.binary(): st.one_of(HOSTILE.map(str.encode), st.binary(max_size=9)),
    pa.binary(32): st.binary(min_size=32, max_size=32), pa.int64(): st.integers(-(1 << 63), (1 << 63) - 1),
    pa.int32(): st.integers(-(1 << 31), (1 << 31) - 1), pa.int16(): st.integers(-(1 << 15), (1 << 15) - 1),
    pa.timestamp("us"): st.integers(-(1 << 63), (1 << 63) - 1),
    pa.timestamp("us", tz="UTC"): st.integers(-(1 << 63), (1 << 63) - 1),
}  # fmt: skip
STATES = st.sampled_from(["finalized", "finalized", "duplicate", "failed", "skipped", "no state", ""])
SIZES = st.one_of(st.sampled_from([0, 1000, 2_304_000, 1 << 20, (1 << 63) - 1]), st.integers(0, 1 << 50))


@pytest.fixture(scope="module")
def sound(desk):
    return desk.part.read_bytes()


@pytest.fixture(scope="module")
def place(desk, tmp_path_factory):
    """A copy of the archive whose one part is exchanged for another each time, and what lies beside it."""
    folder = tmp_path_factory.mktemp("fuzz") / "archive"
    shutil.copytree(desk.archive, folder)
    return next(folder.glob(".ingest/manifests/*/items-0001.parquet"))


@pytest.fixture(scope="module")
def root(place):
    return engine.Root(os.fsencode(place.parents[3]))


def resealed(data: bytes) -> bytes:
    """With a seal that fits, where there is room for one: so that what lies behind it is reached."""
    if codec._seal_at(data) < 0:
        return data
    blank = codec._with_seal(data, b"0" * 64)
    return codec._with_seal(data, engine.blake3(blank).hex().encode())


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["flip", "set", "cut", "insert", "repeat", "zero"])):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "cut":
                del data[at : at + draw(st.integers(1, 64))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=16))
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
            case "zero":
                data[at : at + 8] = bytes(len(data[at : at + 8]))
        if not data:
            break
    return bytes(data)


@pytest.mark.fuzz
@FUZZ
@given(st.data())
def test_fuzz_a_part_of_any_bytes_is_read_or_refused(sound, data):
    part = data.draw(st.one_of(st.binary(max_size=200), mutated(sound)))

    with pytest.raises(ManifestError):
        decode(part + b"\0", b"part")
    try:
        facts, rows = decode(part, b"part")
    except ManifestError:
        return
    assert (part, facts.number, rows) == (sound, 1, 7)


@pytest.mark.fuzz
@FUZZ
@given(st.data())
def test_fuzz_a_part_of_any_bytes_under_a_sound_seal_breaks_nothing(sound, place, root, data):
    place.write_bytes(resealed(data.draw(mutated(sound))))

    use_everything(root)


def rows_of(draw: st.DrawFn, number: int) -> pa.Table:
    columns = []
    for field in SCHEMA:
        values = {"state": STATES, "size": SIZES}.get(field.name, VALUES[field.type])
        if field.nullable:
            values = st.one_of(st.none(), values)
        elif field.name in ("item", "attempts"):
            values = st.integers(-1, 1 << 20)
        drawn = draw(st.lists(values, min_size=number, max_size=number))
        plain = pa.int64() if isinstance(field.type, pa.TimestampType) else field.type
        columns.append(pa.array(drawn, plain).cast(field.type))
    return pa.table(columns, schema=SCHEMA)


@st.composite
def forged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A part with rows and facts that somebody made up."""
    known = pq.ParquetFile(pa.BufferReader(whole)).metadata.metadata
    told = {
        k.decode(): v.decode() for k, v in known.items() if k.startswith(b"ingest.") and k != codec.SEAL_KEY.encode()
    }
    for key in draw(st.lists(st.sampled_from(sorted(told)), max_size=3)):
        if key not in ("ingest.session", "ingest.part"):
            told[key] = draw(
                st.one_of(TEXT, st.integers().map(str), st.sampled_from(["[]", "{}", "null", "[[[", "NaN"]))
            )
    table = rows_of(draw, draw(st.integers(0, 4)))
    if draw(st.booleans()):
        table = pa.concat_tables([pq.read_table(pa.BufferReader(whole)).cast(SCHEMA), table]).combine_chunks()
    if draw(st.integers(0, 9)) == 0:
        table = table.drop_columns([draw(st.sampled_from(SCHEMA.names))])
    return seal(table, told)


@pytest.mark.fuzz
@FUZZ
@given(st.data())
def test_fuzz_rows_that_somebody_made_up_break_nothing_and_lead_nowhere(desk, sound, place, root, data):
    place.write_bytes(data.draw(forged(sound)))
    passwd = os.stat("/etc/passwd")

    use_everything(root)
    try:
        report = repair(root, open_spares(os.fsencode(desk.backup), root), dry_run=True)
    except IngestError as error:
        assert error.cause
    else:
        for each in (*report.repaired, *report.failed):
            assert each.reason
    assert os.stat("/etc/passwd") == passwd


def use_everything(root) -> None:
    """Whatever reads manifests reads them, or says what is wrong."""
    for use in (_verify, _views, _proven):
        try:
            use(root)
        except IngestError as error:
            assert error.cause, use
    BlockLookup(root).find(b"\1" * 32, 3 << 20)


def _verify(root) -> None:
    report = verify([root], strict=True)
    # What is wrong with the archive's own record is among the findings, too.
    assert report.ok <= report.checked <= report.ok + len(report.missing) + len(report.changed)


def _views(root) -> None:
    for view in VIEWS:
        with query([root], f"SELECT * FROM {view}") as answer:
            for _ in answer:
                pass


def _proven(root) -> None:
    manifests = open_manifests([root])
    for batch in Rows(manifests).batches():
        assert batch.schema.names
    with sandbox("256MB") as connection:
        for each in proven(connection, manifests, manifests.parts[0][1].facts.root):
            assert not each.path.startswith(b"/")
            assert b".." not in each.path.split(b"/")
            assert each.size >= 0
            assert len(each.blake3) == 32


@pytest.mark.fuzz
@FUZZ
@given(st.dictionaries(
    st.sampled_from([*(f"ingest.{name}" for name in (
        "format", "session", "root", "part", "previous", "state", "created_ns", "sources", "counts", "label", "options", "run",
        "last", "blocks",
    )), "x"]),
    st.one_of(st.sampled_from(["1", "2", "[]", "{}", '[{"path": "a", "label": {"path": "b"}}]', '{"a": 1}', "00" * 32]),
              st.text(max_size=8), st.integers().map(str)),
))  # fmt: skip
def test_fuzz_facts_are_understood_or_refused(told):
    try:
        facts = read_facts(
            {key.encode(): value.encode("utf-8", "surrogatepass") for key, value in told.items()}, b"part"
        )
    except ManifestError as error:
        assert error.path == b"part"
        assert error.advice
    else:
        assert isinstance(facts, PartFacts)
        assert 0 < facts.number < 1 << 31
