"""The mender: one damaged file at a time is built anew, proven, and put in the damaged one's place.

Order: build and prove (nothing else is touched) -> note the intent -> exchange -> record. Each step is told by the one
before, on the disk, so that the next repair can go on from wherever this one ended.
"""

from __future__ import annotations

import stat
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import CancelledError, advice_for, from_os_error
from ingest.manifest.recorded import Act
from ingest.pipeline.intents import forget, intend, note
from ingest.pipeline.spares import Values
from ingest.pipeline.unfinished import same_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.manifest.recorded import Recorded
    from ingest.pipeline.addendum import Addendum
    from ingest.pipeline.findings import Finding
    from ingest.pipeline.intents import Intent
    from ingest.pipeline.spares import Spares

# How often progress is told while one file is mended, in seconds.
_GLANCE: Final = 0.25

_PLACE: Final = "Move away what stands there, then repair again"
_DIGEST: Final = "Nothing proves what it should hold: compare it by hand"
_UNSTABLE: Final = "The disk, its cable or this machine's memory is not to be trusted: check them, then verify again"
_LACKING: Final = "Repair it from a third place, if there is one: the card, or another copy of the archive"
_CHANGED: Final = "Nothing was touched. Let whoever writes there finish, then verify again"
_FLUSH: Final = "Its bytes are proven, but its name may not survive a power cut: check the disk, then repair again"
_NEXT: Final = "Its parts are safe below .ingest: repair again, and it is finished"


@dataclass(frozen=True, slots=True)
class Repaired:
    """A file that is sound now; of a dry run: that would be.

    Attributes:
        path: below the root. reason: what was wrong. ranges: [start, end) that were.
        fetched: bytes read from the other place for it. quarantine: where the damaged file is, below the root.
        exchange: `exchange`, or `ladder` where two names cannot change at once; None where nothing stood there.
        strategy: `reflink` or `copy`; None where nothing was built.
    """

    path: bytes
    reason: str
    ranges: tuple[tuple[int, int], ...] = ()
    fetched: int = 0
    quarantine: bytes | None = None
    exchange: str | None = None
    strategy: str | None = None


@dataclass(frozen=True, slots=True)
class Unrepaired:
    """A file, manifest or marker that is as it was.

    Attributes:
        path: below the root. reason, advice: a sentence each. fetched: bytes read from the other place in vain.
        ranges: what of it neither place has right, [start, end), where that is why.
    """

    path: bytes
    reason: str
    advice: str
    ranges: tuple[tuple[int, int], ...] = ()
    fetched: int = 0


