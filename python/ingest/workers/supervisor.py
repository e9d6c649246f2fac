"""The supervisor's side: workers are started, fed, watched, replaced and, if need be, abandoned.

One duplex pipe and one shared page per worker, never a shared queue: a killed process may hold its lock. A
worker's sentinel tells its death, its page tells a stall. Nothing here waits for a worker without a limit; one
that is stuck in the kernel is left behind, its requests go to another.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Self

from ingest import engine
from ingest.errors import IngestError
from ingest.model.options import STALL_COPY, STALL_VALIDATE
from ingest.workers import process
from ingest.workers.messages import Adopt, LastWords, Prove, Stage
from ingest.workers.slot import COUNTED, Slot, deliver, listen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import SpawnProcess

    from ingest.workers.messages import Reply, Request, Setup

# Requests a worker has at once: one that it works on, one that waits, so that it never waits for us.
DEPTH: Final = 2
# The same for one that was asked to stop (seconds): it may still be in the flush of one file.
STALL_CANCELLED: Final = 15.0
# So many workers in a row that end before their first answer are no accident.
STILLBORN: Final = 8
# A process whose pipe is closed is about to end.
REAP_SECONDS: Final = 5.0
# All of those that were killed get so long together: who has not gone by then is kept by the kernel.
REAP_KILLED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Died:
    """A worker ended without being asked.

    Attributes:
        requests: what it had not answered. item: what it was working on, None if it was idle, or if its threads
            worked on several.
        exit_code: as `multiprocessing` gives it (negative: the signal). stalled: it was killed for standing still.
        said: what it said of a bug of its own.
        place: it was left behind because this place (see `Setup.places`) does not answer: nothing that it worked on is to blame.
    """

    worker: int
    requests: tuple[Request, ...]
    item: int | None
    exit_code: int | None
    stalled: bool
    place: int | None = None
    said: str = ""

    @property
    def bus_error(self) -> bool:
        """A mapped page went away under it, as far as is known: then nothing is mapped a second time."""
        return self.exit_code in (None, -signal.SIGBUS)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply with the request it belongs to and the worker that did it."""

    worker: int
    request: Request
    reply: Reply


