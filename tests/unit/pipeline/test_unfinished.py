"""What an interrupted exchange can leave, made by hand, and what the next repair makes of it."""

from __future__ import annotations

import os
from itertools import product

import pytest

from ingest import engine
from ingest.errors import ManifestError
from ingest.pipeline.intents import FOLDER, Intent, forget, intend, note, pending, staging_of, tidy
from ingest.pipeline.unfinished import clear, finish

SESSION = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
NEW, OLD, MINE = b"proven", b"damage", b"mine!!"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "archive/CARD").mkdir(parents=True)
    return engine.Root(os.fsencode(tmp_path / "archive"))


@pytest.fixture
def intent() -> Intent:
    return intend(SESSION, 1, b"CARD/clip.mov", size=len(NEW), blake3=engine.blake3(NEW), reason="damaged")


def put(root, name, data):
    if data is None:
        return
    path = root.path + b"/" + name
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def held(root, intent):
    """What stands at the name, in staging, in quarantine."""

    def read(name):
        try:
            with open(root.path + b"/" + name, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    return tuple(read(name) for name in (intent.path, intent.staging, intent.slot))


@pytest.mark.parametrize(
    ("stands", "then", "finished"),
    [
        ((OLD, NEW, None), (NEW, None, OLD), True),  # nothing had happened yet
        ((NEW, OLD, None), (NEW, None, OLD), True),  # the names had been exchanged
        ((NEW, None, OLD), (NEW, None, OLD), True),  # it was complete, but not recorded
        ((None, NEW, OLD), (NEW, None, OLD), True),  # in turn: between the two
        ((None, NEW, None), (NEW, None, None), True),  # a missing file, not published yet
        ((NEW, None, None), (NEW, None, None), True),  # a missing file, published
        ((None, None, OLD), (OLD, None, None), False),  # the new file is gone: back to what it was
        ((None, b"broken", OLD), (OLD, None, b"broken"), False),  # or it is not right any more
        ((OLD, None, None), (OLD, None, None), False),
        ((OLD, b"broken", None), (OLD, None, b"broken"), False),
        ((MINE, b"broken", OLD), (MINE, b"broken", OLD), None),  # the same, and what was staged is not right: it stays
        ((MINE, NEW, OLD), (MINE, NEW, OLD), None),  # somebody took the name, and the slot is taken: said, not touched
    ],
)
def test_each_state_has_one_end(root, intent, stands, then, finished):
    for name, data in zip((intent.path, intent.staging, intent.slot), stands, strict=True):
        put(root, name, data)

    done = finish(root, intent, engine.Page())

    assert held(root, intent) == then
    assert (done.verify_method is not None, done.trouble is not None) == (bool(finished), finished is None)
    if finished:
        assert done.slot is (then[2] is not None)
        assert held(root, intent) == then
        again = finish(root, intent, engine.Page())
        assert (again.verify_method is not None, held(root, intent)) == (True, then), "finishing twice changes nothing"


def test_two_names_of_one_file_become_one(root, intent):
    """Where links stand for renames, a kill can leave both."""
    put(root, intent.path, OLD)
    put(root, intent.staging, NEW)
    os.makedirs(os.path.dirname(root.path + b"/" + intent.slot))
    os.link(root.path + b"/" + intent.path, root.path + b"/" + intent.slot)

    finish(root, intent, engine.Page())

    assert held(root, intent) == (NEW, None, OLD)
    assert {os.stat(root.path + b"/" + name).st_nlink for name in (intent.path, intent.slot)} == {1}


def test_a_second_name_of_the_new_file_goes(root, intent):
    put(root, intent.path, NEW)
    put(root, intent.slot, OLD)
    os.makedirs(os.path.dirname(root.path + b"/" + intent.staging))
    os.link(root.path + b"/" + intent.path, root.path + b"/" + intent.staging)

    done = finish(root, intent, engine.Page())

    assert done.verify_method
    assert held(root, intent) == (NEW, None, OLD)
    assert os.stat(root.path + b"/" + intent.path).st_nlink == 1


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_no_file_under_the_name_stays(root, intent, kind):
    put(root, intent.staging, NEW)
    path = root.path + b"/" + intent.path
    if kind == "link":
        os.symlink(b"elsewhere", path)
    else:
        os.mkdir(path)

    done = finish(root, intent, engine.Page())

    assert "no file" in done.trouble
    assert os.path.lexists(path)
    assert (held(root, intent)[1] if kind == "link" else NEW) == NEW


def test_whatever_stands_where_nothing_is_ever_lost(root, intent):
    """Every combination of the right bytes, others and nothing at the three names."""
    choices = (None, NEW, OLD, MINE)
    for stands in product(choices, repeat=3):
        for name, data in zip((intent.path, intent.staging, intent.slot), stands, strict=True):
            engine.discard(root, [name])
            put(root, name, data)

        finish(root, intent, engine.Page())

        left = held(root, intent)
        assert {data for data in stands if data not in (None, NEW)} == {
            data for data in left if data not in (None, NEW)
        }
        if NEW in stands[:2] and stands[0] in (None, NEW):
            assert left[0] == NEW, stands


def test_an_intent_comes_back_as_it_was_noted(root):
    noted = intend(SESSION, 12, b"CARD/\xff name", size=7, blake3=b"\x01" * 32, reason="it is not there")

    note(root, noted)

    assert pending(root) == [noted]
    forget(root, pending(root))
    assert pending(root) == []
    tidy(root)
    assert not os.path.exists(root.path + b"/" + FOLDER)
    tidy(root)


def test_an_intent_that_cannot_be_read_stops_the_repair_with_advice(root):
    put(root, FOLDER + b"/1b4e28ba-0001.json", b"{}")

    with pytest.raises(ManifestError) as caught:
        pending(root)

    assert "quarantine" in caught.value.advice


def test_what_dead_repairs_were_building_goes_but_for_what_intents_speak_of(root, intent):
    dead = staging_of("deadbeef-2fa1-11d2-883f-0016d3cca427").encode()
    put(root, b".ingest/staging/%s/1.part" % dead, b"half")
    put(root, b".ingest/staging/deadbeef/items-0001-x.part", b"half a part")
    put(root, b".ingest/staging/cafecafe/1.part", b"somebody's session")
    put(root, intent.staging, NEW)
    put(root, intent.staging + b".other", b"half")

    clear(root, [intent])

    left = sorted(
        os.path.relpath(os.path.join(folder, name), root.path + b"/.ingest/staging")
        for folder, _, names in os.walk(root.path + b"/.ingest/staging")
        for name in names
    )
    assert left == [b"cafecafe/1.part", staging_of(SESSION).encode() + b"/1.part"]
