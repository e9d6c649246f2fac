"""Adopting: what an earlier attempt left, under its name or in staging, is told by its bytes and gets its name."""

from __future__ import annotations

import errno

import pytest

from ingest import engine
from ingest.workers.messages import Adopt, Setup
from ingest.workers.worker import Worker


@pytest.fixture
def adopt(floor):
    """Asks for item 1, which should be ``right``, to be adopted."""

    def ask(*, name: bytes | None = None, staging: bytes | None = None, **more: object):
        f = floor()
        if name is not None:
            f.archives[0].put(b"CARD/a", name)
        if staging is not None:
            f.archives[0].put(b".ingest/staging/x/1.part", staging)
        (found,) = f.ask(
            Adopt(1, 0, [1], [b".ingest/staging/x/1.part"], [b"CARD/a"], [engine.blake3(b"right")])
        ).adopted
        return f, found

    return ask


def test_a_name_that_holds_the_bytes_is_adopted(adopt):
    f, (outcome, method, publish, fault) = adopt(name=b"right", staging=b"right")
    assert (outcome, method is not None, publish, fault) == ("adopted", True, None, None)
    assert f.archives[0].get(b".ingest/staging/x/1.part") == b"right"


def test_a_staging_file_that_still_holds_the_bytes_gets_its_name(adopt):
    f, (outcome, method, publish, fault) = adopt(staging=b"right")
    assert (outcome, method is not None, publish is not None, fault) == ("published", True, True, None)
    assert f.archives[0].get(b"CARD/a") == b"right"
    assert f.archives[0].get(b".ingest/staging/x/1.part") is None


@pytest.mark.parametrize("staging", [None, b"wrong", b"righ"])
def test_what_a_power_cut_took_is_lost(adopt, staging):
    f, (outcome, *_) = adopt(staging=staging)
    assert outcome == "lost"
    assert f.archives[0].get(b"CARD/a") is None


@pytest.mark.parametrize("staging", [None, b"right"])
def test_a_name_with_other_bytes_is_taken_and_left_alone(adopt, staging):
    f, (outcome, *_) = adopt(name=b"theirs", staging=staging)
    assert outcome == "taken"
    assert f.archives[0].get(b"CARD/a") == b"theirs"
    assert f.archives[0].get(b".ingest/staging/x/1.part") == staging


def test_a_folder_under_the_name_has_taken_it(floor):
    f = floor()
    (f.archives[0].path / "CARD/a").mkdir(parents=True)
    f.archives[0].put(b"s", b"right")
    (found,) = f.ask(Adopt(1, 0, [1], [b"s"], [b"CARD/a"], [engine.blake3(b"right")])).adopted
    assert found[0] == "taken"


def test_a_link_under_the_name_has_taken_it(floor):
    f = floor()
    f.archives[0].put(b"CARD/b", b"right")
    (f.archives[0].path / "CARD/a").symlink_to("b")
    f.archives[0].put(b"s", b"right")
    (found,) = f.ask(Adopt(1, 0, [1], [b"s"], [b"CARD/a"], [engine.blake3(b"right")])).adopted
    assert found[0] == "taken"


def test_a_batch_is_adopted_name_by_name_in_its_order(floor):
    f = floor()
    archive = f.archives[0]
    for name, content in {b"A/named": b"1", b"B/theirs": b"other", b"file": b"no folder", b"A/too": b"8"}.items():
        archive.put(name, content)
    (archive.path / "A/folder").mkdir()
    paths = [b"B/new", b"A/named", b"B/theirs", b"B/gone", b"file/below", b"A/folder", b"C/new", b"A/too", b"B/torn"]
    held = [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"8", b"9"]
    staging = [b".ingest/staging/x/%d.part" % number for number in range(len(paths))]
    for at, content in {0: b"0", 2: b"2", 4: b"4", 5: b"5", 6: b"6", 8: b"torn"}.items():
        archive.put(staging[at], content)

    items = list(range(11, 11 + len(paths)))
    found = f.ask(Adopt(1, 0, items, staging, paths, [engine.blake3(bytes_) for bytes_ in held])).adopted

    outcomes = [outcome for outcome, *_ in found]
    assert outcomes == [
        "published", "adopted", "taken", "lost", "failed", "taken", "published", "adopted", "lost",
    ]  # fmt: skip
    for outcome, method, publish, fault in found:
        assert (method is not None) == (outcome in ("adopted", "published"))
        assert (publish is not None) == (outcome == "published")
        assert fault is None or outcome not in ("adopted", "published")
    assert [found[3][3][2], found[4][3][2], found[8][3]] == [errno.ENOENT, errno.ENOTDIR, None]
    assert [archive.get(paths[at]) for at in (0, 1, 2, 3, 6, 7, 8)] == [b"0", b"1", b"other", None, b"6", b"8", None]
    assert [archive.get(staging[at]) for at in (0, 2, 4, 6, 8)] == [None, b"2", b"4", None, b"torn"]


def test_a_batch_is_adopted_in_a_few_calls(monkeypatch, tree):
    """Not a call, and a flush of every folder above, for each file."""
    asked = []

    def noted(name):
        real = getattr(engine, name)

        def call(*args, **options):
            asked.append((name, len(args[1])))
            return real(*args, **options)

        return call

    for name in ("prove", "settle", "publish"):
        monkeypatch.setattr(engine, name, noted(name))
    archive = tree("archive")
    for number in range(8):
        archive.put((b"CARD/%d" if number % 2 else b"%d.part") % number, b"%d" % number)
    numbers = list(range(8))
    request = Adopt(
        1, 0, numbers, [b"%d.part" % number for number in numbers], [b"CARD/%d" % number for number in numbers],
        [engine.blake3(b"%d" % number) for number in numbers],
    )  # fmt: skip

    worker = Worker(None, engine.Page(), Setup((), (), 1 << 20))
    found = worker._adopt(engine.Root(archive.name), request)

    assert [outcome for outcome, *_ in found] == ["published", "adopted"] * 4
    assert asked == [("prove", 8), ("settle", 4), ("prove", 4), ("publish", 4)]


def test_stopping_before_staging_files_are_read_gives_none_of_them_up(monkeypatch, tree):
    archive, page, real = tree("archive"), engine.Page(), engine.prove
    for name in (b"0.part", b"1.part"):
        archive.put(name, b"right")

    def prove(*args, **options):
        proofs = real(*args, **options)
        page.cancel()
        return proofs

    monkeypatch.setattr(engine, "prove", prove)
    digests = [engine.blake3(b"right")] * 2
    worker = Worker(None, page, Setup((), (), 1 << 20))
    request = Adopt(1, 0, [1, 2], [b"0.part", b"1.part"], [b"CARD/0", b"CARD/1"], digests)
    found = worker._adopt(engine.Root(archive.name), request)

    assert [(outcome, fault[0]) for outcome, _, _, fault in found] == [("failed", "cancelled")] * 2


def test_stopping_while_adopting_gives_nothing_up(floor):
    f = floor()
    f.archives[0].put(b"s", b"right")
    f.ask(f.discard(1))
    f.supervisor.cancel()

    (found,) = f.ask(Adopt(2, 0, [1], [b"s"], [b"CARD/a"], [engine.blake3(b"right")])).adopted

    assert found[0] != "lost"
    assert b"right" in (f.archives[0].get(b"s"), f.archives[0].get(b"CARD/a"))
