"""Fixtures that every layer of tests shares."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Ingest:
    """The real command line in a subprocess, with a journal of its own."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "INGEST_HOME": str(self.home)}

    def command(self, *arguments: str | bytes | Path) -> list[str | bytes]:
        return [sys.executable, "-m", "ingest", *(a if isinstance(a, bytes) else str(a) for a in arguments)]

    def run(self, *arguments: str | bytes | Path, timeout: float = 120, **options) -> subprocess.CompletedProcess[str]:
        """Run to the end; the caller looks at the exit code."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )

    def start(self, *arguments: str | bytes | Path, **options) -> subprocess.Popen[str]:
        """Start and return at once; for tests that interrupt it."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    home = tmp_path / "home"
    home.mkdir()
    return Ingest(home)
