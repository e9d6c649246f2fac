"""The board: what is on its way in this run, and which destinations and sources still take part in it."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Protocol

from ingest.engine import TRAIL_LEAST
from ingest.errors import shown
from ingest.model.event import EventKind
from ingest.model.options import Partial, ReadMode
from ingest.model.states import ItemState, SessionState, advance
from ingest.pipeline.patience import Patience
from ingest.storage.tuning import read_mode
from ingest.workers.sharding import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ingest.engine import Fault
    from ingest.model.item import Item
    from ingest.model.options import CopyOptions
    from ingest.model.session import SessionFacts
    from ingest.pipeline.ledger import Ledger
    from ingest.pipeline.lot import Lot
    from ingest.pipeline.outbox import Outbox
    from ingest.pipeline.plan import Transfer
    from ingest.session.rows import Copy
    from ingest.storage.volumes import Volume


class Guard(Protocol):
    """Who knows whether a place is still there; places are counted as in `ingest.workers.messages.Setup`."""

    def blame(self, place: int) -> None:
        """Something failed there, perhaps because of the place."""

    def certain(self, place: int, since: float) -> bool:
        """Whether it has answered since (`time.monotonic`), so that the failure is the item's own."""

    def doubted(self, place: int, since: float) -> bool:
        """Whether it did not answer at some moment since, so that the failure proves nothing."""


# Each failed folder is a sentence of the summary, up to so many.
FOLDERS_TOLD = 20
# A root on which more workers than this died over names is left alone.
ROOT_DEATHS = 8


