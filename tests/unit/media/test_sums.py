"""Sum files as the real tools write them, as others do, and as nobody should."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import engine
from ingest.media.sums import LENGTHS, LINE_BYTES, LIST_BYTES, Entry, Problem, kind_of_list, places, read_sums, start_of

FUZZ = settings.get_profile("fuzz")
DATA = b"footage"
MD5, SHA1 = hashlib.md5(DATA).digest(), hashlib.sha1(DATA).digest()
SHA256, SHA512 = hashlib.sha256(DATA).digest(), hashlib.sha512(DATA).digest()
# Published with the reference implementation: of nothing, seed 0.
XXH64, XXH3, XXH128 = (
    bytes.fromhex(text) for text in ("ef46db3751d8e999", "2d06800538d394c2", "99aa06d3014798d86001c324468d497f")
)


def read(data: bytes, kind: str = "md5", name: bytes = b"list.md5") -> list[Entry | Problem]:
    return list(read_sums(io.BytesIO(data), kind, name))


def line(digest: bytes, rest: bytes) -> bytes:
    return digest.hex().encode() + rest + b"\n"


# By name


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"clip.mov.md5", "md5"), (b"DCIM/A.MD5", "md5"), (b"md5sums", "md5"), (b"MD5SUMS", "md5"), (b"md5sum.txt", "md5"),
        (b"card.md5sums", "md5"), (b"x.sha1", "sha1"), (b"SHA1SUMS", "sha1"), (b"x.sha256", "sha256"),
        (b"SHA256SUMS", "sha256"), (b"sha256sums.txt", "sha256"), (b"x.sha512", "sha512"), (b"x.sha", "sha"),
        (b"x.b3", "blake3"), (b"x.blake3", "blake3"), (b"B3SUMS", "blake3"), (b"x.xxh", "xxh"), (b"x.xxhash", "xxh"),
        (b"x.xxh64", "xxh64"), (b"x.xxh128", "xxh128"), (b"x.xxh3", "xxh3"), (b"xxhsums.txt", "xxh"),
        (b"checksums.txt", "sums"), (b"checksum", "sums"), (b"CHECKSUMS.anything", "sums"), (b"A001.mhl", "mhl"),
        (b"CARD/ascmhl/0001_CARD.mhl", "ascmhl"), (b"ascmhl/0002.MHL", "ascmhl"), (b"other/0001.mhl", "mhl"),
    ],
)  # fmt: skip
def test_a_list_is_known_by_its_name(path, kind):
    assert kind_of_list(path) == kind


@pytest.mark.parametrize(
    "path",
    [b"clip.mov", b"md5", b"mhl", b"sha256", b"x.md5/clip.mov", b"ascmhl/ascmhl_chain.xml", b"md5sums.mov", b"my checksums.txt",
     b"checksums.tar.gz", b"", b"x.sums", b"xmd5"],
)  # fmt: skip
def test_other_names_are_no_lists(path):
    assert kind_of_list(path) is None


@given(st.binary())
def test_any_name_can_be_asked(path):
    kind_of_list(path)


def test_the_paths_of_a_history_begin_above_its_folder():
    assert start_of(b"A/B/x.md5", "md5") == b"A/B"
    assert start_of(b"A/B/x.mhl", "mhl") == b"A/B"
    assert start_of(b"A/ascmhl/0001.mhl", "ascmhl") == b"A"
    assert start_of(b"ascmhl/0001.mhl", "ascmhl") == b""


# As the tools write them

NAMES = [b"clip.mov", b"with space  and more.mov", b"back\\slash", b"new\nline", b"\xff\xfe.raw", "ä漢.mov".encode(), b"*star", b" lead"]  # fmt: skip
TOOLS = [("md5sum", "md5"), ("sha1sum", "sha1"), ("sha256sum", "sha256"), ("sha512sum", "sha512"), ("b3sum", "blake3")]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            file.write(name)
    return tmp_path


def digest_of(algorithm: str, data: bytes) -> bytes:
    return engine.blake3(data) if algorithm == "blake3" else hashlib.new(algorithm, data).digest()


def written(folder, tool: str, *options: str, names=NAMES) -> bytes:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    return subprocess.run([tool, *options, "--", *names], cwd=folder, capture_output=True, check=True).stdout


def help_of(tool: str) -> str:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    return subprocess.run([tool, "--help"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("tool", "kind"), TOOLS)
@pytest.mark.parametrize("option", [None, "--binary", "--tag"])
def test_what_the_tools_write_is_read_name_by_name(folder, tool, kind, option):
    if option and tool == "b3sum" and option not in help_of("b3sum"):
        pytest.skip(f"this b3sum knows no {option}")
    # b3sum refuses names that are not UTF-8.
    names = [name for name in NAMES if tool != "b3sum" or name != b"\xff\xfe.raw"]
    told = written(folder, tool, *([option] if option else []), names=names)

    assert read(told, kind) == [Entry(name, kind, digest_of(kind, name)) for name in names]


@pytest.mark.parametrize(
    ("options", "kind", "algorithm", "length"),
    [
        ((), "xxh", "xxh64", 8), (("-H64",), "xxh64", "xxh64", 8), (("-H128",), "xxh", "xxh128", 16), (("-H3",), "xxh", "xxh3", 8),
        (("--tag",), "xxh", "xxh64", 8), (("--tag", "-H3"), "xxh", "xxh3", 8), (("--tag", "-H128"), "xxh128", "xxh128", 16),
    ],
)  # fmt: skip
def test_what_xxhsum_writes_is_read(folder, options, kind, algorithm, length):
    entries = read(written(folder, "xxhsum", *options, names=[b"clip.mov", b"with space  and more.mov"]), kind)

    assert [(entry.path, entry.algorithm, len(entry.digest)) for entry in entries] == [
        (b"clip.mov", algorithm, length), (b"with space  and more.mov", algorithm, length),
    ]  # fmt: skip


def test_xxhsum_s_two_orders_of_bytes_are_one_digest(folder):
    big = written(folder, "xxhsum", "--tag", names=[b"clip.mov"])
    little = written(folder, "xxhsum", "--tag", "--little-endian", names=[b"clip.mov"])

    assert b"_LE" in little
    assert read(big, "xxh") == read(little, "xxh")


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_what_openssl_writes_is_read(folder, algorithm):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    told = subprocess.run(
        ["openssl", "dgst", f"-{algorithm}", "clip.mov"], cwd=folder, capture_output=True, check=True
    ).stdout

    assert read(told, algorithm) == [Entry(b"clip.mov", algorithm, digest_of(algorithm, b"clip.mov"))]


# As others write them

ONE = [Entry(b"a.mov", "md5", MD5)]


@pytest.mark.parametrize(
    "text",
    [
        line(MD5, b"  a.mov"), line(MD5, b" *a.mov"), line(MD5, b" a.mov"), line(MD5, b"\ta.mov"),
        line(MD5, b"  a.mov").replace(b"\n", b"\r\n"), line(MD5, b"  a.mov")[:-1], b"\xef\xbb\xbf" + line(MD5, b"  a.mov"),
        MD5.hex().upper().encode() + b"  a.mov\n", b"# by hand\n; by another hand\n\n   \n" + line(MD5, b"  a.mov"),
        b"MD5 (a.mov) = " + MD5.hex().encode(), b"MD5(a.mov)= " + MD5.hex().encode(), b"md5 (a.mov) = " + MD5.hex().encode() + b"\r\n",
    ],
)  # fmt: skip
def test_dialects_say_the_same(text):
    assert read(text) == ONE


def test_a_digest_alone_speaks_of_the_file_that_the_list_is_named_after():
    assert read(line(MD5, b""), name=b"a.mov.md5") == ONE


def test_a_tag_says_more_than_the_name_of_the_list():
    assert read(b"SHA256 (a.mov) = " + SHA256.hex().encode()) == [Entry(b"a.mov", "sha256", SHA256)]
    assert read(b"SHA2-512(a.mov)= " + SHA512.hex().encode()) == [Entry(b"a.mov", "sha512", SHA512)]


@pytest.mark.parametrize(
    ("kind", "digest", "algorithm"),
    [
        ("sums", XXH64, "xxh64"), ("sums", MD5, "md5"), ("sums", SHA1, "sha1"), ("sums", SHA256, "sha256"),
        ("sums", SHA512, "sha512"), ("sha", SHA1, "sha1"), ("sha", SHA512, "sha512"), ("xxh", XXH64, "xxh64"),
        ("xxh", XXH128, "xxh128"), ("xxh3", XXH3, "xxh3"), ("xxh3", XXH128, "xxh128"), ("xxh128", XXH128, "xxh128"),
        ("blake3", SHA256, "blake3"),
    ],
)  # fmt: skip
def test_a_digest_without_a_tag_is_told_by_its_list_and_its_length(kind, digest, algorithm):
    assert read(line(digest, b"  a.mov"), kind) == [Entry(b"a.mov", algorithm, digest)]


def test_the_dialects_of_xxhsum():
    assert read(b"XXH3_" + line(XXH3, b"  a.mov"), "xxh") == [Entry(b"a.mov", "xxh3", XXH3)]
    assert read(b"XXH64_LE (a.mov) = " + XXH64[::-1].hex().encode(), "xxh") == [Entry(b"a.mov", "xxh64", XXH64)]
    assert read(b"XXH128 (a.mov) = " + XXH128.hex().encode(), "xxh") == [Entry(b"a.mov", "xxh128", XXH128)]


def test_escapes_are_undone_only_where_the_line_says_that_there_are_some():
    assert read(b"\\" + line(MD5, rb"  a\\b\nc\r")) == [Entry(b"a\\b\nc\r", "md5", MD5)]
    assert read(line(MD5, rb"  a\\b\nc")) == [Entry(rb"a\\b\nc", "md5", MD5)]


# What is none


@pytest.mark.parametrize(
    "text",
    [
        b"no digest here\n", line(SHA1, b"  a.mov"), line(MD5[:7], b"  a.mov"), MD5.hex().encode() + b"\n", b"SFV32 (a) = 12345678\n",
        b"MD5 (a.mov) = " + SHA1.hex().encode(), line(MD5, b"  a\0b"), b"\\" + line(MD5, rb"  a\tb"), b"\\" + line(MD5, b"  a\\"),
        MD5.hex().encode()[:-1] + b"  a.mov\n", b"MD5_LE (a.mov) = " + MD5.hex().encode(), b"XXH32 (a.mov) = 12345678", b"\0" * 100,
    ],
)  # fmt: skip
def test_what_is_no_entry_is_a_problem_with_its_line(text):
    (good, bad) = read(line(MD5, b"  a.mov") + text, name=b".md5")

    assert [good] == ONE
    assert isinstance(bad, Problem)
    assert str(bad).startswith("line 2: ")


def test_a_list_in_utf_16_says_so_once():
    (problem,) = read(line(MD5, b"  a.mov").decode().encode("utf-16"))

    assert "UTF-16" in str(problem)


def test_an_endless_line_is_one_problem_and_what_follows_is_read():
    told = read(b"x" * (3 * LINE_BYTES) + b"\n" + line(MD5, b"  a.mov"))

    assert isinstance(told[0], Problem)
    assert told[1:] == ONE


class Endless(io.RawIOBase):
    """A file that never ends: what would be asked of it is counted."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.told = 0

    def readline(self, _size=-1):
        self.told += len(self.text)
        return self.text

    def read(self, _size=-1):
        return self.readline()


