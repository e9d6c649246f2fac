"""A stand-in for the workers: answers every request at once, and touches no file.

The one place of the bench that knows the shapes of messages. Everything else of the records workload is the real
thing: the journal, the planner, the flow, the ledger, the scribe.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, Self

from ingest.model.options import STALL_COPY, STALL_VALIDATE
from ingest.workers.messages import Discard, Folders, Publish, Reply, Request, Setup, Stage
from ingest.workers.supervisor import DEPTH, Answer

if TYPE_CHECKING:
    from ingest.engine import Copies, Staged
    from ingest.workers.supervisor import Died

# So long, in seconds, the other threads get when there is nothing to answer.
REST: Final = 0.001
DIGEST_BYTES: Final = 32


class Crew:
    """What the pipeline sees of a :class:`~ingest.workers.supervisor.Supervisor`, of workers that need no time.

    Attributes:
        staged, published: items so far, of all crews, so that one can tell that they were really asked.
    """

    staged = 0
    published = 0

    def __init__(
        self, setup: Setup, count: int, stall_copy: float = STALL_COPY, stall_validate: float = STALL_VALIDATE
    ) -> None:
        del stall_copy, stall_validate  # it never stands still
        self.count = count
        self._places = len(setup.places)
        self._waiting: list[Request] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing has to be ended."""

    @property
    def hungry(self) -> bool:
        """As many batches as real workers would have been given are on their way."""
        return self._batches < DEPTH * self.count

    @property
    def idle(self) -> bool:
        """Somebody has nothing to copy."""
        return self._batches < self.count

    @property
    def pending(self) -> int:
        """Requests without a reply yet."""
        return len(self._waiting)

    @property
    def _batches(self) -> int:
        return sum(isinstance(request, Stage) for request in self._waiting)

    def submit(self, request: Request) -> None:
        """Take a request."""
        self._waiting.append(request)

    def poll(self, timeout: float) -> list[Answer | Died]:
        """Answers to everything that was asked."""
        asked, self._waiting = self._waiting, []
        if not asked and timeout:
            time.sleep(REST)
        return [Answer(0, request, self._reply(request)) for request in asked]

    def counters(self) -> tuple[int, int, int]:
        """Bytes read, written and read back."""
        return self._bytes, self._bytes, self._bytes

    def current(self) -> list[int]:
        """Nothing is being worked on."""
        return []

    def moved(self) -> list[float]:
        """Nothing moves anywhere."""
        return [0.0] * self._places

    def leave(self, _place: int) -> list[Answer | Died]:
        """There is nobody to leave behind."""
        return []

    def cancel(self) -> None:
        """There is nothing to stop."""

    def kill(self) -> None:
        """There is nobody to end."""

    def stop(self, patience: float = 0.0) -> None:
        """There is nobody to wait for."""

    def _reply(self, request: Request) -> Reply:
        match request:
            case Stage():
                return self._staged(request)
            case Publish():
                Crew.published += len(request.items)
                return Reply(request.id, published=(["noreplace"] * len(request.items), {}))
            case Folders() | Discard():
                return Reply(request.id, faults=[None] * len(request.paths))
            case _:
                raise AssertionError(f"{type(request).__name__}: in an empty archive nothing is compared or adopted")

    def _staged(self, request: Stage) -> Reply:
        many = len(request.items)
        Crew.staged += many
        self._bytes += sum(request.sizes)
        now = [time.time_ns()] * many
        copies: Copies = (["evicted"] * many, now, list(request.mtimes), ["copy"] * many, {})
        digests, sizes = os.urandom(DIGEST_BYTES * many), list(request.sizes)
        staged: Staged = (digests, sizes, now, now, {}, [copies] * len(request.roots), (1, 1, 1), {}, [], {}, {}, [])
        return Reply(request.id, staged=staged)