class Supervisor:
    """N workers. Use as a context manager: leaving it ends them."""

    def __init__(
        self, setup: Setup, count: int, stall_copy: float = STALL_COPY, stall_validate: float = STALL_VALIDATE
    ) -> None:
        """So many workers, each given up when it stands still for so long (seconds)."""
        self._setup = setup
        self._stall_copy = stall_copy
        self._stall_validate = stall_validate
        self._past = [0] * engine.PAGE_WORDS
        self._books = threading.Lock()
        self._cancelled = False
        self._stillborn = 0
        self._abandoned: list[SpawnProcess] = []
        self._inbox: SimpleQueue[tuple[Slot, Reply | LastWords | None]] = SimpleQueue()
        self._slots = [self._start(number) for number in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # something ended the session at once: so do the workers
            self.kill()
        self.stop()

    def _start(self, number: int) -> Slot:
        newborn = process.take(number)
        newborn.words[engine.CANCEL] = int(self._cancelled)
        slot = Slot(number, newborn.process, newborn.pipe, newborn.words, moved=time.monotonic())
        slot.outgoing.put(self._setup)
        for target, arguments in ((deliver, (slot.pipe, slot.outgoing)), (listen, (slot, self._inbox))):
            threading.Thread(target=target, args=arguments, name=f"worker-{number}", daemon=True).start()
        return slot

    @property
    def count(self) -> int:
        """How many workers there are."""
        return len(self._slots)

    @property
    def hungry(self) -> bool:
        """Some worker could take another batch."""
        return any(slot.load < DEPTH for slot in self._slots)

    @property
    def idle(self) -> bool:
        """Some worker has nothing to copy."""
        return any(slot.load == 0 for slot in self._slots)

    @property
    def pending(self) -> int:
        """Requests without a reply yet."""
        return sum(len(slot.waiting) for slot in self._slots)

    def submit(self, request: Request) -> None:
        """Give a request to the worker with the least to do."""
        slot = min(self._slots, key=lambda s: (s.load, len(s.waiting)))
        slot.waiting[request.id] = request
        if len(slot.waiting) == 1:
            slot.moved = time.monotonic()
        slot.outgoing.put(request)

    def poll(self, timeout: float) -> list[Answer | Died]:
        """What happened, waiting for it at most so long (seconds)."""
        events: list[Answer | Died] = []
        with suppress(Empty):
            self._take(*self._inbox.get(timeout=timeout) if timeout else self._inbox.get_nowait(), events)
            while True:
                self._take(*self._inbox.get_nowait(), events)
        for slot in list(self._slots):
            self._watch(slot, events)
        return events

    def _take(self, slot: Slot, reply: Reply | LastWords | None, events: list[Answer | Died]) -> None:
        if slot not in self._slots:
            return  # it was given up, and its requests went to another
        if isinstance(reply, LastWords):
            slot.said = reply.text
            return
        if reply is None:
            slot.process.join(REAP_SECONDS)  # its pipe is closed: only its end is still to be seen
            self._bury(slot, events)
            return
        slot.moved, slot.answered, slot.proving, self._stillborn = time.monotonic(), True, False, 0
        request = slot.waiting.pop(reply.id)
        if isinstance(request, (Stage, Prove, Adopt)):
            slot.settled = tuple(slot.words[word] for word in COUNTED)
        events.append(Answer(slot.number, request, reply))

    def _watch(self, slot: Slot, events: list[Answer | Died]) -> None:
        now, begun = time.monotonic(), bool(slot.waiting and slot.seen)
        if slot.note(now) or not slot.waiting:
            slot.proving = begun and slot.flow(engine.VERIFIED) == now
            slot.moved = now
        elif now - slot.moved > (self._stall_validate if slot.proving else self._stall_copy):
            slot.stalled = True
            slot.process.kill()  # may not reap it if it hangs in the kernel: it is left behind either way
            self._bury(slot, events)

    def leave(self, place: int) -> list[Answer | Died]:
        """Leave the workers behind that have something to do at a place which does not answer; what is lost with them."""
        events: list[Answer | Died] = []
        for slot in list(self._slots):
            if any(place in self._setup.touched(request) for request in slot.waiting.values()):
                slot.process.kill()
                self._bury(slot, events, place)
        return events

    def moved(self) -> list[float]:
        """When bytes last moved at each place, on the clock of `time.monotonic`; 0 where nobody works now.

        What moves at one place says nothing of another, though both belong to one file. Calls that fail are no movement:
        on a share that is lost each takes its time to. May be asked from any thread.
        """
        times = [0.0] * len(self._setup.places)
        with self._books:
            slots = list(self._slots)
        for slot in slots:
            # One thread of its takes messages in their order, the other one copies: the oldest of either kind is at work.
            waiting = list(slot.waiting.values())
            copying = next((request for request in waiting if isinstance(request, Stage)), None)
            reading = next((request for request in waiting if isinstance(request, (Prove, Adopt))), None)
            for place, when in (*self._copied(slot, copying), *self._compared(slot, reading)):
                times[place] = max(times[place], when)
        return times

    def _compared(self, slot: Slot, request: Prove | Adopt | None) -> Iterator[tuple[int, float]]:
        """The place of what is hashed where it is, and when bytes last moved there."""
        if request is not None:
            yield from ((place, slot.flow(engine.VERIFIED, engine.HASHED)) for place in self._setup.touched(request))

    def _copied(self, slot: Slot, request: Stage | None) -> Iterator[tuple[int, float]]:
        """The places of a batch that is copied, and when bytes last moved at each."""
        if request is None:
            return
        # A source is hashed once more where it is read twice.
        yield request.source, slot.flow(engine.READ, engine.HASHED)
        for column, root in enumerate(request.roots):
            word = min(engine.MOVED + column, engine.PAGE_WORDS - 1)
            yield len(self._setup.sources) + root, slot.flow(word)

    def _bury(self, slot: Slot, events: list[Answer | Died], place: int | None = None) -> None:
        items = slot.items
        self._stillborn += not slot.answered and not items and place is None
        if self._stillborn > STILLBORN:
            raise IngestError(
                f"worker processes end as soon as they start (exit {slot.process.exitcode})",
                operation="start workers",
                advice="Try: ingest doctor. What is proven is safe; go on with: ingest resume",
            )
        died = Died(
            slot.number,
            tuple(slot.waiting.values()),
            items[0] if len(items) == 1 else None,
            slot.process.exitcode,
            slot.stalled,
            place,
            slot.said,
        )
        slot.outgoing.put(None)
        process.abandon(slot.process)
        self._abandoned.append(slot.process)
        events.append(died)
        heir = self._start(slot.number)
        with self._books:
            for word, settled in zip(COUNTED, slot.settled, strict=True):
                self._past[word] += settled
            self._slots[self._slots.index(slot)] = heir

    def counters(self) -> tuple[int, int, int]:
        """Bytes read to be copied, written, and read back or compared by all workers so far; may be asked from any thread.

        Of a dead worker only what it has answered for counts: the rest is done again. So they can fall.
        """
        with self._books:
            read, copied, verified, hashed = (
                self._past[word] + sum(slot.words[word] for slot in self._slots) for word in COUNTED
            )
        return read, copied, verified + hashed

    def current(self) -> list[int]:
        """The items being worked on now, by every thread of every worker, each once."""
        return list(dict.fromkeys(item for slot in self._slots for item in slot.items))

    def cancel(self) -> None:
        """Ask every worker to stop within one buffer; unfinished files are answered as cancelled."""
        self._cancelled = True
        # Whoever does not heed it within so long stands in the kernel, and is not waited for.
        self._stall_copy = min(self._stall_copy, STALL_CANCELLED)
        self._stall_validate = min(self._stall_validate, STALL_CANCELLED)
        for slot in self._slots:
            slot.words[engine.CANCEL] = 1

    def kill(self) -> None:
        """End every worker at once."""
        for slot in self._slots:
            slot.process.kill()

    def stop(self, patience: float = 5.0) -> None:
        """End every worker; one that does not go within the patience (seconds) is killed and left behind."""
        for slot in self._slots:
            slot.outgoing.put(None)
        limit = time.monotonic() + patience
        for slot in self._slots:
            slot.process.join(max(0.0, limit - time.monotonic()))
        self.kill()
        limit = time.monotonic() + REAP_KILLED
        for slot in self._slots:
            slot.process.join(max(0.0, limit - time.monotonic()))
            process.abandon(slot.process)
        # Those that were given up and do not hang end in a moment: until then they hold their disks.
        limit = time.monotonic() + REAP_KILLED
        for one in self._abandoned:
            one.join(max(0.0, limit - time.monotonic()))
