"""What verification finds, and how it is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.errors import from_os_error

if TYPE_CHECKING:
    from ingest import engine


@dataclass(frozen=True, slots=True)
class Finding:
    """One name that is not as its manifest says.

    Attributes:
        root: the root's path. path: below it. reason: one sentence, empty for what is merely there (`extra`).
        size, expected_size: bytes, None where it is not about size. ranges: differing byte ranges, where known.
    """

    root: bytes
    path: bytes
    reason: str
    size: int | None = None
    expected_size: int | None = None
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verification found.

    Attributes:
        checked: files that manifests name and that were looked at. ok: those that are as they should be.
        missing, changed: with manifests and markers among them, which `checked` does not count.
        extra: what no manifest accounts for; empty unless it was asked for.
        verify_method: how the files that could be read were read back, each method's number.
        bytes: read back. parts: manifest parts that were read.
    """

    checked: int
    ok: int
    missing: tuple[Finding, ...]
    changed: tuple[Finding, ...]
    extra: tuple[Finding, ...]
    verify_method: dict[str, int]
    bytes: int
    parts: int

    @property
    def sound(self) -> bool:
        """Nothing is missing or changed."""
        return not self.missing and not self.changed


@dataclass(slots=True)
class Findings:
    """As `VerifyReport` has it, while it is being found."""

    missing: list[Finding] = field(default_factory=list)
    changed: list[Finding] = field(default_factory=list)
    methods: Counter[str] = field(default_factory=lambda: Counter(direct=0, evicted=0, reread=0))
    checked: int = 0
    ok: int = 0
    bytes: int = 0


def told(failure: engine.Failed) -> str:
    """A fault in half a sentence."""
    return f"{failure.operation}: {failure.detail}"


def require(root: engine.Root) -> None:
    """Tell a file that is not there from a disk that is not there.

    Raises:
        IngestError: it is the disk.
    """
    try:
        root.check()
    except OSError as error:
        raise from_os_error(error, "check", root.path, "Is the disk mounted? Mount it, and verify again") from error
