"""What the supervisor asks of a worker and what it hears back: columns, one message per batch.

Roots and sources are named by their index in :class:`Setup`. Every request carries an id; its reply carries the
same one. A request that never got a reply is reported as lost with its worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ingest.engine import Fault, Proof, Published, Staged


@dataclass(frozen=True, slots=True)
class Place:
    """A source or root as a worker has to find it: path and identity of the folder."""

    path: bytes
    device: int
    inode: int
    served: bool


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker is told when it starts.

    Attributes:
        buffer: bytes. threads: within one big file. disks: a number for each root, equal for those that take turns; empty
            where each is worked on by itself. together: roots on which a batch of small files may be flushed
            by one request. keep_cache: what was read of a source stays in memory. hashes: computed besides BLAKE3, in
            the order of `ingest.model.digests.ALGORITHMS`. strategy: how copies come to be on the
            source's own file system: `copy`, `reflink` or `hardlink`. verify_source: every source is read twice.
        trails: folder of the session's trails; None where big files are copied again from their start. keys: how each
            root is known in them. volumes: what each source is stored on.
    """

    sources: tuple[Place, ...]
    roots: tuple[Place, ...]
    buffer: int
    threads: int = 1
    together: frozenset[int] = frozenset()
    keep_cache: bool = False
    hashes: tuple[str, ...] = ()
    strategy: str = "copy"
    trails: bytes | None = None
    keys: tuple[bytes, ...] = ()
    volumes: tuple[bytes, ...] = ()
    disks: tuple[int, ...] = ()
    verify_source: bool = False

    @property
    def places(self) -> tuple[Place, ...]:
        """Sources, then roots: a place's number is its index here."""
        return (*self.sources, *self.roots)

    def touched(self, request: Request) -> frozenset[int]:
        """The places that a request works at, by number."""
        source = getattr(request, "source", None)
        roots = request.roots if isinstance(request, Stage) else (getattr(request, "root", None),)
        first = len(self.sources)
        return frozenset(
            ({source} if source is not None else set()) | {first + root for root in roots if root is not None}
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """Copy these items of one source into staging files on these roots (`staging` has a column per root).

    `single`: each file is flushed by itself, whatever the setup says.
    """

    id: int
    source: int
    roots: tuple[int, ...]
    items: list[int]
    paths: list[bytes]
    sizes: list[int]
    mtimes: list[int]
    staging: list[list[bytes]]
    mode: str
    single: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """Give proven staging files of one root their names."""

    id: int
    root: int
    items: list[int]
    staging: list[bytes]
    paths: list[bytes]


@dataclass(frozen=True, slots=True)
class Prove:
    """Hash files of a source, or (cold) of a root."""

    id: int
    source: int | None
    root: int | None
    items: list[int]
    paths: list[bytes]


@dataclass(frozen=True, slots=True)
class Adopt:
    """Finish what a dead run left validated on one root: adopt the name, or publish the staging file."""

    id: int
    root: int
    items: list[int]
    staging: list[bytes]
    paths: list[bytes]
    digests: list[bytes]


@dataclass(frozen=True, slots=True)
class Folders:
    """Make folders of one root and give them their times, deepest first; a time of -1 leaves it."""

    id: int
    root: int
    paths: list[bytes]
    mtimes: list[int]


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove staging files of one root."""

    id: int
    root: int
    paths: list[bytes]


Request: TypeAlias = Stage | Publish | Prove | Adopt | Folders | Discard

Adopted: TypeAlias = "tuple[str, str | None, str | None, Fault | None]"
"""``(outcome, verify method, publish method, fault)``; the outcome is ``adopted`` (the name was there and holds
the bytes), ``published`` (the staging file was proven again and got its name), ``taken`` (other bytes have the
name), ``lost`` (neither is there) or ``failed``."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A source or root whose path no longer leads to the pinned folder."""

    source: int | None
    root: int | None
    errno: int
    detail: str


@dataclass(frozen=True, slots=True)
class LastWords:
    """What a worker says that met a bug of its own, and ends."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request; only the field of its kind is filled.

    Attributes:
        gone: what was found gone while faults were looked into. error: the whole request failed, with errno and
            sentence. seconds: how long it took in the worker.
    """

    id: int
    staged: Staged | None = None
    published: Published | None = None
    proofs: list[Proof] | None = None
    adopted: list[Adopted] | None = None
    faults: list[Fault | None] | None = None
    gone: tuple[Gone, ...] = ()
    error: tuple[int, str] | None = None
    seconds: float = 0.0
