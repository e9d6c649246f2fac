from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ingest.errors import UsageError
from ingest.layouts.naming import NAME_MAX, card_folder, label_of, mirrored, suffixed

# Names as file systems hold them: any bytes but the separator and NUL, 1 to 255 of them.
raw = st.binary(min_size=1, max_size=NAME_MAX).map(lambda b: b.translate(None, b"/\0")).filter(bool)
# Long ones, where something has to give way, with the extensions that files have.
long = st.builds(
    lambda stem, extension: (stem * 256)[: NAME_MAX - len(extension)] + extension,
    raw.filter(lambda b: len(b) < 20),
    st.sampled_from([b"", b".MP4", b".jpeg", b"_1.mov", b"_12", b"_1", b"." + b"e" * 250, b"." + b"e" * 252]),
)
readable = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1).map(str.encode)
name = raw | long | readable.filter(lambda b: len(b) <= NAME_MAX)
path = st.builds(lambda folders, last: b"/".join([*folders, last]), st.lists(raw, max_size=3), name)
number = st.integers(1, 1000)


def last(p: bytes) -> bytes:
    return p.rpartition(b"/")[2]


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# The suffix of a name that is taken


@given(path)
def test_suffix_nought_is_the_path_itself(p):
    assert suffixed(p, 0) == p


@given(path, number)
@example(b"a" * 249 + b"_1.mov", 1)
@example(b"s_1." + b"e" * 251, 1)
@example(b"x" * 253 + b"_7", 7)
def test_a_suffix_never_gives_the_name_back_unchanged(p, n):
    assert suffixed(p, n) != p


@given(path, number)
def test_a_suffixed_name_fits_wherever_the_name_fitted(p, n):
    assert 1 <= len(last(suffixed(p, n))) <= NAME_MAX


@given(path, number)
def test_a_suffix_changes_the_last_component_only(p, n):
    made = suffixed(p, n)
    assert made.count(b"/") == p.count(b"/")
    assert made.rpartition(b"/")[0] == p.rpartition(b"/")[0]
    assert b"\0" not in made


@given(path, number, number)
@example(b"s_1." + b"e" * 248 + b"_10", 1, 10)
def test_every_number_gives_another_name(p, n, m):
    assume(n != m)
    assert suffixed(p, n) != suffixed(p, m)


@given(raw.filter(lambda b: b"." not in b and len(b) < 200), st.sampled_from([b".MP4", b".tar", b".x", b"."]), number)
def test_the_extension_stays_at_the_end(stem, extension, n):
    assert suffixed(stem + extension, n) == stem + b"_%d" % n + extension


@given(st.text(st.sampled_from("aé漢😀"), min_size=60, max_size=300), number)
def test_what_was_text_stays_text_when_it_is_shortened(stem, n):
    made = suffixed(stem.encode() + b".MP4", n)
    assert is_text(made)
    assert len(made) <= NAME_MAX


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"A001.MP4", b"A001_1.MP4"),
        (b"DCIM/100CANON/IMG_0001.CR3", b"DCIM/100CANON/IMG_0001_1.CR3"),
        (b"DCIM.d/README", b"DCIM.d/README_1"),
        (b".hidden", b".hidden_1"),
        (b".hidden.txt", b".hidden_1.txt"),
        (b"archive.tar.gz", b"archive.tar_1.gz"),
        (b"..", b"._1."),
        (b"\xff\xfe.jpg", b"\xff\xfe_1.jpg"),
    ],
)
def test_where_the_suffix_goes(before, after):
    assert suffixed(before, 1) == after


def test_an_extension_that_leaves_no_room_is_part_of_the_name():
    made = suffixed(b"a." + b"e" * 253, 1)
    assert made == b"a." + b"e" * 251 + b"_1"


# Card folders


def test_another_card_of_the_same_name_is_numbered():
    assert [card_folder(b"EOS_DIGITAL", n) for n in (1, 2, 3)] == [b"EOS_DIGITAL", b"EOS_DIGITAL_2", b"EOS_DIGITAL_3"]


def test_a_label_with_a_dot_has_no_extension():
    assert card_folder(b"2024.06.01", 2) == b"2024.06.01_2"


@given(name, st.integers(2, 1000), st.integers(2, 1000))
@example(b"x" * 253 + b"_2", 2, 3)
def test_numbered_folders_differ_from_each_other_and_from_the_label(label, n, m):
    assert card_folder(label, n) != label
    assert (card_folder(label, n) == card_folder(label, m)) == (n == m)
    assert len(card_folder(label, n)) <= NAME_MAX


# Labels


@given(name.filter(lambda b: b not in (b".", b"..", b".ingest") and not b.startswith(b".ingest-")))
def test_a_folder_s_own_name_is_its_label(own):
    assert label_of(b"/media/" + own, None) == own


@pytest.mark.parametrize("given_path", [b"/media/CARD/", b"/media/./CARD", b"/media/x/../CARD"])
def test_the_label_is_the_name_behind_the_path(given_path):
    assert label_of(given_path, None) == b"CARD"


@pytest.mark.parametrize(
    "label",
    [
        "",
        ".",
        "..",
        "/",
        "a/b",
        "/a",
        "a/",
        "../up",
        "a\0b",
        "\0",
        ".ingest",
        ".ingest-12345678-1.part",
        "x" * 256,
        "é" * 128,
    ],
)
def test_what_is_not_one_component_is_no_label(label):
    with pytest.raises(UsageError) as caught:
        label_of(b"/media/CARD", label)
    assert "--label" in caught.value.advice
    assert caught.value.path == b"/media/CARD"


def test_the_root_folder_has_no_name_of_its_own():
    with pytest.raises(UsageError, match="--label"):
        label_of(b"/", None)


@pytest.mark.parametrize("label", ["A001", "x" * 255, "é" * 127, " ", "-rf", "a\nb", ".hidden", "\udcff"])
def test_any_other_component_is_a_label(label):
    assert label_of(b"/media/CARD", label).decode("utf-8", "surrogateescape") == label


def test_a_label_that_was_given_wins_over_the_name():
    assert label_of(b"/", "A001") == b"A001"


# The mirror layout


@given(raw, path)
def test_a_mirrored_path_is_the_source_s_below_the_folder(folder, p):
    assert mirrored(folder, p) == folder + b"/" + p
