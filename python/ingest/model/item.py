"""What moves: items as the scan finds them, and copies as the archive remembers them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest.model.states import ItemState


class Kind(StrEnum):
    """What a file is, by its name."""

    IMAGE = "image"
    RAW = "raw"
    VIDEO = "video"
    AUDIO = "audio"
    SIDECAR = "sidecar"
    OTHER = "other"

    @property
    def media(self) -> bool:
        """It is footage itself, not something that comes with it."""
        return self in (Kind.IMAGE, Kind.RAW, Kind.VIDEO, Kind.AUDIO)


@dataclass(frozen=True, slots=True)
class Item:
    """One source file of a session.

    Attributes:
        number: counts from 1 in scan order, within its session.
        source: index of its source among the session's.
        path: below its source, bytes, ``/`` between components.
        size: bytes, as the scan saw it.
        mtime_ns: nanoseconds since the epoch, as the scan saw it, or the nearest that can be held (`model.times`).
        kind: by its name.
        state: `discovered`, or the end it met in the scan (`excluded`, `skipped`, `failed`).
        reason: why it ended there.
        errno: the system's reason, 0 where there is none.
        blake3: if it had to be hashed before it was planned.
    """

    number: int
    source: int
    path: bytes
    size: int
    mtime_ns: int
    kind: Kind
    state: ItemState
    reason: str | None = None
    errno: int = 0
    blake3: bytes | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of a source: made even if it is empty, and given its time back, or the nearest that can be held."""

    source: int
    path: bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class CopyRecord:
    """One item at one destination, as the journal and the manifest tell it. Times are ns since the epoch (UTC).

    Attributes:
        item: the item's number.
        source_path: where it came from, absolute.
        path: below the root; None if it was never given a place.
        reason: why it is not finalized, or what is special about it.
        attempts: how often it was copied.
        group: number of the master item it belongs to, or None.
        strategy: how it came to be: `copy`, `reflink` or `hardlink`.
    """

    item: int
    source_path: bytes
    path: bytes | None
    size: int
    mtime_ns: int
    kind: Kind
    state: ItemState
    blake3: bytes | None = None
    reason: str | None = None
    operation: str | None = None
    errno: int = 0
    attempts: int = 0
    verify_method: str | None = None
    publish_method: str | None = None
    read_mode: str | None = None
    worker: int | None = None
    group: int | None = None
    started_ns: int | None = None
    copied_ns: int | None = None
    validated_ns: int | None = None
    finalized_ns: int | None = None
    strategy: str | None = None