@pytest.mark.parametrize("text", [b"\n" * 1, b"#" * (LINE_BYTES - 1) + b"\n", b"x" * LINE_BYTES])
def test_no_more_than_a_limit_is_read_of_any_list(text):
    endless = Endless(text if len(text) > 1 else b"# %s\n" % (b"x" * 5000))

    told = list(read_sums(endless, "md5", b"x.md5"))

    assert all(isinstance(each, Problem) for each in told)
    assert LIST_BYTES <= endless.told <= LIST_BYTES + 4 * LINE_BYTES


# Where it leads


@pytest.mark.parametrize(
    ("start", "path", "first"),
    [
        (b"", b"a.mov", b"a.mov"), (b"A/B", b"a.mov", b"A/B/a.mov"), (b"A/B", b"./C//a.mov", b"A/B/C/a.mov"),
        (b"A/B", b"../a.mov", b"A/a.mov"), (b"A/B", b"../../a.mov", b"a.mov"), (b"A", b"x/../a.mov", b"A/a.mov"),
    ],
)  # fmt: skip
def test_a_path_begins_where_its_list_lies(start, path, first):
    assert places(start, path)[0] == first


@pytest.mark.parametrize("path", [b"/etc/passwd", b"../a.mov", b"A/../../a.mov", b"..\\a.mov", b"C:\\a.mov", b"d:/a.mov", b"\\\\server\\a"])  # fmt: skip
def test_a_path_that_leaves_the_source_leads_nowhere(path):
    assert places(b"", path) == ()


