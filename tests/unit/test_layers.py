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


REMOVES = {"unlink", "remove", "rmdir", "removedirs", "rmtree", "discard"}
# What else removes, and where: below `.ingest` of an archive, beside the journal, and in folders of its own. `discard` is
# the engine's, for staging files; of a set it is harmless.
MAY_REMOVE = {
    "storage/erase.py": "a source's file, by the gate's proof",
    "storage/claims.py": "claims", "storage/roots.py": "staging", "storage/leases.py": "leases", "storage/deposit.py": "staging",
    "storage/marker.py": "staging", "storage/features.py": "probes", "session/trails.py": "trails beside the journal",
    "pipeline/orphans.py": "staging", "pipeline/intents.py": "notes of a repair", "pipeline/unfinished.py": "staging",
    "db/aside.py": "the first name of a damaged journal, which has another one then", "pipeline/mender.py": "staging", "manifest/blocks.py": "what no part names", "workers/worker.py": "staging",
}  # fmt: skip


def removals(path: Path) -> set[str]:
    """Calls in a module that remove something: by their names, since nobody tells a path's type here."""
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        # A set's `discard`, a list's `remove` and our own outbox's are no removal of files.
        and (node.func.attr not in ("remove", "discard") or ast.unparse(node.func.value) in ("os", "engine"))
    }
    return called & REMOVES


def test_files_are_removed_in_few_places_and_of_a_source_in_one():
    removers = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if removals(path)} - {
        path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "bench").rglob("*.py")
    }

    assert removers == set(MAY_REMOVE), "whatever removes a file of a source does it with storage.erase"


def test_only_what_stands_behind_the_gate_may_erase():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "ingest.storage.erase.erase" in imported(path)
    }

    assert users == set(), "`move` is to be added here, which asks pipeline.clearance first"
    assert "os.unlink" in (PACKAGE / "storage/erase.py").read_text()


@pytest.mark.parametrize("name", ["util", "utils", "helper", "helpers", "common", "misc", "base", "manager"])
def test_no_file_has_a_name_that_hides_what_is_inside(name):
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")

    assert not [path for path in listed.stdout.splitlines() if Path(path).stem == name]
