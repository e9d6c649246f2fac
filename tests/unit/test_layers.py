"""What import-linter cannot see, and what the repository must not say."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "python" / "ingest"


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_only_the_engine_module_imports_the_extension():
    importers = [path.name for path in PACKAGE.rglob("*.py") if "ingest._native" in imported(path)]

    assert importers == ["engine.py"]


def test_only_the_command_line_prints():
    speaks = re.compile(r"(^|[^\w.])print\(|sys\.std(out|err)\.write")
    speakers = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if speaks.search(path.read_text())
    }

    assert not {name for name in speakers if not name.startswith("cli/")}


@pytest.mark.parametrize("name", ["util", "utils", "helper", "helpers", "common", "misc", "base", "manager"])
def test_no_file_has_a_name_that_hides_what_is_inside(name):
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")

    assert not [path for path in listed.stdout.splitlines() if Path(path).stem == name]
