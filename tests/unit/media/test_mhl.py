"""Media hash lists: samples typed in from their published schemas, vendors' habits, and hostile XML."""

from __future__ import annotations

import hashlib
import io
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.media.c4 import c4
from ingest.media.mhl import CHUNK, DEPTH, TAG_BYTES, read_mhl
from ingest.media.sums import LENGTHS, LIST_BYTES, Entry, Problem

FUZZ = settings.get_profile("fuzz")
DATA = b"footage"
MD5, SHA1, SHA512 = hashlib.md5(DATA).digest(), hashlib.sha1(DATA).digest(), hashlib.sha512(DATA).digest()
# Of nothing, seed 0.
XXH64, XXH3, XXH128 = (
    bytes.fromhex(text) for text in ("ef46db3751d8e999", "2d06800538d394c2", "99aa06d3014798d86001c324468d497f")
)

MHL1 = f"""<?xml version="1.0" encoding="UTF-8"?>
<hashlist version="1.1">

  <creatorinfo>
    <name>A Person</name>
    <username>person</username>
    <hostname>cart.local</hostname>
    <tool>A tool 1.0</tool>
    <startdate>2024-03-01T10:00:00Z</startdate>
    <finishdate>2024-03-01T10:00:05Z</finishdate>
  </creatorinfo>

  <hash>
    <file>A001/A001C001.mov</file>
    <size>7</size>
    <lastmodificationdate>2024-03-01T09:00:00Z</lastmodificationdate>
    <xxhash64be>{XXH64.hex()}</xxhash64be>
    <hashdate>2024-03-01T10:00:01Z</hashdate>
  </hash>

  <hash>
    <file>A001/Ton &amp; Bild ä.wav</file>
    <size>7</size>
    <lastmodificationdate>2024-03-01T09:00:00Z</lastmodificationdate>
    <xxhash64>{XXH64[::-1].hex()}</xxhash64>
    <hashdate>2024-03-01T10:00:02Z</hashdate>
  </hash>

  <hash>
    <file>A001/both.mov</file>
    <size>7</size>
    <lastmodificationdate>2024-03-01T09:00:00Z</lastmodificationdate>
    <md5>{MD5.hex().upper()}</md5>
    <sha1>{SHA1.hex()}</sha1>
    <hashdate>2024-03-01T10:00:03Z</hashdate>
  </hash>

  <hash>
    <file>A001/old.mov</file>
    <size>7</size>
    <lastmodificationdate>2024-03-01T09:00:00Z</lastmodificationdate>
    <xxhash>1234567890</xxhash>
    <hashdate>2024-03-01T10:00:03Z</hashdate>
  </hash>

</hashlist>
"""

ASC = f"""<?xml version="1.0" encoding="UTF-8"?>
<hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0">
  <creatorinfo>
    <creationdate>2024-03-01T10:00:00+00:00</creationdate>
    <hostname>cart.local</hostname>
    <tool version="1.0">A tool</tool>
    <author email="a@example.org" role="DIT">A Person</author>
  </creatorinfo>
  <processinfo>
    <process>in-place</process>
    <roothash>
      <content><xxh64 action="original" hashdate="2024-03-01T10:00:00+00:00">0123456789abcdef</xxh64></content>
      <structure><xxh64 hashdate="2024-03-01T10:00:00+00:00">0123456789abcdef</xxh64></structure>
    </roothash>
    <ignore><pattern>.DS_Store</pattern><pattern>ascmhl</pattern></ignore>
  </processinfo>
  <hashes>
    <hash>
      <path size="7" creationdate="2024-03-01T09:00:00+00:00" lastmodificationdate="2024-03-01T09:00:00+00:00">Clips/A.mov</path>
      <c4 action="original" hashdate="2024-03-01T10:00:00+00:00">{c4(SHA512)}</c4>
      <md5 action="verified">{MD5.hex()}</md5>
      <sha1>{SHA1.hex()}</sha1>
      <xxh128>{XXH128.hex()}</xxh128>
      <xxh3>{XXH3.hex()}</xxh3>
      <xxh64 action="original">{XXH64.hex()}</xxh64>
      <previousPath>Clips/Z.mov</previousPath>
      <metadata><path>not/this.one</path><md5>{"0" * 32}</md5></metadata>
    </hash>
    <hash>
      <path size="9">Sidecar.txt</path>
      <xxh64 action="failed">{XXH64.hex()}</xxh64>
    </hash>
    <directoryhash>
      <path lastmodificationdate="2024-03-01T09:00:00+00:00">Clips</path>
      <content><xxh64>0123456789abcdef</xxh64></content>
      <structure><xxh64>0123456789abcdef</xxh64></structure>
    </directoryhash>
  </hashes>
  <references>
    <hashlistreference>
      <path>Sub/ascmhl/0001_Sub.mhl</path>
      <c4>{c4(SHA512)}</c4>
    </hashlistreference>
  </references>
</hashlist>
"""


