"""Repair: an archive is verified, and what is damaged or missing is made whole from another place, without a database.

For each damaged file a new one is built beside it, of its own blocks that are right and of those that the other place
has right; it is flushed, read back whole from the device, compared with the manifest's digest, and takes the damaged
one's place, which is kept in `.ingest/quarantine/<session8>/`. Rows are appended to the manifests.

Promises: nothing is written to the other place, and nothing is believed that it says. No file is lost or replaced, and
none touched that is not the one that was looked at. Ended at any moment, the archive is sound or as damaged as before,
and the next repair finishes what was begun (:mod:`ingest.pipeline.unfinished`).

Not promised: that manifests or the marker are repaired; what is wrong with them is said.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from ingest import engine
from ingest.errors import IngestError
from ingest.manifest.chain import walk_chain
from ingest.manifest.parts import Part, list_parts
from ingest.manifest.reader import no_manifest, of_parts
from ingest.manifest.recorded import Act, latest
from ingest.manifest.sandbox import sandbox
from ingest.model.states import SessionState
from ingest.pipeline.addendum import Addendum
from ingest.pipeline.intents import finished_reason, forget, pending, turn
from ingest.pipeline.mender import Mender, Repaired, Unrepaired, exchange_word
from ingest.pipeline.spares import offers
from ingest.pipeline.unfinished import clear, finish
from ingest.pipeline.verify import MEMORY, verify
from ingest.storage.marker import INTERNAL, read_marker
from ingest.storage.roots import require_writable
from ingest.storage.volumes import volume_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ingest.manifest.recorded import Recorded
    from ingest.pipeline.findings import Finding
    from ingest.pipeline.spares import Spares
    from ingest.pipeline.unfinished import Finished

_T = TypeVar("_T")

# Damaged files whose rows are in memory at a time.
AT_ONCE: Final = 1000

_MARKER: Final = "Restore it from a backup of this archive; without it a new copy would make it another root"
_UNREAD: Final = "The manifest that tells of it cannot be read any more: copy what is readable to another disk"
_MANIFEST: Final = "Restore it from a copy of this archive. What the other manifests tell of is repaired without it"
_STANDING: Final = "Look at what stands in its place and below .ingest/quarantine, then repair again"


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did, or a dry run would do.

    Attributes:
        root: its path. checked: files that manifests name and that were looked at. ok: those that were as they should
            be. repaired, failed: the others, with manifests and markers among `failed`.
        session: under which rows were appended, None where there are none. manifests: their parts, absolute.
        fetched: bytes read from the other place. bytes: read back while the archive was checked.
    """

    root: bytes
    dry_run: bool
    checked: int
    ok: int
    repaired: tuple[Repaired, ...]
    failed: tuple[Unrepaired, ...]
    session: str | None
    manifests: tuple[bytes, ...]
    fetched: int
    bytes: int

    @property
    def sound(self) -> bool:
        """Everything is as it should be now; of a dry run: would be."""
        return not self.failed


def repair(
    root: engine.Root,
    spares: Spares,
    *,
    dry_run: bool = False,
    memory: str = MEMORY,
    page: engine.Page | None = None,
    progress: Callable[[int, int], None] | None = None,
    at_once: int = AT_ONCE,
) -> RepairReport:
    """Repair an archive from another place.

    Args:
        root: pinned. spares: the other place.
        dry_run: read everything as a repair would, and change nothing.
        memory: DuckDB's limit.
        page: cancels the work, and shows the bytes read back and fetched.
        progress: called now and then, in this thread, with the files checked and mended and the bytes read so far.
        at_once: damaged files whose rows are in memory together; for each such page the manifests are read again.

    Raises:
        MissingError: the root has no manifest. DeniedError: it cannot be written.
        PausedError: another process repairs it. CancelledError: the page said so.
        IngestError: one of the places went away, or a manifest cannot be read or written.
    """
    if not list_parts(root):
        raise no_manifest(root)
    if not dry_run:
        require_writable(root, volume_of(root.path))
    with nullcontext() if dry_run else turn(root):
        return _Repair(root, spares, dry_run, memory, page or engine.Page(), progress or _silent, at_once).run()


def _silent(files: int, amount: int) -> None:
    del files, amount


