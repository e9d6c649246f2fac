"""Lots: shards of items for which nothing special has to be done, as columns.

Most items of most sessions are plain: the scan found a file, its name is free on every destination, it is copied,
proven and named at the first try. Such items are never made into objects of their own; whatever does not go the
straight way leaves its lot (:meth:`Lot.loosen`) and is a :class:`~ingest.pipeline.plan.Transfer` from then on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING, TypeVar

from ingest.model.columns import CopyColumns
from ingest.model.digests import DIGEST
from ingest.model.item import Item, Kind
from ingest.model.states import ItemState
from ingest.pipeline.plan import Transfer
from ingest.session.rows import Copy
from ingest.workers.sharding import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from ingest.engine import Copies, Staged
    from ingest.session.rows import ItemRow

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class Lot:
    """Plain items that are copied together, in the order of their numbers.

    Attributes:
        key: source, roots and read mode. held: some root of the session takes no part, so the items cannot end.
        items, paths, sizes, mtimes, kinds: what the scan found. targets: paths below every root.
        staging: names below every root, once they were asked for. worker: who copied it.
        digests, started, copied, proofs: of the engine's answer (proofs by root).
        progress: how far the lot is at each root. loose: transfers that left it, by position.
    """

    key: Key
    held: bool
    items: list[int] = field(default_factory=list)
    paths: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    mtimes: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    targets: list[bytes] = field(default_factory=list)
    staging: list[bytes] = field(default_factory=list)
    worker: int = 0
    digests: bytes = b""
    started: list[int] = field(default_factory=list)
    copied: list[int] = field(default_factory=list)
    proofs: dict[int, Copies] = field(default_factory=dict)
    progress: dict[int, ItemState] = field(default_factory=dict)
    loose: dict[int, Transfer] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many items are in it, those that left it included."""
        return len(self.items)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(self.sizes)

    def digest(self, at: int) -> bytes:
        """Of the item at a position."""
        return self.digests[DIGEST * at : DIGEST * (at + 1)]

    def item(self, at: int) -> Item:
        """The item at a position, as the scan found it."""
        return Item(
            self.items[at], self.key.source, self.paths[at], self.sizes[at], self.mtimes[at], Kind(self.kinds[at]),
            ItemState.DISCOVERED,
        )  # fmt: skip

    def loosen(self, at: int) -> Transfer:
        """The item at a position goes its own way from now on, from where the lot is at each root."""
        transfer = Transfer(self.item(at), {}, path=self.targets[at], held=self.held)
        for root in self.key.roots:
            state = self.progress.get(root, ItemState.DISCOVERED)
            if state is ItemState.FINALIZED:
                transfer.ends.append((state, None, 0))
            else:
                transfer.copies[root] = self._copy(at, root, state)
        if any(state in (ItemState.VALIDATED, ItemState.FINALIZED) for state in self.progress.values()):
            transfer.digest = transfer.agreed = self.digest(at)
        self.loose[at] = transfer
        return transfer

    def _copy(self, at: int, root: int, state: ItemState) -> Copy:
        copy = Copy(self.items[at], root, state)
        if state is not ItemState.DISCOVERED:
            copy.path, copy.attempts = self.targets[at], 1
            copy.staging, copy.read_mode = self.staging[at], self.key.mode
        if state is ItemState.VALIDATED:
            methods, validated, kept, strategies, _ = self.proofs[root]
            copy.verify_method, copy.validated_at, copy.kept_mtime = methods[at], validated[at], kept[at]
            copy.strategy = strategies[at]
            copy.blake3, copy.worker = self.digest(at), self.worker
            copy.started_at, copy.copied_at = self.started[at], self.copied[at]
        return copy

    def rest(self) -> list[int]:
        """Positions of the items that are still in it."""
        return [at for at in range(len(self.items)) if at not in self.loose] if self.loose else list(range(len(self)))

    def prove(self, worker: int, staged: Staged) -> None:
        """Take the engine's answer over; every item that is not loose is proven on every root."""
        self.worker = worker
        self.digests, _, self.started, self.copied, _, copies, *_ = staged
        self.proofs = dict(zip(self.key.roots, copies, strict=True))
        self.progress = dict.fromkeys(self.key.roots, ItemState.VALIDATED)
        if self.loose:
            self._leave_out(frozenset(self.loose))

    def _leave_out(self, positions: AbstractSet[int]) -> None:
        """Forget items that failed before they were proven: what is left is proven throughout."""
        chosen = [at not in positions for at in range(len(self.items))]
        self.digests = b"".join(self.digest(at) for at, kept in enumerate(chosen) if kept)
        for name in ("items", "paths", "sizes", "mtimes", "kinds", "targets", "staging", "started", "copied"):
            setattr(self, name, list(compress(getattr(self, name), chosen)))
        self.proofs = {
            root: (
                list(compress(methods, chosen)), list(compress(validated, chosen)), list(compress(kept, chosen)),
                list(compress(strategies, chosen)), {},
            )
            for root, (methods, validated, kept, strategies, _) in self.proofs.items()
        }  # fmt: skip
        self.loose = {}

    def columns(self, root: int, at: Sequence[int], source: bytes, publish: Sequence[str], now: int) -> CopyColumns:
        """The items at these positions as copies that were given their names at a root, at this moment (ns)."""
        methods, validated, _, strategies, _ = self.proofs[root]
        whole = len(at) == len(self.items)

        def some(column: list[_T]) -> list[_T]:
            return column if whole else [column[each] for each in at]

        return CopyColumns(
            source, some(self.items), some(self.paths), some(self.sizes), some(self.mtimes), some(self.kinds),
            some(self.targets), self.digests if whole else b"".join(self.digest(each) for each in at),
            [method or "" for method in some(methods)], publish, some(self.started), some(self.copied),
            some(validated), now, self.key.mode, self.worker, some(strategies),
        )  # fmt: skip


def cut(
    plain: Iterable[tuple[ItemRow, bytes]],
    mode: Callable[[int, int], str],
    roots: tuple[int, ...],
    limits: tuple[int, int],
    *,
    held: bool,
) -> list[Lot]:
    """Lots of plain items, in their order; each has one source and one read mode.

    Args:
        plain: rows of items with their paths below the roots.
        mode: how a file of (source, bytes) is read.
        limits: files, and bytes, at which a lot is full; a file that is larger than that goes alone.
        held: some root takes no part in this run.
    """
    files, size = limits
    lots: list[Lot] = []
    growing: dict[tuple[int, str], tuple[Lot, list[int]]] = {}
    for (number, source, path, length, mtime, kind, *_), target in plain:
        which = (source, mode(source, length))
        if length >= size or which not in growing:
            lot, weight = Lot(Key(source, roots, which[1]), held), [0]
            lots.append(lot)
            if length < size:
                growing[which] = (lot, weight)
        else:
            lot, weight = growing[which]
        lot.items.append(number)
        lot.paths.append(path)
        lot.sizes.append(length)
        lot.mtimes.append(mtime)
        lot.kinds.append(kind)
        lot.targets.append(target)
        weight[0] += length
        if length < size and (len(lot.items) >= files or weight[0] >= size):
            del growing[which]
    return lots
