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
from typing import TYPE_CHECKING, Final

from ingest.manifest.facts import PartFacts
from ingest.manifest.parts import PART_ROWS, Listed, list_parts, read_part, write_part
from ingest.session.journal import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.engine import Root
    from ingest.model.item import CopyRecord
    from ingest.model.session import RootFacts, SessionFacts
    from ingest.session.journal import Journal

# A machine that burns loses the record of at most a minute.
PART_SECONDS: Final = 60.0


class Scribe:
    """Writes the manifest of one session on one root."""

    def __init__(self, facts: SessionFacts, place: RootFacts, root: Root, journal: Journal) -> None:
        self._facts = facts
        self._place = place
        self._root = root
        self._journal = journal
        self._waiting: deque[tuple[int, CopyRecord]] = deque()
        self._since = time.monotonic()
        self._done: SimpleQueue[Part | BaseException] = SimpleQueue()
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
            self._waiting += page
            if len(self._waiting) >= PART_ROWS:
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
        return not self._writing and (len(self._waiting) >= PART_ROWS or (late and bool(self._waiting)))

    def add(self, sequence: int, record: CopyRecord) -> None:
        """A copy has ended, and the journal has it."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append((sequence, record))

    def write(self, state: str, counts: Mapping[str, int]) -> None:
        """Begin the next part with what waits (none is a part too: it tells how the session stands)."""
        batch = [self._waiting.popleft() for _ in range(min(PART_ROWS, len(self._waiting)))]
        last = batch[-1][0] if batch else self._last
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
        self._since = time.monotonic()
        threading.Thread(target=self._work, args=(facts, batch), name="scribe", daemon=True).start()

    def _work(self, facts: PartFacts, batch: list[tuple[int, CopyRecord]]) -> None:
        try:
            written = write_part(self._root, facts, [record for _, record in batch])
        except BaseException as error:  # noqa: BLE001 - raised again in the supervisor's thread
            self._waiting.extendleft(reversed(batch))
            self._done.put(error)
            return
        first = batch[0][0] if batch else self._last + 1
        last = facts.last if facts.last is not None else self._last
        self._done.put(Part(facts.number, written.path, first, last, written.rows, written.blake3))

    def poll(self, timeout: float = 0.0) -> bool:
        """Take note of a part that is done; False if none is.

        Raises:
            IngestError: it could not be written; its copies wait for the next try.
            JournalError: it could not be noted.
        """
        if not self._writing:
            return False
        try:
            outcome = self._done.get(timeout=timeout) if timeout else self._done.get_nowait()
        except Empty:
            return False
        self._writing = False
        if isinstance(outcome, BaseException):
            raise outcome
        self._record(outcome)
        return True

    def wait(self) -> None:
        """Until nothing is being written.

        Raises:
            IngestError: as `poll`.
        """
        while self._writing:
            self.poll(timeout=0.5)

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
