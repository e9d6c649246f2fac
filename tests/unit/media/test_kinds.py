from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.media.kinds import is_litter, is_staging, kind_of, twin_of
from ingest.model.item import Kind

# The specification's section 6, written down once more: a change of the code alone shows here.
EXTENSIONS = {
    Kind.RAW: "cr2 cr3 crw nef nrw arw srf sr2 dng raf rw2 rwl orf pef srw x3f 3fr fff dcr kdc mrw erf mef mos iiq raw gpr",
    Kind.VIDEO: "mp4 mov avi mkv mts m2ts mxf tod mod 3gp webm wmv flv m4v mpg mpeg vob dv r3d braw crm ari",
    Kind.AUDIO: "wav mp3 aac flac m4a aiff ogg wma bwf",
    Kind.IMAGE: "jpg jpeg heic png tif tiff gif",
    Kind.SIDECAR: "xmp srt thm lrf xml json aae lrv edl fcpxml",
}
KNOWN = [(extension, kind) for kind, words in EXTENSIONS.items() for extension in words.split()]
LITTER = [".DS_Store", "Thumbs.db", "desktop.ini", ".Spotlight-V100", ".Trashes", ".fseventsd", "@eaDir", "__MACOSX"]


@pytest.mark.parametrize(("extension", "kind"), KNOWN)
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_a_kind_is_known_by_its_extension_in_any_case(extension, kind, case):
    assert kind_of(f"CLIP0001.{case(extension)}".encode()) is kind


def test_no_extension_stands_for_two_kinds():
    assert len({extension for extension, _ in KNOWN}) == len(KNOWN)


@pytest.mark.parametrize("name", [b"README", b"mp4", b"", b".", b"x.", b"x.mp4.txt", b"x.mp4 ", b"x.\xff\xfe"])
def test_what_has_no_known_extension_is_something_else(name):
    assert kind_of(name) is Kind.OTHER


def test_footage_is_media_and_what_comes_with_it_is_not():
    assert {kind for kind in Kind if kind.media} == {Kind.IMAGE, Kind.RAW, Kind.VIDEO, Kind.AUDIO}


@given(st.binary())
def test_any_name_has_a_kind(name):
    assert kind_of(name) in Kind


@pytest.mark.parametrize("name", LITTER)
@pytest.mark.parametrize("case", [str, str.lower, str.upper])
def test_the_named_litter_is_litter_in_any_case(name, case):
    assert is_litter(case(name).encode())


@pytest.mark.parametrize(
    "name",
    [
        b".hidden",
        b".gitignore",
        b"DS_Store",
        b".DS_Store.mov",
        b"Thumbs.db.bak",
        b"._A001.MP4",
        b"eaDir",
        b"",
        b".Trash",
    ],
)
def test_everything_else_is_somebody_s_file(name):
    assert not is_litter(name)


@pytest.mark.parametrize(
    ("name", "of"), [(b"._A001.MP4", b"A001.MP4"), (b"._.hidden", b".hidden"), (b"._\xff", b"\xff")]
)
def test_an_appledouble_name_names_its_file(name, of):
    assert twin_of(name) == of


@pytest.mark.parametrize("name", [b"._", b"_.A001.MP4", b".A001.MP4", b"A001.MP4", b""])
def test_other_names_are_no_twins(name):
    assert twin_of(name) is None


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        (b".ingest", b"staging"),
        (b"old/.ingest", b"staging"),
        (b"", b".ingest-1a2b3c4d-7.part"),
        (b"A/B", b".ingest-x.part"),
    ],
)
def test_unfinished_work_of_ours_is_known(folder, name):
    assert is_staging(folder, name)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        (b"", b"staging"), (b"ingest", b"staging"), (b"x.ingest", b"staging"), (b".ingest", b"root.json"),
        (b".ingest", b"manifests"), (b"", b".ingest-x.mp4"), (b"", b"x.part"), (b"", b".ingest"),
    ],
)  # fmt: skip
def test_nothing_else_is_taken_for_it(folder, name):
    assert not is_staging(folder, name)
