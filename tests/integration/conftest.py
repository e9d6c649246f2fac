"""What integration tests share: the library as a program would use it, with the real engine and real workers."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from ingest import api
from ingest.model.options import CopyOptions, CopyRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ingest.model.event import Event
    from ingest.model.item import CopyRecord
    from ingest.model.session import SessionReport
    from ingest.monitor import Progress

NOON = 1_700_000_000_000_000_000


@dataclass
class Recorder:
    """A monitor that writes everything down, and does what a test wants at the first end of a copy."""

    told: list[tuple[str, Any]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    at_first_end: Callable[[], object] | None = None
    each: bool = True

    at_once: int = 0
    _inside: int = 0

    def _note(self, kind: str, what: Any) -> None:
        self._inside += 1
        self.at_once = max(self.at_once, self._inside)
        self.told.append((kind, what))
        if kind != "progress":
            self.threads.add(threading.get_ident())
        self._inside -= 1

    def started(self, session: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> None:
        self._note("started", (session, sources, destinations))

    def progress(self, progress: Progress) -> None:
        self._note("progress", progress)

    def ended(self, record: CopyRecord, root: bytes) -> None:
        self._note("ended", (record, root))
        if self.at_first_end is not None:
            act, self.at_first_end = self.at_first_end, None
            act()

    def happened(self, event: Event) -> None:
        self._note("happened", event)

    def warning(self, text: str) -> None:
        self._note("warning", text)

    def finished(self, report: SessionReport) -> None:
        self._note("finished", report)

    def all(self, kind: str) -> list[Any]:
        return [what for each, what in self.told if each == kind]


@dataclass
class Place:
    """A card, archives and a journal."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def card(self) -> Path:
        return self.folder / "CARD"

    def archive(self, number: int = 0) -> Path:
        made = self.folder / f"archive-{number}"
        made.mkdir(exist_ok=True)
        return made

    def put(self, name: str, data: bytes, mtime_ns: int = NOON, *, on: Path | None = None) -> Path:
        path = (on or self.card) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(mtime_ns, mtime_ns))
        return path

    def fill(self, count: int, size: int = 1000) -> dict[str, bytes]:
        """Clips on the card, each with bytes of its own."""
        files = {f"DCIM/{n // 100:03d}/C{n:05d}.MP4": (b"%08d" % n) * (size // 8) for n in range(count)}
        for name, data in files.items():
            self.put(name, data)
        return files

    def request(self, *archives: Path, **options: object) -> CopyRequest:
        return CopyRequest(
            (os.fsencode(self.card),),
            tuple(os.fsencode(a) for a in archives or (self.archive(),)),
            CopyOptions(**options),
        )

    def copy(
        self, *archives: Path, monitor: Recorder | None = None, stopped=lambda: False, **options: object
    ) -> SessionReport:
        return api.copy(self.request(*archives, **options), self.home, monitor, stopped)

    def resume(self, session: str | None = None, monitor: Recorder | None = None) -> list[SessionReport]:
        return api.resume(self.home, session, monitor)

    def arrived(self, archive: Path | None = None, label: str = "CARD") -> dict[str, bytes]:
        """What an archive holds of the card."""
        top = (archive or self.archive()) / label
        return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.card.mkdir()
    return made


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
