"""The small files that an archive, a home folder and a user may hold: each is understood, or refused with a sentence."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import config, engine
from ingest.catalog.holdings import remember_root
from ingest.db.engine import open_database
from ingest.errors import IngestError, ManifestError, UsageError
from ingest.layouts.naming import label_of
from ingest.model.options import BUFFER_MAX, byte_size
from ingest.pipeline.intents import FOLDER, pending
from ingest.storage.claims import CLAIMS, MOMENT, Claim, claim
from ingest.storage.leases import LEASES, LONGEST, leases_on, stale
from ingest.storage.marker import MARKER, read_marker
from ingest.storage.urls import located

FUZZ = settings.get_profile("fuzz")
SESSION = b"1b4e28ba-2fa1-11d2-883f-0016d3cca427"
UUID = SESSION.decode()

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from([UUID, "1", "\x1b[2J", "\ud800", 1 << 80, 10**400, "9" * 5000, float("nan")]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@st.composite
def documents(draw: st.DrawFn, *keys: str, sound: dict[str, object]) -> bytes:
    """JSON that is nearly what it should be, or not at all, or cut, or nested without end."""
    match draw(st.sampled_from(["near", "near", "near", "any", "bytes", "cut", "deep"])):
        case "near":
            told = {**sound, **draw(st.dictionaries(st.sampled_from(keys), VALUES, max_size=3))}
            for key in draw(st.lists(st.sampled_from(keys), max_size=1)):
                told.pop(key, None)
            return json.dumps(told).encode()
        case "any":
            return json.dumps(draw(VALUES)).encode()
        case "bytes":
            return draw(st.binary(max_size=64))
        case "cut":
            whole = json.dumps(sound).encode()
            return whole[: draw(st.integers(0, len(whole)))]
        case _:
            return draw(st.sampled_from([b"[", b'{"a":'])) * draw(st.integers(1, 60_000))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    for below in (b".ingest", LEASES, CLAIMS, FOLDER):
        os.makedirs(os.fsencode(folder) + b"/" + below, exist_ok=True)
    return engine.Root(os.fsencode(folder))


def put(root, name, data):
    with open(root.path + b"/" + name, "wb") as file:
        file.write(data)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    opened = open_database(tmp_path_factory.mktemp("home"))
    yield opened
    opened.close()


MARK = {"version": 1, "uuid": UUID, "fs_uuid": "1234-ABCD", "created": "2026-01-01T00:00:00+00:00"}


@pytest.mark.fuzz
@FUZZ
@given(documents(*MARK, sound=MARK))
def test_fuzz_a_marker_is_understood_or_refused(root, database, data):
    put(root, MARKER, data)

    try:
        marker = read_marker(root)
    except ManifestError as error:
        assert error.path == root.path + b"/" + MARKER
        assert error.advice
        assert str(error).isprintable()
        return
    assert marker is not None
    assert len(marker.uuid) == 36
    with database.write() as connection:  # what was understood can be written down
        assert remember_root(connection, marker.uuid, root.path, marker.fs_uuid)


LEASE = {"session": UUID, "host": "h", "where": "w", "pid": 1, "started": 2, "holder": "x", "every": 15.0, "count": 0,
         "version": 1}  # fmt: skip


@pytest.mark.fuzz
@FUZZ
@given(documents(*LEASE, sound=LEASE))
def test_fuzz_a_lease_keeps_nobody_waiting_for_ever(root, data):
    put(root, LEASES + b"/" + SESSION, data)

    (seen,) = leases_on(root)

    assert 0 < seen.every <= LONGEST
    assert stale(seen, 2 * LONGEST)


CLAIM = {"session": UUID, "place": "p", "likeness": "1-2-3"}
OURS = Claim("00000000-0000-4000-8000-000000000000", "q", "4-5-6")


@pytest.mark.fuzz
@FUZZ
@given(data=documents(*CLAIM, sound=CLAIM))
def test_fuzz_a_claim_is_somebodys_or_nobodys(root, data, monkeypatch):
    monkeypatch.setattr("ingest.storage.claims.MOMENT", MOMENT / 1000)
    put(root, CLAIMS + b"/CARD", data)

    stands = claim(root, b"CARD", OURS)

    assert stands is None or isinstance(stands, Claim)


NOTE = {
    "version": 1, "session": UUID, "number": 1, "path": "Q0FSRC9h", "size": 1, "blake3": "00" * 32, "strategy": "copy",
    "staging": "LmluZ2VzdC9zdGFnaW5nL3JlcGFpci0xYjRlMjhiYS8xLnBhcnQ=",
    "slot": "LmluZ2VzdC9xdWFyYW50aW5lLzFiNGUyOGJhL0NBUkQvYQ==", "reason": "x",
}  # fmt: skip


@pytest.mark.fuzz
@FUZZ
@given(documents(*NOTE, sound=NOTE))
def test_fuzz_a_repairs_note_speaks_of_its_own_files_or_is_refused(root, data):
    put(root, FOLDER + b"/1b4e28ba-0001.json", data)

    try:
        (intent,) = pending(root)
    except ManifestError as error:
        assert error.advice
        return
    assert intent.staging == b".ingest/staging/repair-1b4e28ba/1.part"
    assert intent.slot.startswith(b".ingest/quarantine/1b4e28ba/")
    assert b".." not in intent.path.split(b"/")


@pytest.mark.fuzz
@FUZZ
@given(st.binary(max_size=4096))
def test_fuzz_a_trail_is_believed_or_not(tmp_path, data):
    path = tmp_path / "1.trail"
    path.write_bytes(data)

    told = engine.trail(os.fsencode(path))

    assert told is None or isinstance(told[0], int)


TOML = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.tuples(
            st.sampled_from(["[[storage]]", "path", "kind", "rotational", "buffer", "workers", "[storage]", "x", "storage"]),
            st.one_of(
                st.sampled_from(['"/a"', '"network"', "true", '"1MiB"', "1", "-1", "nan", "inf", "[]", "{}", '"\\u001b[2J"',
                                 '""', "1979-05-27", "9" * 400, '"a\\u0000b"', "", "[[[", "0x" + "f" * 300]),
                st.text(max_size=6),
            ),
        ).map(lambda pair: pair[0] if pair[0].startswith("[") else f"{pair[0]} = {pair[1]}"),
        max_size=6,
    ).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")),
    st.integers(1, 20_000).map(lambda depth: b"x = " + b"[" * depth),
)  # fmt: skip


@pytest.mark.fuzz
@FUZZ
@given(TOML)
def test_fuzz_a_configuration_is_understood_or_refused_with_its_line(tmp_path, data):
    (tmp_path / config.NAME).write_bytes(data)

    try:
        rules = config.storage_rules(tmp_path)
    except UsageError as error:
        assert error.path == os.fsencode(tmp_path / config.NAME)
        assert error.cause
        return
    for rule in rules:
        assert rule.path.startswith(b"/")
        assert rule.buffer is None or 0 < rule.buffer <= BUFFER_MAX


WORDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\udcff\udc80"), max_size=300),
    st.sampled_from(["", ".", "..", ".ingest", ".INGEST", ".ingest.", ".in\u00adgest", ".Inge\u017ft", ".ingest-x", "a/b", "x" * 256]),
)  # fmt: skip


@pytest.mark.fuzz
@FUZZ
@given(WORDS)
def test_fuzz_a_label_is_one_name_that_is_not_ours_or_refused(word):
    try:
        label = label_of(b"/card", word)
    except UsageError as error:
        assert error.advice
        return
    assert 0 < len(label) <= 255
    assert b"/" not in label
    assert b"\0" not in label
    assert label.lower() not in (b".", b"..", b".ingest")


@pytest.mark.fuzz
@FUZZ
@given(st.one_of(st.text(max_size=30), st.from_regex(r"\d{0,40} ?[kKmMgGiIbB]{0,4}", fullmatch=True)))
def test_fuzz_a_size_is_a_number_of_bytes_or_refused(text):
    try:
        assert byte_size(text) >= 0
    except ValueError as error:
        assert str(error)


@pytest.mark.fuzz
@FUZZ
@given(st.one_of(st.binary(max_size=40), st.from_regex(rb"(smb|nfs|afp|cifs)?:?//[^\0]{0,30}", fullmatch=True)))
def test_fuzz_a_url_is_a_share_or_a_path(word):
    try:
        assert isinstance(located(word), bytes)
    except IngestError as error:
        assert error.advice