def read(text: str | bytes) -> list[Entry | Problem]:
    return list(read_mhl(io.BytesIO(text if isinstance(text, bytes) else text.encode())))


def mhl(*inside: str, head: str = '<?xml version="1.0"?>') -> str:
    return f'{head}<hashlist version="1.1">{"".join(inside)}</hashlist>'


def hashed(path: str, digest: str = f"<md5>{MD5.hex()}</md5>") -> str:
    return f"<hash><file>{path}</file>{digest}</hash>"


def test_version_one_says_a_path_a_size_and_digests():
    *entries, problem = read(MHL1)

    assert entries == [
        Entry(b"A001/A001C001.mov", "xxh64", XXH64, 7), Entry("A001/Ton & Bild ä.wav".encode(), "xxh64", XXH64, 7),
        Entry(b"A001/both.mov", "md5", MD5, 7), Entry(b"A001/both.mov", "sha1", SHA1, 7),
    ]  # fmt: skip
    assert str(problem) == "line 38: A001/old.mov: no digest that can be checked (xxhash)"


def test_a_generation_says_every_digest_of_a_file_and_none_of_folders_or_references():
    *entries, problem = read(ASC)

    assert entries == [
        Entry(b"Clips/A.mov", algorithm, digest, 7)
        for algorithm, digest in [
            ("sha512", SHA512), ("md5", MD5), ("sha1", SHA1), ("xxh128", XXH128), ("xxh3", XXH3), ("xxh64", XXH64),
        ]
    ]  # fmt: skip
    assert "Sidecar.txt: the history itself says that it failed" in str(problem)


def test_a_prefix_for_the_namespace_says_the_same():
    prefixed = (
        ASC.replace("<", "<m:").replace("<m:/", "</m:").replace("<m:?", "<?").replace(" xmlns=", " xmlns:m=")
    )  # fmt: skip

    assert read(prefixed) == read(ASC)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_encodings_that_say_what_they_are(encoding):
    declared = encoding.removesuffix("-sig")
    text = mhl(hashed("Über.mov"), head=f'<?xml version="1.0" encoding="{declared}"?>')

    assert read(text.encode(encoding)) == [Entry("Über.mov".encode(), "md5", MD5)]


@pytest.mark.parametrize("encoding", ["utf-7", "hex", "no-such", "rot13", "cp932", "idna"])
def test_encodings_that_nobody_should_use_are_a_problem(encoding):
    told = read(mhl(hashed("a.mov"), head=f'<?xml version="1.0" encoding="{encoding}"?>'))

    assert isinstance(told[-1], Problem)


@pytest.mark.parametrize(
    ("inside", "what"),
    [
        ("<hash><md5>00</md5></hash>", "without a path"), (hashed(""), "without a path"),
        ("<hash><file>a</file><size>1</size></hash>", "no digest"), (hashed("a", "<null/>"), "no digest that can be checked (null)"),
        (hashed("a", "<md5>xyz</md5>"), "is no md5"), (hashed("a", f"<md5>{SHA1.hex()}</md5>"), "is no md5"),
        (hashed("a", "<c4>c41</c4>"), "is no c4"), (hashed("x" * 20_000), "too long"),
    ],
)  # fmt: skip
def test_a_hash_that_says_nothing_is_a_problem_and_the_next_is_read(inside, what):
    problem, entry = read(mhl(inside, hashed("b.mov")))

    assert what in str(problem)
    assert entry == Entry(b"b.mov", "md5", MD5)


def test_what_stands_before_a_break_is_kept():
    entry, problem = read(mhl(hashed("a.mov"), hashed("b.mov"))[:-40])

    assert entry == Entry(b"a.mov", "md5", MD5)
    assert "no well-formed XML" in str(problem)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"not xml", b"<html/>", b'<hashlist xmlns="urn:other"/>', b"<hashes><hash/></hashes>", b"\xff\xfe", b"\0" * 1000,
        b"<hashlist>" * 2,
    ],
)  # fmt: skip
def test_what_is_no_list_is_one_problem(text):
    (problem,) = read(text)

    assert isinstance(problem, Problem)


