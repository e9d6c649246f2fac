"""What the user says of a place in the configuration: it wins over what the system tells, and loses to an option."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.storage.volumes import Storage, Volume


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds for a folder and everything below it; None where nothing is said.

    Attributes:
        path: absolute. buffer: bytes, a power of two from 4 KiB to 64 MiB. workers: processes.
    """

    path: bytes
    kind: Storage | None = None
    rotational: bool | None = None
    buffer: int | None = None
    workers: int | None = None


def ruled(volume: Volume, path: bytes, rules: Sequence[Rule]) -> Volume:
    """A volume as the deepest rule above a path (or at it) has it; a later one wins over an equal one.

    What decides whether bytes are safe (how they are flushed and read back) follows from the file system's type,
    which no rule changes.

    Args:
        path: absolute; it is judged as it is given, and without links. Rules are taken by their words: looking at
            their folders could hang, in a share that has nothing to do with this path.
    """
    ways = {path, os.path.realpath(path)}
    best: tuple[int, Rule] | None = None
    for rule in rules:
        above = rule.path.rstrip(b"/")
        inside = any(way == above or way.startswith(above + b"/") for way in ways)
        if inside and (best is None or len(above) >= best[0]):
            best = len(above), rule
    if best is None:
        return volume
    rule = best[1]
    return replace(
        volume,
        storage=rule.kind or volume.storage,
        rotational=volume.rotational if rule.rotational is None else rule.rotational,
        buffer=rule.buffer,
        workers=rule.workers,
    )
