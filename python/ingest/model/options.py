"""What a user may choose for a copy, checked once and stored with its session."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

BUFFER_MIN: Final = 4 << 10
BUFFER_MAX: Final = 64 << 20
# More processes than this is a slip of the finger.
MOST_WORKERS: Final = 64
# Files in a batch, at most: enough that one flush is nothing to each of them. So many are planned at a time, too.
MOST_BATCH: Final = 1000

_UNITS: Final = {"": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20}


def byte_size(text: str) -> int:
    """``64KiB``, ``1MiB``, ``1m`` or plain bytes.

    Raises:
        ValueError: it is no size.
    """
    match = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{text!r} is no size")
    return int(match[1]) * _UNITS[match[2]]


class ReadMode(StrEnum):
    """How a source is read."""

    AUTO = "auto"
    MMAP = "mmap"
    READ = "read"
    DIRECT = "direct"


class Duplicates(StrEnum):
    """What becomes of a file that its root already holds."""

    SKIP = "skip"
    COPY = "copy"


class Flush(StrEnum):
    """How a batch of small files is flushed to a destination's device: by one request where it can be believed, or each."""

    AUTO = "auto"
    EACH = "each"


class Partial(StrEnum):
    """What becomes of a half-copied big file when it is copied again."""

    VERIFIED = "verified"
    RESTART = "restart"


class Cache(StrEnum):
    """What becomes of the memory that a source's bytes passed through."""

    DROP = "drop"
    KEEP = "keep"


class Lists(StrEnum):
    """What becomes of the sum files that a card brings along."""

    CHECK = "check"
    IGNORE = "ignore"


class Strategy(StrEnum):
    """How a copy comes to be on the source's own file system; elsewhere its bytes are written."""

    AUTO = "auto"
    COPY = "copy"
    REFLINK = "reflink"
    HARDLINK = "hardlink"


# No byte and no operation for so many seconds means that a worker hangs: while it copies, and while it reads back. Seed
# 000 has limits of 300 s and 120 s for each file; here they bound standstill, never total time.
STALL_COPY: Final = 300.0
STALL_VALIDATE: Final = 120.0


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """The choices of one session. None means: decided from the storage (`storage.tuning`).

    Attributes:
        label: name of the card's folder; None takes the source's base name.
        exclude: globs of what stays behind; only: globs of what comes, if any are given.
        workers: worker processes. threads: of one worker on one big file.
        buffer: bytes, a power of two from 4 KiB to 64 MiB. batch: files that are copied, flushed and proven together,
            at most; it ends earlier where 64 MiB are full, and where each file is flushed by itself, at 128 open copies.
        hashes: digests beside BLAKE3 (`ingest.model.digests.HASHES`).
        sums: whether the card's own sum files are checked.
        strategy: `auto` writes every copy's bytes.
        verify_source: every file is read a second time from its source, and has to read as before.
        stall_copy, stall_validate: seconds without a byte after which a worker is given up.
    """

    label: str | None = None
    profile: str = "mirror"
    duplicates: Duplicates = Duplicates.SKIP
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    workers: int | None = None
    buffer: int | None = None
    read_mode: ReadMode = ReadMode.AUTO
    threads: int | None = None
    flush: Flush = Flush.AUTO
    cache: Cache | None = None
    batch: int | None = None
    hashes: tuple[str, ...] = ()
    sums: Lists = Lists.CHECK
    strategy: Strategy = Strategy.AUTO
    partial: Partial = Partial.VERIFIED
    stall_copy: float = STALL_COPY
    stall_validate: float = STALL_VALIDATE
    verify_source: bool = False

    def to_json(self) -> str:
        """For the journal and the manifest."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> CopyOptions:
        """As stored by any version so far: what an older one did not know has its default."""
        stored: dict[str, Any] = json.loads(text)
        return cls(
            label=stored.get("label"),
            profile=stored.get("profile", "mirror"),
            duplicates=Duplicates(stored.get("duplicates", "skip")),
            exclude=tuple(stored.get("exclude", ())),
            only=tuple(stored.get("only", ())),
            workers=stored.get("workers"),
            buffer=stored.get("buffer"),
            read_mode=ReadMode(stored.get("read_mode", "auto")),
            threads=stored.get("threads"),
            # Where a batch can be flushed together it is: what asked for that (`together`) asked for nothing else.
            flush=Flush.AUTO if stored.get("flush") == "together" else Flush(stored.get("flush", "auto")),
            cache=Cache(stored["cache"]) if stored.get("cache") is not None else None,
            batch=stored.get("batch"),
            hashes=tuple(stored.get("hashes", ())),
            # Sessions that began before there was a choice have found no list.
            sums=Lists(stored.get("sums", "check")),
            strategy=Strategy(stored.get("strategy", "auto")),
            partial=Partial(stored.get("partial", "verified")),
            stall_copy=stored.get("stall_copy", STALL_COPY),
            stall_validate=stored.get("stall_validate", STALL_VALIDATE),
            verify_source=stored.get("verify_source", False),
        )


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """What the user asked for, before anything was looked at.

    Attributes:
        sources, destinations: paths as given; the first destination is the main one.
        create: make missing destination folders. new_root: allow a first use on the system disk below a
            mount folder, and on the disk underneath where a known archive was mounted.
    """

    sources: tuple[bytes, ...]
    destinations: tuple[bytes, ...]
    options: CopyOptions = field(default_factory=CopyOptions)
    create: bool = False
    new_root: bool = False
