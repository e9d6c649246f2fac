"""A session as others see it: its facts, its counts, its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ingest.model.states import WAITING, ItemState, SessionState

if TYPE_CHECKING:
    import builtins

    from ingest.errors import ExitCode

# The keys of the `items` object of every report, in order; each is always there.
COUNTED: Final = (
    "discovered", "finalized", "duplicate", "excluded", "skipped", "failed", "changed", "removed", "cancelled",
    "waiting",
)  # fmt: skip


def count_key(state: ItemState) -> str:
    """The key under which an item of this state is counted: what has not ended is waiting."""
    return str(state) if state.ended and state not in WAITING else "waiting"


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One source of a session.

    Attributes:
        path: absolute. single: the name of the one file, if the source is a file (then path is its folder).
        label: the name its files go under. folder: the card folder chosen for it, None until then.
        device, inode: identity of the folder when the session began.
        fs_uuid: of its file system, where known.
    """

    number: int
    path: bytes
    label: bytes
    single: bytes | None
    device: int
    inode: int
    fs_uuid: str | None
    folder: bytes | None = None


@dataclass(frozen=True, slots=True)
class RootFacts:
    """One destination of a session.

    Attributes:
        number: its index in the session. key: its row in the journal. path: where it was mounted when the
            session began, absolute. uuid: its marker's. device, inode: its folder's identity.
    """

    number: int
    key: int
    path: bytes
    uuid: str
    fs_uuid: str | None
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What is true of a session from its first moment on.

    Attributes:
        id: UUID, canonical text. key: its number in the journal. run: counts from 1 each time it is taken up.
        created_ns: ns since the epoch.
    """

    id: str
    key: int
    run: int
    options: str
    label: str | None
    profile: str
    version: str
    host: str
    operator: str
    created_ns: int
    sources: tuple[SourceFacts, ...]
    roots: tuple[RootFacts, ...]

    @property
    def short(self) -> str:
        """Eight characters that name it in staging folders."""
        return self.id.replace("-", "")[:8]


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that did not arrive, and why. `ranges`: the bytes that could not be read, or differ, where known."""

    path: bytes
    state: ItemState
    reason: str
    operation: str
    errno: int
    advice: str
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RootReport:
    """What one destination got."""

    path: bytes
    uuid: str
    state: SessionState
    copies: dict[str, int]
    verify_method: dict[str, int]
    publish_method: dict[str, int]
    strategy: dict[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """A file that is not what a sum file on its card says of it. `read` is None where its size alone tells it."""

    path: bytes
    algorithm: str
    listed: bytes
    read: bytes | None


@dataclass(frozen=True, slots=True)
class ListReport:
    """What one sum file came to: `entries` are `matched`, differing, `missing` and `unchecked` together.

    Attributes:
        path: absolute. kind: as `media.sums.kind_of_list` says. differing: the first of them.
        missing: entries of what is not on the card; first_missing: one such path, below the source.
        unchecked: of files that did not arrive, or that were not read with the algorithm. problems: what in it could
            not be understood; problem: the first.
    """

    path: bytes
    kind: str
    entries: int
    matched: int
    differing: tuple[Difference, ...]
    differing_total: int
    missing: int
    first_missing: bytes | None
    unchecked: int
    problems: int
    problem: str | None


@dataclass(slots=True)
class SumsReport:
    """What all sum files of a session came to; `each` has the worst thousand of them, the worst first."""

    lists: int = 0
    entries: int = 0
    matched: int = 0
    differing: int = 0
    missing: int = 0
    unchecked: int = 0
    problems: int = 0
    each: tuple[ListReport, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionReport:
    """What a session did, so far.

    Attributes:
        items: by the keys of COUNTED. bytes: `discovered`, `read` (from sources), `copied`, `verified`, `resumed` (of
            those copied, what was there half-copied and proven, and not copied again; the last three summed over
            destinations; `copied` are those that arrived, be they written, cloned or linked). seconds: `total`, `scan` by the clock; `copy`, `validate` and
            `finalize` summed over workers, which work at the same time.
        failures: the first 100. problem: why the session as a whole did not go on.
        destinations: the card folders. excluded: what stayed behind by rule, by reason. sums: the sum files.
        verify_source: every file that was copied was read twice.
    """

    id: str
    state: SessionState
    exit_code: ExitCode
    items: dict[str, int]
    bytes: dict[str, int]
    seconds: dict[str, float]
    roots: tuple[RootReport, ...]
    manifests: tuple[builtins.bytes, ...]
    failures: tuple[Failure, ...]
    failures_total: int
    warnings: tuple[str, ...] = ()
    problem: str | None = None
    sources: tuple[builtins.bytes, ...] = ()
    destinations: tuple[builtins.bytes, ...] = ()
    excluded: dict[str, int] = field(default_factory=dict)
    sums: SumsReport = field(default_factory=SumsReport)
    verify_source: bool = False
