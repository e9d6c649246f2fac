"""What docs/guarantees.md names as its proof is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.with_name("docs") / "guarantees.md"


def named(pattern):
    return sorted(set(re.findall(pattern, DOCUMENT.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("place", named(r"`(\w+(?:/\w+)*/test_\w+\.py::test_\w+)`"))
def test_each_test_that_stands_for_a_rule_exists(place):
    file, name = place.split("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))

    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_file_that_it_names_exists():
    files = named(r"`((?:tests|pipeline|storage|docs)/[\w/]+\.(?:py|md))`")

    gone = [
        file
        for file in files
        if not any((top / file).exists() for top in (TESTS.parent, TESTS.parent / "python/ingest"))
    ]

    assert len(files) > 20
    assert not gone


def test_every_rule_has_one():
    rules = re.findall(r"^\| (\d+)\. .*\| `.*::test_", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)

    assert list(map(int, rules)) == list(range(1, 21))
