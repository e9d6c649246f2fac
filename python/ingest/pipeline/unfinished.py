"""Unfinished repairs: what one left that was killed, or lost its power, between two names.

Three names are looked at, and what each leads to is read from the device: only content decides what has happened and
what is left to do. Nothing is removed that is not proven to be there under its name as well.

Promises: after :func:`finish` the name leads to the proven new file, or to what it led to before; the damaged file is
in quarantine or under its name, never lost.
"""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest import engine
from ingest.errors import CancelledError, from_os_error
from ingest.pipeline.intents import claimed, staging_of, tidy
from ingest.storage.roots import clear_staging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.pipeline.intents import Intent


@dataclass(frozen=True, slots=True)
class Finished:
    """An intent, and what became of it.

    Attributes:
        verify_method: how the new file was read back, None if it does not have the name.
        how: by what it got its name just now; None if it had it, or does not have it.
        slot: the damaged file is in its place of quarantine.
        trouble: why it could not be finished; the intent stands.
    """

    intent: Intent
    verify_method: str | None = None
    how: str | None = None
    slot: bool = False
    trouble: str | None = None


def finish(root: engine.Root, intent: Intent, page: engine.Page) -> Finished:
    """Take up one intent.

    Raises:
        IngestError: the root cannot be looked at. CancelledError: the page said so.
    """
    here, new, away = _look(root, [intent.path, intent.staging, intent.slot])
    method = _right(root, intent, intent.path, here, page)
    if method is not None:
        fault = _tidy(root, intent, here, new, away)
    elif (method := _right(root, intent, intent.staging, new, page)) is not None:
        how, fault = _give(root, intent, here)
        if fault is None:
            return Finished(intent, method, how, slot=_look(root, [intent.slot])[0] is not None)
    else:
        fault = _undo(root, intent, here, new, away)
    if fault is not None:
        failure = engine.failed(fault)
        return Finished(intent, trouble=f"an interrupted repair cannot be finished: {failure.detail}")
    return Finished(intent, method, slot=_look(root, [intent.slot])[0] is not None)


def clear(root: engine.Root, kept: Sequence[Intent]) -> None:
    """Remove what repairs that have ended were building, but for what intents that stand speak of.

    Raises:
        IngestError: it cannot be removed.
    """
    for session in claimed(root):
        # The folder that names it goes last: until then another repair can finish this.
        clear_staging(root, session, set())
        clear_staging(root, staging_of(session), {intent.staging for intent in kept})
    tidy(root)


def _look(root: engine.Root, paths: list[bytes]) -> list[engine.Identity | None]:
    found: list[engine.Identity | None] = []
    for path, stands in zip(paths, root.lstat(paths), strict=True):
        if isinstance(stands, OSError):
            raise from_os_error(stands, "stat", root.path + b"/" + path)
        found.append(stands)
    return found


def _right(
    root: engine.Root, intent: Intent, path: bytes, stands: engine.Identity | None, page: engine.Page
) -> str | None:
    """How a name was read back that leads to the new file's content; None if it does not."""
    if stands is None or not stat.S_ISREG(stands[0]) or stands[1] != intent.size:
        return None
    ((digest, _, _, method, fault),) = engine.prove(root, [path], cold=True, page=page)
    if fault is not None and engine.failed(fault).kind == "cancelled":
        raise CancelledError("cancelled", operation="repair", advice="To go on: ingest repair")
    return method if digest == intent.blake3 else None


def _tidy(
    root: engine.Root,
    intent: Intent,
    here: engine.Identity | None,
    new: engine.Identity | None,
    away: engine.Identity | None,
) -> engine.Fault | None:
    """The name is right: what else there is goes where it belongs, and the names are made durable."""
    if new is not None and same_file(new, here):
        # A second name of the new file. With a single link a power cut has cut off the count: then it stays.
        if new[5] >= 2:
            (fault,) = engine.discard(root, [intent.staging])
            if fault is not None:
                return fault
    elif new is not None and (away is None or same_file(new, away)):
        fault = engine.publish(root, [intent.staging], [intent.slot])[1].get(0)
        if fault is not None:
            return fault
    stand = [path for path, at in zip((intent.path, intent.slot), (here, away), strict=True) if at is not None]
    return next((fault for fault in engine.settle(root, stand) if fault is not None), None)


def _give(root: engine.Root, intent: Intent, here: engine.Identity | None) -> tuple[str | None, engine.Fault | None]:
    """The new file is there and does not have the name yet."""
    if here is None:
        (how,), faults = engine.publish(root, [intent.staging], [intent.path])
        return how, faults.get(0)
    if not stat.S_ISREG(here[0]):
        detail = "something that is no file stands in its place"
        return None, ("changed", "exchange", 0, root.path + b"/" + intent.path, detail, [])
    return engine.exchange(root, intent.staging, intent.path, intent.slot, here)


def _undo(
    root: engine.Root,
    intent: Intent,
    here: engine.Identity | None,
    new: engine.Identity | None,
    away: engine.Identity | None,
) -> engine.Fault | None:
    """There is no new file: the damaged one, wherever it is, gets its name back, and the repair begins anew."""
    for path, stands in ((intent.slot, away), (intent.staging, new)):
        if stands is None or same_file(stands, here):
            continue
        to = intent.path if here is None else intent.slot
        if path == to:
            continue
        fault = engine.publish(root, [path], [to])[1].get(0)
        # What is in the way was not put there by this repair, or is damage as well: both stay where they are. From
        # staging it would be cleared, once nothing speaks of it any more: then the repair is not over.
        if fault is not None and (path == intent.staging or engine.failed(fault).errno != errno.EEXIST):
            return fault
        here = here or stands
    return None


def same_file(one: engine.Identity | OSError | None, other: engine.Identity | OSError | None) -> bool:
    """Whether both were looked at and are one file; where a file system has no inode numbers nobody can tell."""
    return isinstance(one, tuple) and isinstance(other, tuple) and one[3:5] == other[3:5] and one[4] != 0