class Board:
    """Transfers on their way, by item number, and lots of plain ones.

    Attributes:
        root_states: how each destination stands; `paused(...)` takes it out of this run.
        lost_sources: sources that are no longer there, with what was found.
        problems: one sentence for each of them.
        unexplained: destinations that are not where they were, with all that is known so far; the sentry has the word.
        hung: destinations at which something hangs although they answer; they were taken out, and are left at the next look.
        hashes: what is computed of each file besides BLAKE3.
        patience: copies that failed and are tried again in a moment.
        stopping: the user asked to stop. folders_failed: folders that could not be made.
    """

    def __init__(
        self,
        facts: SessionFacts,
        options: CopyOptions,
        volumes: list[Volume],
        ledger: Ledger,
        outbox: Outbox,
        warn: Callable[[str], None],
        guard: Guard,
        hashes: tuple[str, ...] = (),
    ) -> None:
        self.facts = facts
        self.guard = guard
        self.hashes = hashes
        self.patience = Patience()
        self.ledger = ledger
        self.outbox = outbox
        self.warn = warn
        self.alive: dict[int, Transfer] = {}
        self.lots: list[Lot] = []
        self.root_states = [SessionState.COPYING for _ in facts.roots]
        self.lost_sources: dict[int, str] = {}
        self.problems: list[str] = []
        self.unexplained: dict[int, str] = {}
        self.hung: list[int] = []
        self.stopping = False
        self.folders_failed = 0
        self._timeless: set[int] = set()
        self._unshown: set[int] = set()
        self._warm: set[int] = set()
        self._root_deaths: dict[int, int] = {}
        self._options = options
        self._volumes = volumes

    @property
    def halted(self) -> bool:
        """Nothing can go on in this run: every destination, or every source, waits."""
        return all(state.paused for state in self.root_states) or len(self.lost_sources) == len(self.facts.sources)

    @property
    def load(self) -> int:
        """How many items are on their way."""
        return len(self.alive) + sum(map(len, self.lots))

    def current(self, items: Iterable[int]) -> tuple[bytes, ...]:
        """The paths of items that are being worked on."""
        return tuple(path for item in items if (path := self._path(item)) is not None)

    def _path(self, item: int) -> bytes | None:
        if item in self.alive:
            return self.alive[item].item.path
        for lot in self.lots:
            at = bisect_left(lot.items, item)
            if at < len(lot) and lot.items[at] == item:
                return lot.paths[at]
        return None

    def waits(self, source: int, root: int) -> bool:
        """Whether copies from a source to a root have to be left to a later run."""
        return self.stopping or self.root_states[root].paused or source in self.lost_sources

    @property
    def busy(self) -> bool:
        """Something is to be sent, to be answered, or to be tried again."""
        return self.outbox.busy or bool(len(self.patience))

    def place_of(self, source: int | None, root: int | None) -> int:
        """The number of a source or root among the places of a session."""
        return source if source is not None else len(self.facts.sources) + (root or 0)

    def away(self, source: int | None, root: int | None) -> bool:
        """Whether a source or root is no longer there: whoever asks it anything may wait for ever."""
        if source is not None:
            return source in self.lost_sources
        return root is not None and self.root_states[root] is SessionState.PAUSED_NETWORK

    def mode(self, source: int, size: int) -> ReadMode:
        """How a file of a source is read."""
        return read_mode(self._options, self._volumes[source], size)

    def leaves_trail(self, item: Item) -> bool:
        """Whether a half-made copy of an item may be gone on with: then only its end removes it."""
        return self._options.partial is Partial.VERIFIED and item.size >= TRAIL_LEAST

    def beside_the_point(self, root: int, fault: Fault) -> bool:
        """Whether a fault says nothing about the file: its root is away, or the user asked to stop."""
        return self.root_states[root].paused or fault[0] == "cancelled"

    def queue(self, transfer: Transfer, roots: Iterable[int], *, alone: bool = False) -> None:
        """Have the item copied to these roots, in one read."""
        item = transfer.item
        mode = self.mode(item.source, item.size)
        if mode is ReadMode.MMAP and not transfer.mapped:
            mode = ReadMode.READ
        self.outbox.stage(Key(item.source, tuple(roots), str(mode)), item, alone=alone)

    def plan_again(self, copy: Copy) -> None:
        """The attempt came to nothing: the copy is to be made from the start."""
        if copy.state is ItemState.PLANNED:
            return
        if copy.state is ItemState.VALIDATED:
            self.outbox.discard(copy.root, copy.staging)
        copy.state = advance(copy.state, ItemState.PLANNED)
        self.ledger.put(copy)

    def hold(self, transfer: Transfer, copy: Copy) -> None:
        """The copy waits for its root or source; a later run goes on from the journal."""
        transfer.held = True
        transfer.copies.pop(copy.root, None)

    def settle(self, transfer: Transfer) -> None:
        """Close the books of a transfer that has no copy under way."""
        if transfer.copies or transfer.asking:
            return
        if self.alive.pop(transfer.item.number, None) is not None and not transfer.held and transfer.ends:
            self.ledger.close(transfer)

    def pause_root(self, root: int, state: SessionState, why: str) -> None:
        """Take a destination out of this run, or say why it was lost."""
        if self.root_states[root].paused and self.unexplained.pop(root, None) is None:
            return
        self.root_states[root] = state
        sentence = f"{shown(self.facts.roots[root].path)}: {why}"
        self.ledger.chronicle.note(EventKind.ROOT_PAUSED, sentence, root=root, path=self.facts.roots[root].path)
        self._problem(sentence)

    def lose_root(self, root: int, detail: str) -> None:
        """A destination is not where it was. It is left alone at once; what stands there instead is for the sentry to say."""
        if self.root_states[root].paused:
            return
        self.root_states[root] = SessionState.PAUSED_NETWORK
        self.unexplained[root] = detail
        self.guard.blame(self.place_of(None, root))

    def lose_source(self, source: int, why: str) -> None:
        """A source is no longer there: its items wait for it."""
        if source in self.lost_sources:
            return
        self.lost_sources[source] = why
        path = self.facts.sources[source].path
        sentence = f"{shown(path)}: the source is no longer there ({why})"
        self.ledger.chronicle.note(EventKind.SOURCE_LOST, sentence, path=path)
        self._problem(sentence)

    def warn_of_times(self, root: int) -> None:
        """A root does not keep the times it is given: said once, and no reason not to finalize."""
        if root not in self._timeless:
            self._timeless.add(root)
            self.warn(f"{shown(self.facts.roots[root].path)}: this file system does not keep the files' times")

    def warn_of_unshown(self, root: int) -> None:
        """A root cannot be read past memory: said once, where a half-copied file could have been gone on with."""
        if root not in self._unshown:
            self._unshown.add(root)
            self.warn(
                f"{shown(self.facts.roots[root].path)}: what its disk holds of half-copied files cannot be read past this "
                "machine's memory (the file system, an old kernel, or another program that has them open): they are "
                "copied from the start"
            )

    def warn_of_warm(self, source: int) -> None:
        """A source that was to be read twice cannot be read past memory: said once."""
        if source not in self._warm:
            self._warm.add(source)
            self.warn(
                f"{shown(self.facts.sources[source].path)}: files were read twice and equal, but the second time perhaps "
                "from this machine's memory: this file system allows no cold read"
            )

    def count_death(self, root: int) -> None:
        """A worker died while it gave names on a root: no file is to blame, but the root may be."""
        self._root_deaths[root] = self._root_deaths.get(root, 0) + 1
        if self._root_deaths[root] > ROOT_DEATHS:
            self.pause_root(root, SessionState.PAUSED_NETWORK, "workers die while they give names there")

    def fail_folder(self, sentence: str) -> None:
        """A folder could not be made: no item is lost with it, but the copy of the card is not whole."""
        self.folders_failed += 1
        if self.folders_failed <= FOLDERS_TOLD:
            self._problem(f"a folder could not be made: {sentence}")

    def mistrust_journal(self, why: str) -> None:
        """The journal does not say what was written to it: said once."""
        sentence = (
            f"the journal is damaged: {why}. Check the disk that it is on (ingest doctor), move it away and copy again: "
            "the archives describe themselves, and what arrived is not copied twice"
        )
        if sentence not in self.problems:
            self._problem(sentence)

    def _problem(self, sentence: str) -> None:
        self.problems.append(sentence)
        self.warn(sentence)
