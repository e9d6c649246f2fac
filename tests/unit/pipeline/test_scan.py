from __future__ import annotations

import errno
import os
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.model.item import Folder, Kind
from ingest.model.session import SourceFacts
from ingest.model.states import ItemState
from ingest.pipeline import scan as scanning
from ingest.pipeline.scan import Filter, scan, scan_source

EVERYTHING = Filter.of((), ())


@pytest.fixture
def card(tree):
    return tree("card")


def walk(card, *, exclude=(), only=(), first=1, single=None):
    root = card.root
    facts = SourceFacts(3, card.name, b"CARD", single, root.dev, root.ino, None)
    found = list(scan_source(root, facts, first, Filter.of(exclude, only)))
    return [item for chunk in found for item in chunk.items], [folder for chunk in found for folder in chunk.folders]


def states(card, **more) -> dict[bytes, tuple[str, str | None]]:
    return {item.path: (str(item.state), item.reason) for item in walk(card, **more)[0]}


# What is found


def test_every_file_is_an_item_with_what_the_card_says_of_it(card):
    card.put(b"DCIM/100/A.MP4", b"12345", 1_600_000_000_123_456_789)

    (item,), _ = walk(card)

    assert (item.number, item.source, item.path) == (1, 3, b"DCIM/100/A.MP4")
    assert (item.size, item.mtime_ns, item.kind) == (5, 1_600_000_000_123_456_789, Kind.VIDEO)
    assert (item.state, item.reason, item.errno) == (ItemState.DISCOVERED, None, 0)


def test_numbers_count_on_without_a_gap(card):
    for name in (b"a", b"d/b", b"d/e/c", b".DS_Store", b"z"):
        card.put(name)
    (card.path / "link").symlink_to("a")

    items, _ = walk(card, first=41)

    assert [item.number for item in items] == list(range(41, 47))


def test_files_come_by_name_and_a_folder_s_before_those_of_the_folders_in_it(card):
    for name in (b"b/1", b"b/0", b"a/2", b"a/x/3", b"c", b"B"):
        card.put(name)

    items, _ = walk(card)

    assert [item.path for item in items] == [b"B", b"c", b"a/2", b"a/x/3", b"b/0", b"b/1"]


def test_folders_are_told_with_their_times_the_empty_ones_too(card):
    card.put(b"a/b/file")
    (card.path / "empty").mkdir()
    for name in (b"a/b", b"a", b"empty", b""):
        os.utime(card.name + b"/" + name, ns=(0, 1_500_000_000_000_000_007))

    _, folders = walk(card)

    assert sorted(folders, key=lambda f: f.path) == [
        Folder(3, path, 1_500_000_000_000_000_007) for path in (b"", b"a", b"a/b", b"empty")
    ]


def test_an_empty_card_has_no_items(card):
    items, folders = walk(card)
    assert (items, [f.path for f in folders]) == ([], [b""])


def test_names_are_bytes(card):
    names = {b"caf\xe9.mp4", b"\xff\xfe", b"new\nline", b" ", b"-rf", "e\u0301".encode(), b"\xed\xb2\x80"}
    for name in names:
        card.put(name)

    items, _ = walk(card)

    assert {item.path for item in items} == names


