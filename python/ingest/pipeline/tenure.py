"""Tenure: a session's leases on its destinations, kept moving while it is worked on; and whether another's still move.

Each lease has a thread of its own, which may hang in its root for as long as that likes: nobody waits for it. A session
that finds a lease in other hands stops, and leaves everything as it is.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from ingest.errors import IngestError, PausedError, shown
from ingest.storage.leases import Holding, Lease, LostLeaseError, Observer, read_lease, remove_lease, stale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.engine import Root
    from ingest.monitor import Monitor
    from ingest.storage.roots import Destination

# Who is done within so many seconds has no lease: there is next to nothing to guard, and small copies stay quick.
BEGIN: Final = 1.0
# How long the end of a run waits for its leases to go (seconds): one that stays is known by its process to be stale.
LEAVE: Final = 0.5
# How often somebody else's lease is looked at (seconds).
LOOK: Final = 0.5


class Tenure:
    """The leases of one run. Use as a context manager: leaving it takes them away."""

    def __init__(self, session: str, roots: Sequence[Root]) -> None:
        """Of a session, on these roots."""
        lease = Lease.of(session)
        self._every = lease.every
        self._over = threading.Event()
        self._lost: list[tuple[bytes, str]] = []
        self._threads = [
            threading.Thread(target=self._keep, args=(Holding(root, lease),), name="lease", daemon=True)
            for root in roots
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        limit = time.monotonic() + LEAVE
        for thread in self._threads:
            thread.join(max(0.0, limit - time.monotonic()))

    def require(self) -> None:
        """Require that the session is still this process's.

        Raises:
            PausedError: another one has taken it over, or cleared it away.
        """
        for path, why in self._lost[:1]:
            raise PausedError(
                why, path=path, operation="work on the session",
                advice="This process has stopped and changed nothing since; what is named is proven. "
                "When nobody works on it: ingest resume",
            )  # fmt: skip

    def _keep(self, holding: Holding) -> None:
        pause = BEGIN
        try:
            while not self._over.wait(pause):
                pause = self._every
                # A root that takes no lease now is for others to judge: it is tried again at the next move.
                with suppress(IngestError, OSError):
                    holding.keep()
            with suppress(IngestError, OSError):
                holding.remove()
        except LostLeaseError as error:
            self._lost.append((holding.root.path, str(error)))


def require_free(
    session: str, destinations: Sequence[Destination | None], monitor: Monitor, stopped: Callable[[], bool]
) -> None:
    """Require that nobody works on a session whose journal this process holds; leases that nobody holds go.

    Of a process of this machine that has ended it is known at once. Any other's lease (the journal was copied, or is
    shared) is watched until it moves, or has stood still for twice its time; so is one that cannot be read. Nothing is
    safe by a lease, so that one which cannot even be watched, or taken away, keeps nobody: a warning says so.

    Raises:
        PausedError: somebody does; or the user asks to stop meanwhile.
    """
    observer, said = Observer(), False
    watched = {number: one for number, one in enumerate(destinations) if one is not None}
    while True:
        waiting = 0.0
        for number, one in list(watched.items()):
            try:
                seen = read_lease(one.root, session)
            except IngestError as error:
                monitor.warning(
                    f"{shown(one.path)}: whether somebody else works on this session is not known ({error.cause})"
                )
                del watched[number]
                continue
            if seen is None:
                continue
            stood = observer.see(one.path, seen.data, time.monotonic())
            if stale(seen, stood):
                continue
            if said and stood == 0.0:
                raise PausedError(f"session {session} is being worked on by {seen.holder}", path=one.path,
                                  operation="resume", advice="Wait for it, or stop it there first")  # fmt: skip
            waiting = max(waiting, 2 * seen.every - stood)
            if not said:
                monitor.warning(
                    f"{shown(one.path)}: {seen.holder} was working on this session: "
                    f"looking for {2 * seen.every:.0f} s whether it still is"
                )
        if not waiting:
            break
        said = True
        if stopped():
            raise PausedError("stopped while waiting to know whether another machine works on it", operation="resume",
                              advice="Go on with: ingest resume")  # fmt: skip
        time.sleep(min(LOOK, waiting))
    for one in watched.values():
        try:
            remove_lease(one.root, session)
        except IngestError as error:
            monitor.warning(f"{shown(one.path)}: an old lease of this session stays there ({error.cause})")