class _Repair:
    """One repair, from what an earlier one left to the last part of the manifest."""

    def __init__(
        self,
        root: engine.Root,
        spares: Spares,
        dry_run: bool,
        memory: str,
        page: engine.Page,
        progress: Callable[[int, int], None],
        at_once: int,
    ) -> None:
        self._root = root
        self._spares = spares
        self._memory = memory
        self._page = page
        self._progress = progress
        self._dry_run = dry_run
        self._at_once = at_once
        self._checked = 0
        self._repaired: list[Repaired] = []
        self._failed: list[Unrepaired] = []

    def run(self) -> RepairReport:
        finished = [] if self._dry_run else [finish(self._root, intent, self._page) for intent in pending(self._root)]
        found = verify([self._root], memory=self._memory, page=self._page, progress=self._progress)
        self._checked = found.checked
        damaged = self._files((*found.missing, *found.changed))
        parts = [part for part in walk_chain(self._root, list_parts(self._root)) if isinstance(part, Part)]
        addendum = Addendum(self._root, self._uuid(parts), self._spares.root.path)
        mender = Mender(self._root, self._spares, addendum, self._page, self._tick, dry_run=self._dry_run)
        try:
            for ended in self._pages(finished):
                rows, _ = self._looked_up(parts, [each.intent.path for each in ended])
                self._take_over(ended, rows, addendum)
            if not self._dry_run:
                clear(self._root, [each.intent for each in finished if each.trouble is not None])
            for findings in self._pages(damaged):
                rows, offered = self._looked_up(parts, [each.path for each in findings])
                for finding in findings:
                    if (row := rows.get(finding.path)) is None:
                        # Its manifest could be read a moment ago, and no longer.
                        self._note(Unrepaired(finding.path, finding.reason, _UNREAD))
                    else:
                        self._note(mender.mend(finding, row, offered[finding.path]))
                    self._tick()
        except BaseException:
            addendum.close(SessionState.INTERRUPTED, len(self._failed))
            raise
        state = SessionState.COMPLETED_WITH_ERRORS if self._failed else SessionState.COMPLETED
        addendum.close(state, len(self._failed))
        if not self._dry_run:
            clear(self._root, pending(self._root))
        return RepairReport(
            root=self._root.path,
            dry_run=self._dry_run,
            checked=found.checked,
            ok=found.ok,
            repaired=tuple(self._repaired),
            failed=tuple(self._failed),
            session=addendum.session if addendum.manifests else None,
            manifests=tuple(addendum.manifests),
            fetched=sum(each.fetched for each in self._repaired) + sum(each.fetched for each in self._failed),
            bytes=found.bytes,
        )

    def _files(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings that are about files; what is wrong with the archive's own record is only said."""
        files = []
        for finding in findings:
            if finding.path.startswith(INTERNAL + b"/"):
                advice = _MANIFEST if b"/manifests/" in finding.path else _MARKER
                self._note(Unrepaired(finding.path, finding.reason, advice))
            else:
                files.append(finding)
        return files

    def _pages(self, many: Sequence[_T]) -> Iterator[Sequence[_T]]:
        """Some at a time: rows with all their columns, and what is offered for each, are far larger than findings."""
        return (many[start : start + self._at_once] for start in range(0, len(many), self._at_once))

    def _looked_up(
        self, parts: Sequence[Part], paths: Sequence[bytes]
    ) -> tuple[dict[bytes, Recorded], dict[bytes, list[bytes]]]:
        """The latest row of each path, and what the other place offers for it."""
        sources = tuple(dict.fromkeys(note.path for part in parts for note in part.facts.sources))
        with sandbox(self._memory) as connection:
            rows = latest(connection, of_parts([self._root], [(0, part) for part in parts]), paths)
            return rows, offers(connection, self._spares, rows.values(), sources)

    def _uuid(self, parts: Sequence[Part]) -> str:
        """The root's, by its marker or, where that is lost, by what its manifests say of themselves."""
        try:
            marker = read_marker(self._root)
        except IngestError:
            marker = None  # verify has said what is wrong with it
        return marker.uuid if marker is not None else parts[-1].facts.root if parts else ""

    def _take_over(self, finished: Sequence[Finished], rows: dict[bytes, Recorded], addendum: Addendum) -> None:
        """Record what an earlier repair began and this one finished."""
        for each in finished:
            intent, row = each.intent, rows.get(each.intent.path)
            reason = finished_reason(intent)
            if each.trouble is not None:
                self._note(Unrepaired(intent.path, each.trouble, _STANDING))
            elif each.verify_method is None or row is None or row.session == intent.session or row.reason == reason:
                forget(self._root, [intent])  # it begins anew, or was recorded: by whoever began it, or finished it
            else:
                slot, now = intent.slot if each.slot else None, time.time_ns()
                strategy = intent.strategy or None
                act = Act(addendum.number(), reason, each.verify_method, each.how, strategy, now, now, now)
                addendum.add(row, act, intent)
                how = exchange_word(each.how, slot)
                self._note(Repaired(intent.path, reason, quarantine=slot, exchange=how, strategy=strategy))

    def _note(self, outcome: Repaired | Unrepaired) -> None:
        if isinstance(outcome, Repaired):
            self._repaired.append(outcome)
        else:
            self._failed.append(outcome)

    def _tick(self) -> None:
        """Tell how far it is: the page counts what is read back, of checked files as of those that are built."""
        words = self._page.words()
        done = len(self._repaired) + len(self._failed)
        self._progress(self._checked + done, words[engine.VERIFIED] + words[engine.READ])
