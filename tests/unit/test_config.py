"""The configuration file: what it says of places, and errors that name file, line and key."""

from __future__ import annotations

import os

import pytest

from ingest.config import NAME, storage_rules
from ingest.errors import IngestError, UsageError
from ingest.storage.rules import Rule
from ingest.storage.volumes import Storage


@pytest.fixture
def said(tmp_path):
    def read(text: str | bytes) -> tuple[Rule, ...]:
        (tmp_path / NAME).write_bytes(text if isinstance(text, bytes) else text.encode())
        return storage_rules(tmp_path)

    return read


def test_without_a_file_nothing_is_said(tmp_path):
    assert storage_rules(tmp_path) == storage_rules(tmp_path / "not" / "yet") == ()


def test_each_place_has_its_table(said):
    rules = said(
        '[[storage]]\npath = "/mnt/nas/"\nkind = "network"\nbuffer = "4MiB"\nworkers = 2\n'
        '[[storage]]\npath = "/data"\nrotational = true\nbuffer = 65536\n'
    )

    assert rules == (
        Rule(b"/mnt/nas", Storage.NETWORK, None, 4 << 20, 2),
        Rule(b"/data", None, rotational=True, buffer=64 << 10),
    )


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ('[[storage]]\npath = "/a"\nkind = "far"\n', 3, "kind"),
        ('[[storage]]\npath = "/a"\n\n# more\n[[storage]]\n  workers = 0\npath = "/b"\n', 6, "workers"),
        ('[[storage]]\npath = "/a"\nworkers = true\n', 3, "workers"),
        ('[[storage]]\npath = "/a"\nworkers = "2"\n', 3, "workers"),
        ('[[storage]]\npath = "/a"\nbuffer = "100KiB"\n', 3, "buffer"),
        ('[[storage]]\npath = "/a"\nbuffer = "lots"\n', 3, "buffer"),
        ('[[storage]]\npath = "/a"\nbuffer = true\n', 3, "buffer"),
        ('[[storage]]\npath = "/a"\nrotational = 1\n', 3, "rotational"),
        ('[[storage]]\npath = "mnt"\n', 2, "path"),
        ("[[storage]]\npath = 1\n", 2, "path"),
        ('# first\n[[storage]]\nkind = "local"\n', 2, "path"),
        ('[[storage]]\npath = "/a"\npause = 50\n', 3, "pause"),
        ('\n[store]\npath = "/a"\n', 2, "store"),
        ('storage = "/a"\n', 1, "storage"),
        ('[storage]\npath = "/a"\n', 1, "storage"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_key(said, tmp_path, text, line, key):
    with pytest.raises(UsageError) as caught:
        said(text)

    assert caught.value.path == os.fsencode(tmp_path / NAME)
    assert f"line {line}, {key}: " in str(caught.value)


@pytest.mark.parametrize("text", [b"[[storage]\n", b"\xff\xfe", b"a = \n"])
def test_what_is_not_toml_is_told(said, text):
    with pytest.raises(UsageError, match="not TOML"):
        said(text)


def test_a_file_that_cannot_be_read_is_an_error_not_an_empty_one(tmp_path):
    (tmp_path / NAME).mkdir()

    with pytest.raises(IngestError):
        storage_rules(tmp_path)
