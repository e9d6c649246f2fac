"""The scribe: manifest parts, written while the session goes on, at least every 10,000 copies or 60 s.

One thread per root, so that a slow disk holds up neither the supervisor nor another root. What is in a part is
known by the journal's sequence: parts hold consecutive runs of it, which is how a part that was published just
before a crash is recognised afterwards.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeAlias

from ingest import engine
from ingest.errors import IngestError
from ingest.manifest.blocks import BLOCKS_BYTES, Blocks
from ingest.manifest.facts import PartFacts
from ingest.manifest.parts import PART_ROWS, Listed, list_parts, read_part, write_part
from ingest.media.c4 import c4
from ingest.model.columns import CopyColumns
from ingest.model.digests import C4, DIGEST
from ingest.model.options import STALL_COPY
from ingest.model.states import ARRIVED
from ingest.session.journal import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ingest.engine import Root
    from ingest.model.item import CopyRecord
    from ingest.model.session import RootFacts, SessionFacts
    from ingest.session.journal import Journal

# Bytes of the smallest block: shorter files have no chaining values.
BLOCK: Final = engine.block_of(0)
# A machine that burns loses the record of at most a minute.
PART_SECONDS: Final = 60.0

_Told: TypeAlias = "tuple[int, CopyRecord | CopyColumns]"


class Scribe:
    """Writes the manifest of one session on one root."""

    def __init__(
        self, facts: SessionFacts, place: RootFacts, root: Root, journal: Journal, away: Callable[[], str | None],
        patience: float = STALL_COPY,
    ) -> None:  # fmt: skip
        """For a root of the session; `away` says why it is no longer there, None while it is.

        Args:
            patience: seconds that a part may take at most; a root that answers otherwise may hang over one file.
        """
        self._away = away
        self._patience = patience
        self._facts = facts
        self._place = place
        self._root = root
        self._journal = journal
        self._waiting: deque[_Told] = deque()
        self._rows = 0
        self._since = self._begun = time.monotonic()
        self._done: SimpleQueue[Part | tuple[list[_Told], BaseException]] = SimpleQueue()
        self._writing = False
        self._recover()

    def _recover(self) -> None:
        """Take up where earlier runs left off: parts the journal does not know yet, copies no part holds yet."""
        parts = self._journal.parts(self._place.number)
        known = {part.number for part in parts}
        self._number = max(known, default=0)
        self._last = parts[-1].last if parts else 0
        self._previous = parts[-1].blake3 if parts else None
        for listed in list_parts(self._root, self._facts.id):
            if listed.number not in known:
                found = read_part(self._root, Listed(self._facts.id, listed.number))
                last = found.facts.last if found.facts.last is not None else self._last
                self._record(Part(listed.number, found.path, self._last + 1, last, found.rows, found.blake3))
        for page in self._journal.records(self._place.number, self._last, self._facts.sources):
            for sequence, record in page:
                self.add(sequence, record)
            if self._rows >= PART_ROWS:
                self.write("interrupted", {})
                self.wait()

    def _record(self, part: Part) -> None:
        self._journal.add_part(self._place.number, part)
        self._number, self._last, self._previous = part.number, part.last, part.blake3

    @property
    def writing(self) -> bool:
        """A part is being written."""
        return self._writing

    @property
    def due(self) -> bool:
        """It is time for a part."""
        late = time.monotonic() - self._since >= PART_SECONDS
        return not self._writing and (self._rows >= PART_ROWS or (late and bool(self._waiting)))

    def add(self, sequence: int, told: CopyRecord | CopyColumns) -> None:
        """A copy has ended, or many have, and the journal has it; the sequence is that of the (first) one."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append((sequence, told))
        self._rows += _rows(told)

    def write(self, state: str, counts: Mapping[str, int]) -> None:
        """Begin the next part with what waits (none is a part too: it tells how the session stands)."""
        batch: list[_Told] = []
        room = PART_ROWS
        values = BLOCKS_BYTES
        while self._waiting and _rows(self._waiting[0][1]) <= room:
            needed = _values(self._waiting[0][1])
            if batch and needed > values:
                break
            batch.append(self._waiting.popleft())
            room -= _rows(batch[-1][1])
            values -= needed
        self._rows -= PART_ROWS - room
        last = batch[-1][0] + _rows(batch[-1][1]) - 1 if batch else self._last
        facts = PartFacts.of(
            self._facts,
            self._place,
            number=self._number + 1,
            previous=self._previous,
            state=state,
            counts=counts,
            last=last,
        )
        self._writing = True
        self._since = self._begun = time.monotonic()
        threading.Thread(target=self._work, args=(facts, batch), name="scribe", daemon=True).start()

    def _work(self, facts: PartFacts, batch: list[_Told]) -> None:
        try:
            records = [told for _, told in batch]
            blocks, texts = self._digests(records)
            written = write_part(self._root, facts, records, blocks, texts)
        except BaseException as error:  # noqa: BLE001 - raised again in the supervisor's thread
            self._done.put((batch, error))
            return
        first = batch[0][0] if batch else self._last + 1
        last = facts.last if facts.last is not None else self._last
        self._done.put(Part(facts.number, written.path, first, last, written.rows, written.blake3))

    def _digests(self, records: list[CopyRecord | CopyColumns]) -> tuple[list[Blocks], dict[int, dict[str, str]]]:
        """What the journal knows of these copies besides their BLAKE3: blocks of big files, and texts of digests."""
        known = self._journal.digests([item for told in records for item in _items(told)])
        blocks: list[Blocks] = []
        texts: dict[int, dict[str, str]] = {}
        if not known:
            return blocks, texts
        for item, size, blake3 in [each for told in records for each in _arrived(told)]:
            if (one := known.get(item)) is None:
                continue
            # An item that was read anew since may have other bytes: only what merges into this digest is of this copy.
            if one.blocks is not None and engine.root_of(size, one.blocks) == blake3:
                blocks.append(Blocks(item, size, blake3, one.blocks))
            texts[item] = {name: raw.hex() for name, raw in one.raw.items()}
            if "sha512" in one.raw:
                texts[item][C4] = c4(one.raw["sha512"])
        return blocks, texts

    def poll(self, timeout: float = 0.0) -> bool:
        """Take note of a part that is done; False if none is.

        Raises:
            IngestError: it could not be written; its copies wait for the next try. Or it takes too long.
            JournalError: it could not be noted.
        """
        if not self._writing:
            return False
        try:
            outcome = self._done.get(timeout=timeout) if timeout else self._done.get_nowait()
        except Empty:
            if time.monotonic() - self._begun > self._patience:
                why = f"a part was not written within {self._patience:g} s"
                raise IngestError(why, path=self._place.path, operation="write the manifest") from None
            return False
        self._writing = False
        if not isinstance(outcome, Part):
            batch, error = outcome
            self._waiting.extendleft(reversed(batch))
            self._rows += sum(_rows(told) for _, told in batch)
            raise error
        self._record(outcome)
        return True

    def wait(self) -> None:
        """Until nothing is being written.

        Raises:
            IngestError: as `poll`; or its root is no longer there, and may never let go of who writes to it.
        """
        while self._writing:
            if self.poll(timeout=0.2):
                return
            if (why := self._away()) is not None:
                raise IngestError(why, path=self._place.path, operation="write the manifest")

    def close(self, state: str, counts: Mapping[str, int]) -> None:
        """Write everything that waits, and with the last part how the session ended.

        Raises:
            IngestError: as `poll`.
        """
        self.wait()
        self.write(state, counts)
        self.wait()
        while self._waiting:
            self.write(state, counts)
            self.wait()


def _items(told: CopyRecord | CopyColumns) -> Sequence[int]:
    return told.items if isinstance(told, CopyColumns) else (told.item,)


def _arrived(told: CopyRecord | CopyColumns) -> Iterator[tuple[int, int, bytes]]:
    """Item, bytes and BLAKE3 of the copies that have their bytes at their root."""
    if isinstance(told, CopyColumns):
        for at, item in enumerate(told.items):
            yield item, told.sizes[at], told.digests[DIGEST * at : DIGEST * (at + 1)]
    elif told.state in ARRIVED and told.blake3 is not None:
        yield told.item, told.size, told.blake3


def _values(told: CopyRecord | CopyColumns) -> int:
    """Bytes of chaining values that go with it, at most."""
    sizes = told.sizes if isinstance(told, CopyColumns) else (told.size,)
    return sum(DIGEST * -(-size // engine.block_of(size)) for size in sizes if size > BLOCK)


def _rows(told: CopyRecord | CopyColumns) -> int:
    return len(told) if isinstance(told, CopyColumns) else 1
