"""A supervisor's place for one worker: its process, its pipe and its page, and the two threads that carry the pipe."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from ingest import engine
from ingest.workers.messages import LastWords, Reply, Request, Setup, Stage

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess


# Words of the page that count bytes in all.
COUNTED: Final = (engine.READ, engine.COPIED, engine.VERIFIED, engine.HASHED)
# And those that count what has moved at one place.
FLOWS: Final = (*COUNTED, *range(engine.MOVED, engine.PAGE_WORDS))


@dataclass(slots=True, eq=False)
class Slot:
    """A worker, what was sent to it, and what its page showed when it was last looked at.

    Attributes:
        words: its page. waiting: what it has not answered. seen: its counters and items; settled: the bytes of what it has
            answered. moved: when anything there changed; flowed: when each word that counts bytes did (`time.monotonic`).
        proving: what moved last was read back. said: its last words.
    """

    number: int
    process: SpawnProcess
    pipe: Connection
    words: Any
    outgoing: SimpleQueue[Setup | Request | None] = field(default_factory=SimpleQueue)
    waiting: dict[int, Request] = field(default_factory=dict)
    answered: bool = False
    seen: tuple[int, ...] = ()
    settled: tuple[int, ...] = (0, 0, 0, 0)
    moved: float = 0.0
    flowed: dict[int, float] = field(default_factory=dict)
    proving: bool = False
    stalled: bool = False
    said: str = ""

    @property
    def load(self) -> int:
        """Batches that it has not answered."""
        return sum(1 for request in self.waiting.values() if isinstance(request, Stage))

    @property
    def items(self) -> list[int]:
        """What its threads work on: a word each, the item's number + 1, 0 when idle."""
        return list(dict.fromkeys(word - 1 for word in self.words[engine.CURRENT : engine.HASHED] if word))

    def note(self, now: float) -> bool:
        """Look at the page; whether anything has changed since the last time."""
        seen = tuple(self.words[engine.READ :])
        if self.seen:
            for word in FLOWS:
                if seen[word - engine.READ] != self.seen[word - engine.READ]:
                    self.flowed[word] = now
        changed, self.seen = seen != self.seen, seen
        return changed

    def flow(self, *words: int) -> float:
        """When bytes last moved by any of these words; 0 if they never did."""
        return max(self.flowed.get(word, 0.0) for word in words)


def listen(slot: Slot, inbox: SimpleQueue[tuple[Slot, Reply | LastWords | None]]) -> None:
    """Put a worker's answers in the inbox, and None when there will be no more: it died, in whatever moment."""
    with suppress(OSError, EOFError):
        while True:
            inbox.put((slot, slot.pipe.recv()))
    inbox.put((slot, None))


def deliver(pipe: Connection, outgoing: SimpleQueue[Setup | Request | None]) -> None:
    """Send what is put in the queue, up to None, which is sent too (it means: end).

    A thread of its own, because a worker that hangs in the kernel stops emptying its pipe: whoever writes to it
    waits. When the worker dies the pipe breaks; its sentinel says so, and what it had not answered is known.
    """
    with suppress(OSError):
        while True:
            request = outgoing.get()
            pipe.send(request)
            if request is None:
                return
