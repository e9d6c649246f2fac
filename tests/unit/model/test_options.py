from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model.options import BUFFER_MAX, BUFFER_MIN, Cache, CopyOptions, Duplicates, Flush, Partial, ReadMode

globs = st.lists(st.text(max_size=10), max_size=3).map(tuple)
options = st.builds(
    CopyOptions,
    label=st.none() | st.text(max_size=20),
    profile=st.text(max_size=10),
    duplicates=st.sampled_from(Duplicates),
    exclude=globs,
    only=globs,
    workers=st.none() | st.integers(1, 64),
    buffer=st.none() | st.sampled_from([BUFFER_MIN, 1 << 20, BUFFER_MAX]),
    read_mode=st.sampled_from(ReadMode),
    threads=st.none() | st.integers(1, 64),
    flush=st.sampled_from(Flush),
    cache=st.none() | st.sampled_from(Cache),
    batch=st.none() | st.integers(1, 1000),
    partial=st.sampled_from(Partial),
)


@given(options)
def test_options_survive_being_stored(chosen):
    back = CopyOptions.from_json(chosen.to_json())

    assert back == chosen
    assert type(back.read_mode) is ReadMode
    assert type(back.duplicates) is Duplicates
    assert type(back.flush) is Flush
    assert type(back.partial) is Partial
    assert type(back.exclude) is tuple


@given(options, st.sampled_from([field.name for field in fields(CopyOptions)]))
def test_what_an_older_version_did_not_store_has_its_default(chosen, missing):
    stored = json.loads(chosen.to_json())
    del stored[missing]

    back = CopyOptions.from_json(json.dumps(stored))

    assert getattr(back, missing) == getattr(CopyOptions(), missing)
    for field in fields(CopyOptions):
        if field.name != missing:
            assert getattr(back, field.name) == getattr(chosen, field.name)


def test_nothing_stored_is_every_default():
    assert CopyOptions.from_json("{}") == CopyOptions()


def test_what_a_newer_version_stored_besides_is_passed_over():
    assert CopyOptions.from_json('{"label": "A001", "colour": "blue"}') == CopyOptions(label="A001")


def test_a_label_that_is_no_text_is_kept_byte_for_byte():
    assert CopyOptions.from_json(CopyOptions(label="A\udcff").to_json()).label == "A\udcff"


def test_a_session_of_the_first_version_has_the_defaults_of_today():
    stored = """{"buffer": null, "duplicates": "copy", "exclude": ["*.tmp"], "label": "A001", "only": [],
                 "profile": "mirror", "read_mode": "read", "workers": 2}"""

    back = CopyOptions.from_json(stored)

    assert (back.duplicates, back.workers, back.read_mode) == (Duplicates.COPY, 2, ReadMode.READ)
    assert (back.threads, back.flush, back.cache) == (None, Flush.AUTO, None)


def test_a_session_that_asked_for_one_flush_where_there_is_one_anyway_gets_it():
    assert CopyOptions.from_json('{"flush": "together"}').flush is Flush.AUTO


@pytest.mark.parametrize(
    "stored",
    ['{"read_mode": "psychic"}', '{"flush": "down"}', '{"cache": "cash"}', '{"duplicates": "forget"}', "[", "3"],
)
def test_what_was_never_written_is_refused(stored):
    with pytest.raises((ValueError, AttributeError)):
        CopyOptions.from_json(stored)


def test_the_stored_form_is_the_same_for_the_same_choice():
    assert CopyOptions(workers=2, label="x").to_json() == CopyOptions(label="x", workers=2).to_json()
