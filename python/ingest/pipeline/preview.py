"""Preview: the plan of a copy, without writing anything anywhere.

Files that stand at their path with the right size are told as duplicates; whether their bytes are equal is
looked into only when they are copied.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.errors import from_os_error
from ingest.model.options import Duplicates
from ingest.model.states import ItemState
from ingest.pipeline.plan import Planner, Transfer
from ingest.pipeline.scan import Filter, scan_source
from ingest.pipeline.survey import Absent, Card, Look, Outlook, survey
from ingest.session.rows import Copy
from ingest.storage.sharing import how, look
from ingest.storage.space import room_for
from ingest.storage.tuning import tune

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ingest.db.engine import Database
    from ingest.engine import Root
    from ingest.model.item import Item
    from ingest.model.options import CopyOptions
    from ingest.model.session import SourceFacts
    from ingest.pipeline.opening import Opened
    from ingest.storage.volumes import Volume


@dataclass(frozen=True, slots=True)
class PlanLine:
    """What would become of one item: `new`, `duplicate`, `excluded`, `skipped`, `failed` or `refused`.

    Attributes:
        path: below every destination, None if it would get none.
    """

    source_path: bytes
    decision: str
    path: bytes | None
    reason: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Need:
    """What a destination would need: bytes with margin, and whether it has room for them."""

    path: bytes
    files: int
    needed: int
    free: int
    enough: bool


@dataclass(slots=True)
class Totals:
    """Counts per decision, bytes of all items, and the needs of the destinations; whole after the last line.

    Attributes:
        how: it would be copied, one sentence per choice; none without a destination.
    """

    counts: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    destinations: list[Need] = field(default_factory=list)
    how: tuple[str, ...] = ()


class Preview:
    """The plan, line by line; `totals` is whole when the lines have been read to their end."""

    def __init__(
        self,
        sources: Sequence[Opened],
        roots: Sequence[tuple[Root, Volume]],
        keys: Sequence[int | None],
        options: CopyOptions,
        database: Database | None,
    ) -> None:
        self._sources = [(facts, root) for facts, root, _ in sources]
        self._roots = [root for root, _ in roots]
        self._volumes = [volume for *_, volume in sources], [volume for _, volume in roots]
        self._sharing = look(options.strategy, *self._volumes)
        self._keys = keys
        self._options = options
        self._database = database
        self._chosen = Filter.of(options.exclude, options.only)
        self._absent = [Absent() for _ in roots]
        self._asked = 0
        self.totals = Totals()

    def __iter__(self) -> Iterator[PlanLine]:
        """The lines, in the order of the scan.

        Raises:
            IngestError: a source or root cannot be read.
        """
        for facts, root in self._sources:
            try:
                yield from self._lines(facts, root)
            except OSError as error:
                raise from_os_error(error, "scan", facts.path) from error
        for root, absent in zip(self._roots, self._absent, strict=True):
            descriptor = root.open_folder(b"")
            try:
                room = room_for(descriptor, absent.files, absent.size - absent.shared)
            finally:
                os.close(descriptor)
            self.totals.destinations.append(
                Need(root.path, absent.files, room.needed_bytes, room.free_bytes, room.enough)
            )
        if self._roots:
            amount = Outlook(dict(enumerate(self._absent)), self._asked).amount
            reason = how(self._options.strategy, self._sharing, *self._volumes)
            self.totals.how = (*tune(self._options, *self._volumes, amount).reasons, reason)

    def _pages(self, facts: SourceFacts, root: Root) -> Iterable[list[Item]]:
        return (found.items for found in scan_source(root, facts, 1, self._chosen) if found.items)

    def _lines(self, facts: SourceFacts, root: Root) -> Iterator[PlanLine]:
        folder = facts.label
        if self._roots:
            eyes = Look(self._roots, self._keys, self._database, anew=self._options.duplicates is Duplicates.COPY)
            found = survey(
                Card(lambda: self._pages(facts, root)), root, eyes, facts.label,
                chosen=None, explicit=self._options.label is not None,
            )  # fmt: skip
            folder = found.folder
            self._asked += found.asked
            for number, (whole, one) in enumerate(zip(self._absent, found.absent, strict=True)):
                whole.add(one, shared=(facts.number, number) in self._sharing.pairs)
        planner = Planner(
            self._database, self._roots, self._keys, lambda _: folder, self._options.duplicates,
            lambda _, path: isinstance(root.lstat([path])[0], tuple),
        )  # fmt: skip
        for page in self._pages(facts, root):
            transfers = [
                Transfer(item, {r: Copy(item.number, r, ItemState.DISCOVERED) for r in range(len(self._roots))})
                for item in page
            ]
            planner.place([t for t in transfers if t.item.state is ItemState.DISCOVERED])
            for transfer in transfers:
                line = self._line(transfer, facts.path)
                self.totals.counts[line.decision] += 1
                self.totals.bytes += line.size
                yield line

    def _line(self, transfer: Transfer, source: bytes) -> PlanLine:
        item = transfer.item
        path = source.rstrip(b"/") + b"/" + item.path
        if item.state is not ItemState.DISCOVERED:
            return PlanLine(path, str(item.state), None, item.reason, item.size)
        if transfer.troubles:
            return PlanLine(path, "refused", transfer.path, str(next(iter(transfer.troubles.values()))), item.size)
        if not self._roots:
            return PlanLine(path, "new", None, None, item.size)
        there = len(transfer.compare)
        if there == len(self._roots):
            return PlanLine(
                path,
                "duplicate",
                transfer.path,
                "a file of its size is there; its bytes are compared when it is copied",
                item.size,
            )
        reason = f"new on {len(self._roots) - there} of {len(self._roots)} destinations" if there else None
        if transfer.tried:
            reason = "its own name is taken by another file"
        return PlanLine(path, "new", transfer.path, reason, item.size)