# Hostile

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
HOSTILE = {
    "billion laughs": f'<?xml version="1.0"?><!DOCTYPE hashlist [<!ENTITY l0 "lol">{LAUGHS}]>' + mhl(hashed("&l11;"), head=""),
    "quadratic": f'<!DOCTYPE hashlist [<!ENTITY a "{"a" * 100_000}">]>' + mhl(hashed("&a;" * 10_000), head=""),
    "external entity": '<!DOCTYPE hashlist [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + mhl(hashed("&x;"), head=""),
    "external subset": '<!DOCTYPE hashlist SYSTEM "http://127.0.0.1:9/x.dtd">' + mhl(hashed("a"), head=""),
    "parameter entity": '<!DOCTYPE hashlist [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>' + mhl(hashed("a"), head=""),
    "attribute defaults": f'<!DOCTYPE hashlist [<!ATTLIST hash x CDATA "{"y" * 100_000}">]>' + mhl("<hash/>" * 10_000, head=""),
    "deep": "<hashlist>" + "<a>" * 1_000_000,
    "long tag": f"<hashlist {'a' * 4_000_000}",
    "many attributes": "<hashlist " + " ".join(f'a{n}="1"' for n in range(500_000)),
    "long comment": "<hashlist><!--" + "x" * 4_000_000,
    "long text": mhl(hashed("a" * 30_000_000)),
    "many namespaces": "<hashlist " + " ".join(f'xmlns:n{n}="u{n}"' for n in range(200_000)) + "/>",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_lists_are_refused_quickly_and_in_little_memory(text):
    data = io.BytesIO(text.encode())
    tracemalloc.start()
    began = time.monotonic()

    told = list(read_mhl(data))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not [each for each in told if isinstance(each, Entry)]
    assert 1 <= len(told) <= 2
    assert time.monotonic() - began < 10
    assert peak < 16 << 20


def test_a_document_type_is_refused_by_name():
    (problem,) = read(HOSTILE["billion laughs"])

    assert "document type declaration" in str(problem)


def test_nesting_as_deep_as_vendors_may_do_is_read():
    deep = "<v>" * (DEPTH - 2) + "</v>" * (DEPTH - 2)

    assert read(mhl(deep, hashed("a.mov"))) == [Entry(b"a.mov", "md5", MD5)]


class Endless(io.RawIOBase):
    """A list that never ends."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.body = body
        self.next = head
        self.told = 0

    def read(self, _size=-1):
        some, self.next = self.next, self.body
        self.told += len(some)
        return some


def test_no_more_than_a_limit_is_read_and_memory_does_not_grow(monkeypatch):
    limit = LIST_BYTES >> 3
    monkeypatch.setattr("ingest.media.mhl.LIST_BYTES", limit)
    endless = Endless(b"<hashlist>", hashed("a.mov").encode() * (CHUNK // 80))
    tracemalloc.start()

    number = sum(isinstance(each, Entry) for each in read_mhl(endless))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number > limit // 100
    assert limit < endless.told < limit + 2 * CHUNK
    assert peak < 4 << 20


def test_a_tag_that_never_ends_stops_early():
    endless = Endless(b"<hashlist><", b"a" * CHUNK)

    (problem,) = list(read_mhl(endless))

    assert "without an end" in str(problem)
    assert endless.told <= TAG_BYTES + 4 * CHUNK


# Fuzz


@pytest.mark.fuzz
@FUZZ
@given(st.binary())
def test_fuzz_anything_can_be_read(data):
    for said in read(data):
        assert isinstance(said, Problem)


@pytest.mark.fuzz
@FUZZ
@given(st.data(), st.sampled_from([MHL1.encode(), ASC.encode(), mhl(hashed("ä.mov")).encode("utf-16")]))
def test_fuzz_a_list_that_was_mutated_can_be_read(data, whole):
    text = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        match data.draw(st.sampled_from(["change", "cut", "put", "twice"])):
            case "change":
                text[at] = data.draw(st.integers(0, 255))
            case "cut":
                del text[at : at + data.draw(st.integers(1, 40))]
            case "put":
                text[at:at] = data.draw(
                    st.sampled_from([b"<", b">", b"&", b"]]>", b"<!DOCTYPE x>", b"<hash>", b"\0", b"&#xD800;"])
                )
            case "twice":
                text[at:at] = text[at : at + 200]
        if not text:
            break

    for said in read(bytes(text)):
        if isinstance(said, Entry):
            assert len(said.digest) == LENGTHS[said.algorithm]
            assert said.path
        else:
            assert "\n" not in str(said)