class Mender:
    """Mends the files of one root from one other place."""

    def __init__(
        self,
        root: engine.Root,
        spares: Spares,
        addendum: Addendum,
        page: engine.Page,
        tick: Callable[[], None],
        *,
        dry_run: bool,
    ) -> None:
        """Begin.

        Args:
            addendum: where repaired files are recorded. page: cancels the work. tick: called while it goes on.
            dry_run: only look whether each could be mended.
        """
        self._root = root
        self._spares = spares
        self._values = Values(root, spares, page)
        self._addendum = addendum
        self._page = page
        self._tick = tick
        self._dry_run = dry_run

    def mend(self, finding: Finding, row: Recorded, offered: Sequence[bytes]) -> Repaired | Unrepaired:
        """Mend one file.

        Args:
            finding: what is wrong with it. row: the latest of its path. offered: files of the other place.

        Raises:
            CancelledError: the page said so. IngestError: one of the places went away, or cannot be written.
        """
        if row.blake3 is None:
            return Unrepaired(row.path, finding.reason, _DIGEST)
        (stands,) = self._root.lstat([row.path])
        if stands is not None and not isinstance(stands, OSError) and not stat.S_ISREG(stands[0]):
            return Unrepaired(row.path, finding.reason, _PLACE)
        started = time.time_ns()
        intent = intend(
            self._addendum.session,
            self._addendum.number(),
            row.path,
            size=row.size,
            blake3=row.blake3,
            reason=finding.reason,
        )
        stood, ranges, fetched, strategy, method, fault = self._build(intent, row, offered)
        built = time.time_ns()
        if fault is not None:
            return replace(self._refused(row.path, finding.reason, engine.failed(fault)), fetched=fetched)
        if stood is not None and not ranges:
            reason = f"{finding.reason}; when it was read again, it was as it should be"
            return Unrepaired(row.path, reason, _UNSTABLE, fetched=fetched)
        done = Repaired(row.path, finding.reason, tuple(ranges), fetched)
        if strategy is None or method is None:
            return done  # nothing was to be built
        intent = replace(intent, strategy=strategy)
        how, fault = self._exchange(intent, stood)
        if fault is not None:
            return replace(self._refused(row.path, finding.reason, engine.failed(fault)), fetched=fetched)
        now = time.time_ns()
        act = Act(intent.number, finding.reason, method, how, strategy, started, built, now)
        self._addendum.add(row, act, intent)
        slot = intent.slot if stood is not None else None
        return replace(done, quarantine=slot, exchange=exchange_word(how, slot), strategy=strategy)

    def _build(self, intent: Intent, row: Recorded, offered: Sequence[bytes]) -> engine.Mended:
        """Build in a thread, so that Ctrl-C is heeded within a buffer and progress is told."""
        long = row.size > engine.block_of(row.size)
        values = self._values.of(row) if long else b""
        with ThreadPoolExecutor(1, thread_name_prefix="mend") as pool:
            future = pool.submit(
                engine.mend, self._root, row.path, row.size, row.mtime_ns, intent.blake3, values, self._spares.root,
                offered, None if self._dry_run else intent.staging, page=self._page,
            )  # fmt: skip
            try:
                while wait([future], _GLANCE).not_done:
                    self._tick()
            except BaseException:
                self._page.cancel()
                raise
            return future.result()

    def _exchange(self, intent: Intent, stood: engine.Identity | None) -> tuple[str | None, engine.Fault | None]:
        """Note what is going to happen, and let it happen."""
        note(self._root, intent)
        (fresh,) = self._root.lstat([intent.staging])
        if stood is None:
            (how,), faults = engine.publish(self._root, [intent.staging], [intent.path], page=self._page)
            fault = faults.get(0)
        else:
            how, fault = engine.exchange(self._root, intent.staging, intent.path, intent.slot, stood, page=self._page)
        left, there = self._root.lstat([intent.staging, intent.path])
        as_before = there is None if stood is None else same_file(stood, there)
        if fault is not None and as_before and same_file(fresh, left):
            # Nothing has changed its name, or everything has it back: the new file has no use any more. Where the name
            # is empty now, both stay for whoever finishes what was noted.
            engine.discard(self._root, [intent.staging])
            forget(self._root, [intent])
        return how, fault

    def _refused(self, path: bytes, reason: str, failure: engine.Failed) -> Unrepaired:
        """What a fault says of the file, if both places are still there."""
        if failure.kind == "cancelled":
            raise CancelledError(
                "cancelled", operation="repair", advice="What was repaired is recorded; to go on: ingest repair"
            )
        for place in (self._root, self._spares.root):
            try:
                place.check()
            except OSError as error:
                raise from_os_error(
                    error, "check", place.path, "Is the disk mounted? Mount it, and repair again"
                ) from error
        if failure.operation == "mend":
            return Unrepaired(path, f"{reason}; {failure.detail}", _LACKING, failure.ranges)
        told = f"{reason}; {failure.operation}: {failure.detail}"
        if failure.kind == "changed":
            return Unrepaired(path, told, _CHANGED)
        if failure.operation == "fsync_folder":
            return Unrepaired(path, told, _FLUSH)
        return Unrepaired(path, told, advice_for(failure.errno) or _NEXT)


def exchange_word(how: str | None, slot: bytes | None) -> str | None:
    """How two files changed places, as the document tells it; None where there was only one, or it is not known."""
    if how is None or slot is None:
        return None
    return "exchange" if how == "exchange" else "ladder"
