"""What happened in a session, as its trail keeps it: few events, for those who ask later what went on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """What an event is about."""

    BEGUN = "begun"
    RESUMED = "resumed"
    ROOT_PAUSED = "root_paused"
    ROOT_BACK = "root_back"
    SOURCE_LOST = "source_lost"
    SETBACK = "setback"
    FAILURE = "failure"
    WORKER = "worker"
    WARNING = "warning"
    ENDED = "ended"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        at_ns: ns since the epoch. run: of the session, from 1. root, item: their numbers in the session, where it is
            about one. path: absolute. operation, errno: of the system, as for items. told: a sentence.
    """

    kind: EventKind
    at_ns: int
    run: int
    told: str
    root: int | None = None
    item: int | None = None
    path: bytes | None = None
    operation: str | None = None
    errno: int = 0
