"""What a fault means for the copy it befell: one table, so that every failure path can be read in one place."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from ingest.errors import NO_SPACE, TRANSIENT
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from ingest.engine import Failed


class Step(Enum):
    """What happens next to the copy."""

    END = auto()
    RETRY = auto()
    WAIT_MOMENT = auto()
    WAIT_SPACE = auto()
    WAIT_ROOT = auto()
    CANCELLED = auto()


@dataclass(frozen=True, slots=True)
class Judgement:
    """The next step; for END the state and the reason to write down."""

    step: Step
    state: ItemState = ItemState.FAILED
    reason: str | None = None


# Two mismatches of one copy are no accident (the specification's section 3).
MISMATCHES: Final = 2
# What is not known to pass by itself gets one more chance, at once.
TRIES: Final = 2

_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})
# Names that this file system cannot hold: too long, not its characters.
_NAMES: Final = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
_NAMING: Final = frozenset({"rename", "link", "mkdir"})
# A link or a mount inside the folder, where the way must not lead.
_OUTSIDE: Final = frozenset({errno.ELOOP, errno.EXDEV})


def judge_source(fault: Failed, attempts: int) -> Judgement:
    """What a fault on the source's side means for every copy of the item. `attempts` counts this one.

    An error that may pass is never an end here: how often it is tried again is for `pipeline.patience`, which first
    hears whether the place itself is still there.
    """
    match fault.kind:
        case "cancelled":
            return Judgement(Step.CANCELLED)
        case "changed":
            when = "changed since the scan" if fault.operation == "open" else "changed while it was read"
            return Judgement(Step.END, ItemState.CHANGED, when)
        case "unstable":
            return Judgement(Step.END, ItemState.CHANGED, "source_reads_differently")
        case "crashed" | "stalled":
            return Judgement(Step.END, ItemState.FAILED, fault.kind)
    if fault.errno == errno.ENOENT:
        return Judgement(Step.END, ItemState.REMOVED, "gone from the source")
    if fault.errno in _DENIED:
        return Judgement(Step.END, ItemState.FAILED, "permission")
    # EINVAL is the engine's own word for a name that leads to something else than a file.
    another_thing = fault.errno in (errno.ENOTDIR, errno.EISDIR) or (fault.operation, fault.errno) == (
        "open",
        errno.EINVAL,
    )
    if fault.errno in _OUTSIDE or another_thing:
        return Judgement(Step.END, ItemState.CHANGED, "no longer a file below the source")
    return _device(fault, attempts)


def judge_root(fault: Failed, attempts: int) -> Judgement:
    """What a fault on a root's side means for its copy. `attempts` counts this one."""
    match fault.kind:
        case "cancelled":
            return Judgement(Step.CANCELLED)
        case "changed" | "unstable" | "crashed" | "stalled":
            return judge_source(fault, attempts)
        case "mismatch":
            again = attempts < MISMATCHES
            return Judgement(Step.RETRY) if again else Judgement(Step.END, ItemState.FAILED, "corrupt_destination")
    if fault.errno in NO_SPACE:
        return Judgement(Step.WAIT_SPACE)
    if fault.errno == errno.EROFS:
        # Not this file's fault: the whole root takes nothing any more, perhaps until it is mounted anew.
        return Judgement(Step.WAIT_ROOT)
    if fault.errno in _DENIED:
        return Judgement(Step.END, ItemState.FAILED, "permission")
    if fault.errno in _NAMES:
        return Judgement(Step.END, ItemState.FAILED, "name")
    if fault.errno in _OUTSIDE:
        return Judgement(Step.END, ItemState.FAILED, "outside_root")
    if fault.errno == errno.ENOTDIR:
        return Judgement(Step.END, ItemState.FAILED, "folder_is_a_file")
    if fault.errno == errno.EEXIST:
        return Judgement(Step.END, ItemState.FAILED, "taken")
    if fault.errno == errno.ENOENT and fault.operation in _NAMING and attempts >= TRIES:
        # What was to get the name is there, and its folder: so says exFAT's FUSE driver of a name it cannot hold.
        return Judgement(Step.END, ItemState.FAILED, "name")
    return _device(fault, attempts)


def _device(fault: Failed, attempts: int) -> Judgement:
    """An error of a device, a connection, or nothing that is known."""
    if fault.errno in TRANSIENT:
        return Judgement(Step.WAIT_MOMENT)
    return Judgement(Step.RETRY) if attempts < TRIES else FAILED


FAILED: Final = Judgement(Step.END, ItemState.FAILED, "io")