@given(st.lists(st.binary(min_size=1, max_size=20).map(lambda b: b.translate(None, b"/\0")), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
def test_nothing_is_left_out_without_a_name(tree, names):
    names = {name for name in names if name not in (b"", b".", b"..")}
    card = tree("card-of-names")
    for name in names:
        card.put(name)
    try:
        items, _ = walk(card)
        assert sorted(item.path for item in items) == sorted(names)
    finally:
        for name in names:
            os.unlink(card.name + b"/" + name)


def test_a_deep_tree_is_walked_to_its_end(card):
    deep = b"/".join([b"d" * 100] * 45)  # longer than PATH_MAX
    folder = os.open(card.path, os.O_RDONLY)
    for name in deep.split(b"/"):
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open(b"clip.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)

    items, _ = walk(card)

    assert [item.path for item in items] == [deep + b"/clip.mp4"]


def test_a_large_folder_is_read_in_chunks_and_whole(card, monkeypatch):
    monkeypatch.setattr(scanning, "CHUNK", 64)
    for number in range(1000):
        card.put(b"%04d" % number)

    chunks = [chunk.items for chunk in scan(card.root, 0, 1, EVERYTHING) if chunk.items]

    assert len(chunks) == 16
    assert all(len(chunk) <= 64 and chunk == sorted(chunk, key=lambda i: i.path) for chunk in chunks)
    items = [item for chunk in chunks for item in chunk]
    assert sorted(item.path for item in items) == [b"%04d" % number for number in range(1000)]
    assert [item.number for item in items] == list(range(1, 1001))


# What stays behind


def test_litter_is_named_and_what_lies_in_it_is_not_looked_at(card):
    for name in (
        b".DS_Store",
        b"Thumbs.db",
        b"desktop.ini",
        b".Trashes/501/old.mp4",
        b".Spotlight-V100/x",
        b"A/__MACOSX/y",
    ):
        card.put(name)

    assert states(card) == dict.fromkeys(
        (b".DS_Store", b"Thumbs.db", b"desktop.ini", b".Trashes", b".Spotlight-V100", b"A/__MACOSX"),
        ("excluded", "litter"),
    )


def test_an_appledouble_file_is_litter_only_beside_its_file(card):
    card.put(b"a/A001.MP4")
    card.put(b"a/._A001.MP4")
    card.put(b"b/._A001.MP4")
    card.put(b"a/._")

    found = states(card)

    assert found[b"a/._A001.MP4"] == ("excluded", "litter")
    assert found[b"b/._A001.MP4"] == found[b"a/._"] == found[b"a/A001.MP4"] == ("discovered", None)


def test_other_dot_files_are_somebody_s(card):
    card.put(b".htaccess")
    card.put(b".hidden/clip.mp4")

    assert states(card) == {b".htaccess": ("discovered", None), b".hidden/clip.mp4": ("discovered", None)}


def test_our_own_staging_stays_behind_and_an_archive_s_record_does_not(card):
    card.put(b".ingest/staging/1a2b3c4d/1-1-1.part")
    card.put(b".ingest/manifests/session=x/items-0001.parquet")
    card.put(b"CARD/.ingest-1a2b3c4d-7.part")

    assert states(card) == {
        b".ingest/staging": ("excluded", "litter"),
        b".ingest/manifests/session=x/items-0001.parquet": ("discovered", None),
        b"CARD/.ingest-1a2b3c4d-7.part": ("excluded", "litter"),
    }


def test_links_are_never_followed(card, tree):
    outside = tree("outside")
    outside.put(b"secret")
    (card.path / "to-file").symlink_to(outside.path / "secret")
    (card.path / "to-folder").symlink_to(outside.path)
    (card.path / "dangling").symlink_to("nowhere")
    (card.path / "loop").symlink_to("loop")

    assert states(card) == dict.fromkeys((b"to-file", b"to-folder", b"dangling", b"loop"), ("skipped", "symlink"))


def test_special_files_are_skipped_and_nothing_waits_for_them(card, monkeypatch):
    os.mkfifo(card.path / "fifo.mp4")
    monkeypatch.chdir(card.path)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket")

        assert states(card) == {b"fifo.mp4": ("skipped", "special"), b"socket": ("skipped", "special")}


# What the user asked for


@pytest.fixture
def shoot(card):
    for name in (b"DCIM/A.MP4", b"DCIM/a.jpg", b"DCIM/Proxy/A.MP4", b"MISC/notes.TXT", b"readme.txt"):
        card.put(name)
    return card


def wanted(card, **more) -> set[bytes]:
    return {path for path, (state, _) in states(card, **more).items() if state == "discovered"}


@pytest.mark.parametrize(
    ("globs", "left"),
    [
        (["*.mp4"], {b"DCIM/A.MP4", b"DCIM/Proxy/A.MP4"}),
        (["*.MP4"], {b"DCIM/A.MP4", b"DCIM/Proxy/A.MP4"}),
        (["DCIM/*"], {b"DCIM/A.MP4", b"DCIM/a.jpg", b"DCIM/Proxy/A.MP4"}),
        (["dcim/proxy/*"], {b"DCIM/Proxy/A.MP4"}),
        (["readme.txt", "*.jpg"], {b"readme.txt", b"DCIM/a.jpg"}),
        (["README"], set()),
        (["[ab].*"], {b"DCIM/A.MP4", b"DCIM/a.jpg", b"DCIM/Proxy/A.MP4"}),
    ],
)
def test_globs_are_of_names_or_paths_whatever_the_case(shoot, globs, left):
    every = wanted(shoot)

    assert wanted(shoot, exclude=globs) == every - left
    assert wanted(shoot, only=globs) == left


def test_what_was_excluded_is_listed_with_the_option_that_did_it(shoot):
    assert states(shoot, exclude=["*.txt"])[b"readme.txt"] == ("excluded", "--exclude")
    assert states(shoot, only=["*.txt"])[b"DCIM/A.MP4"] == ("excluded", "--only")


def test_an_excluded_folder_is_one_item_and_is_not_walked(shoot):
    found = states(shoot, exclude=["proxy"])

    assert found[b"DCIM/Proxy"] == ("excluded", "--exclude")
    assert b"DCIM/Proxy/A.MP4" not in found


def test_exclusion_wins_over_inclusion(shoot):
    assert wanted(shoot, exclude=["DCIM/Proxy/*"], only=["*.mp4"]) == {b"DCIM/A.MP4"}


def test_litter_stays_behind_even_if_it_is_asked_for(shoot):
    shoot.put(b".DS_Store")
    assert states(shoot, only=["*"])[b".DS_Store"] == ("excluded", "litter")


def test_a_glob_matches_names_that_are_no_text(card):
    card.put(b"caf\xe9.mp4")
    assert wanted(card, only=["caf?.mp4"]) == {b"caf\xe9.mp4"}


def test_a_newline_hides_nothing_from_a_glob(card):
    card.put(b"a\nb.mp4")
    assert wanted(card, exclude=["*.mp4"]) == set()


# One file


def test_a_single_file_is_taken_without_its_neighbours(shoot):
    items, folders = walk(shoot, single=b"readme.txt")

    assert [item.path for item in items] == [b"readme.txt"]
    assert folders == []


def test_a_single_file_that_is_gone_is_an_item_that_was_removed(shoot):
    items, _ = walk(shoot, single=b"gone.mp4")

    assert [(item.path, item.state) for item in items] == [(b"gone.mp4", ItemState.REMOVED)]


def test_what_took_a_single_file_s_place_is_not_passed_over(shoot):
    (shoot.path / "link").symlink_to("readme.txt")

    for name in (b"DCIM", b"link"):
        items, _ = walk(shoot, single=name)
        assert [(item.path, item.state) for item in items] == [(name, ItemState.CHANGED)]


# What cannot be read


def test_a_source_that_cannot_be_read_is_an_error(card, monkeypatch):
    card.put(b"a")
    real = os.scandir
    monkeypatch.setattr("ingest.pipeline.scan.os.scandir", lambda fd: Breaking(real(fd), errno.EIO, 0))

    with pytest.raises(OSError) as caught:
        walk(card)
    assert caught.value.errno == errno.EIO


def test_a_source_that_was_deleted_is_not_an_empty_card(card):
    root = card.root
    facts = SourceFacts(0, card.name, b"CARD", None, root.dev, root.ino, None)
    card.path.rmdir()

    with pytest.raises(OSError):
        list(scan_source(root, facts, 1, EVERYTHING))


def test_a_folder_that_cannot_be_read_is_a_failed_item(everybodys, as_nobody):
    everybodys.put(b"open/a.mp4")
    everybodys.put(b"secret/b.mp4")
    os.chmod(everybodys.path / "secret", 0o000)
    os.chmod(everybodys.path / "open", 0o755)

    said = as_nobody(
        "from ingest.engine import Root\nfrom ingest.pipeline.scan import Filter, scan",
        "for chunk in scan(Root(sys.argv[1].encode()), 0, 1, Filter.of((), ())):\n"
        "    for item in chunk.items: print(item.path, item.state, item.reason, item.errno)",
        str(everybodys.path),
    )

    assert sorted(said.splitlines()) == [
        "b'open/a.mp4' discovered None 0", f"b'secret' failed permission {errno.EACCES}",
    ]  # fmt: skip


def test_a_folder_that_may_be_listed_but_not_entered_names_every_file(everybodys, as_nobody):
    everybodys.put(b"half/a.mp4")
    everybodys.put(b"half/b.mp4")
    os.chmod(everybodys.path / "half", 0o744)

    said = as_nobody(
        "from ingest.engine import Root\nfrom ingest.pipeline.scan import Filter, scan",
        "for chunk in scan(Root(sys.argv[1].encode()), 0, 1, Filter.of((), ())):\n"
        "    for item in chunk.items: print(item.path, item.state, item.reason)",
        str(everybodys.path),
    )

    assert sorted(said.splitlines()) == ["b'half/a.mp4' failed permission", "b'half/b.mp4' failed permission"]


class Breaking:
    """A listing that fails after so many entries."""

    def __init__(self, inner, number: int, after: int) -> None:
        self.inner, self.number, self.left = inner, number, after

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.inner.close()

    def __iter__(self):
        return self

    def __next__(self):
        self.left -= 1
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))
        return next(self.inner)


def test_a_folder_that_breaks_off_keeps_what_was_found_and_says_so(card, monkeypatch):
    for name in (b"d/1", b"d/2", b"d/3", b"e/4"):
        card.put(name)
    real, broken = os.scandir, os.stat(card.path / "d").st_ino
    monkeypatch.setattr(scanning, "CHUNK", 1)
    monkeypatch.setattr(
        "ingest.pipeline.scan.os.scandir",
        lambda fd: Breaking(real(fd), errno.EIO, 2) if os.fstat(fd).st_ino == broken else real(fd),
    )

    found = states(card)

    assert found[b"d"] == ("failed", "io")
    assert found[b"e/4"] == ("discovered", None)
    assert len([path for path in found if path.startswith(b"d/")]) == 2


def test_a_file_that_goes_while_the_folder_is_read_was_removed(card, monkeypatch):
    card.put(b"a")
    card.put(b"b")
    real = os.scandir

    def late(descriptor):
        listed = real(descriptor)
        entries = list(listed)
        listed.close()
        os.unlink(card.path / "a")
        return Listing(entries)

    monkeypatch.setattr("ingest.pipeline.scan.os.scandir", late)

    assert states(card) == {b"a": ("removed", None), b"b": ("discovered", None)}


class Listing(list):
    """Entries that were read beforehand."""

    def __enter__(self):
        return iter(self)

    def __exit__(self, *_: object) -> None:
        pass


def test_no_descriptor_is_left_open(card):
    for number in range(50):
        card.put(b"%d/x" % number)
    before = len(os.listdir("/proc/self/fd"))

    walk(card)
    walking = scan(card.root, 0, 1, EVERYTHING)
    next(walking)
    walking.close()

    assert len(os.listdir("/proc/self/fd")) <= before


def test_part_of_a_source_can_be_walked_alone(shoot):
    found = list(scan(shoot.root, 3, 7, EVERYTHING, start=b"DCIM"))

    items = [item for chunk in found for item in chunk.items]
    folders = [folder for chunk in found for folder in chunk.folders]
    assert [item.path for item in items] == [b"DCIM/A.MP4", b"DCIM/a.jpg", b"DCIM/Proxy/A.MP4"]
    assert [f.path for f in folders] == [b"DCIM", b"DCIM/Proxy"]
