"""What the fuzz tests share: the command line in this process, with everything of its user's in a scratch folder."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

# Every exit code of the contract but that of benchmarks.
CODES = frozenset(range(9))


@dataclass(frozen=True)
class Said:
    """What a command line came to."""

    code: int
    out: str
    errors: str


class Desk:
    """A card, two archives that hold it, and the journal that knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.card, self.archive, self.backup = (folder / name for name in ("CARD", "archive", "backup"))
        for place in (self.home, self.card / "DCIM", self.archive, self.backup):
            place.mkdir(parents=True)
        for number in range(5):
            (self.card / "DCIM" / f"IMG_{number}.JPG").write_bytes(b"%d" % number * 1000)
        (self.card / "CLIP.MOV").write_bytes(bytes(range(256)) * 9000)  # of three blocks
        (self.card / "md5sums.txt").write_bytes(b"0" * 32 + b"  CLIP.MOV\n")
        done = subprocess.run(
            [sys.executable, "-m", "ingest", "copy", self.card, self.archive, "--also", self.backup],
            env={**os.environ, "INGEST_HOME": str(self.home)}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 7, done.stderr  # its sum file lies
        (self.session,) = (path.stem for path in self.home.glob("sessions/*.lock"))

    @property
    def journal(self) -> Path:
        return self.home / "ingest.sqlite3"

    @property
    def part(self) -> Path:
        return next(self.archive.glob(".ingest/manifests/*/items-0001.parquet"))

    def run(self, arguments: Sequence[str]) -> Said:
        """Run a command line in this process. It ends with a documented code, and explains itself line by line."""
        from ingest.cli.app import answer

        before, sys.argv = sys.argv, ["ingest", *arguments]
        out, errors = io.StringIO(), io.StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(errors):
                code = answer()
        finally:
            sys.argv = before
        said = Said(code, out.getvalue(), errors.getvalue())
        assert said.code in CODES, said
        assert "bug in ingest" not in said.errors, said
        assert all(line.isprintable() for line in said.errors.splitlines()), said
        return said


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(autouse=True)
def scratch(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of whoever runs the tests is read or written."""
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(desk.folder))
    monkeypatch.setenv("INGEST_HOME", str(desk.home))
    monkeypatch.delenv("INGEST_DEBUG", raising=False)
    monkeypatch.chdir(desk.folder)