def test_a_path_is_also_looked_for_as_other_systems_spell_it():
    assert places(b"", b"A\\a.mov") == (b"A\\a.mov", b"A/a.mov")
    assert places(b"", b"a.mov ") == (b"a.mov ", b"a.mov")
    assert places(b"", "ä".encode()) == ("ä".encode(), "a\u0308".encode())
    assert places(b"", "a\u0308".encode()) == ("a\u0308".encode(), "ä".encode())


@pytest.mark.fuzz
@FUZZ
@given(st.binary(), st.binary())
def test_fuzz_no_path_leads_out(start, path):
    for place in places(start, path):
        assert not place.startswith(b"/")
        assert b".." not in place.split(b"/")


# Fuzz

LINES = st.one_of(
    st.binary(max_size=40),
    st.tuples(st.sampled_from([MD5, SHA1, SHA256, SHA512, XXH64]), st.sampled_from([b"  ", b" *", b" ", b"\t", b""]), st.binary(max_size=20)).map(
        lambda parts: parts[0].hex().encode() + parts[1] + parts[2]
    ),
    st.tuples(st.sampled_from([b"MD5", b"XXH64_LE", b"BLAKE3", b"_"]), st.binary(max_size=10), st.sampled_from([MD5, SHA256])).map(
        lambda parts: parts[0] + b" (" + parts[1] + b") = " + parts[2].hex().encode()
    ),
)  # fmt: skip
KINDS = ["md5", "sha1", "sha256", "sha512", "sha", "blake3", "xxh", "xxh64", "xxh3", "xxh128", "sums"]


@pytest.mark.fuzz
@FUZZ
@given(st.one_of(st.binary(), st.lists(LINES).map(b"\n".join)), st.sampled_from(KINDS), st.binary(max_size=8))
def test_fuzz_anything_can_be_read(data, kind, name):
    for said in read(data, kind, name):
        if isinstance(said, Entry):
            assert len(said.digest) == LENGTHS[said.algorithm]
            assert said.path
        else:
            assert str(said).isprintable()


@pytest.mark.fuzz
@FUZZ
@given(st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name), st.booleans())
def test_fuzz_a_name_written_as_gnu_writes_it_comes_back(name, binary):
    marker = b" *" if binary else b"  "
    plain = not any(byte in name for byte in b"\\\n\r")
    written = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")

    assert read((b"" if plain else b"\\") + line(MD5, marker + written)) == [Entry(name, "md5", MD5)]


@pytest.mark.fuzz
@FUZZ
@given(st.data())
def test_fuzz_a_list_that_was_mutated_is_still_read(data):
    whole = bytearray(b"".join(line(MD5, b"  DCIM/%d.MOV" % number) for number in range(8)))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))

    assert read(bytes(whole))
