"""Scan: what is on a source, item by item, nothing left out without a name for it.

Symbolic links are never followed. Named litter and what the user excluded become items in the state `excluded`,
links and special files `skipped`, what cannot be read, or has a time that cannot be held, `failed`: so that the books
close. A folder is read in
chunks, in the order of names within each, so that memory does not grow with it.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from ingest.media.kinds import is_litter, is_staging, kind_of, twin_of
from ingest.model.item import Folder, Item
from ingest.model.states import ItemState
from ingest.model.times import BEYOND, beyond, held

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.engine import Root
    from ingest.model.session import SourceFacts

CHUNK: Final = 10_000


@dataclass(frozen=True, slots=True)
class Filter:
    """What the user wants of a source: globs on the name or on the path below the source, whatever the case."""

    exclude: tuple[re.Pattern[str], ...]
    only: tuple[re.Pattern[str], ...]

    @classmethod
    def of(cls, exclude: Sequence[str], only: Sequence[str]) -> Filter:
        """Compile the globs of the command line."""
        return cls(_compiled(exclude), _compiled(only))

    def excludes(self, path: bytes) -> bool:
        """Whether an --exclude matches this file or folder."""
        return _matches(self.exclude, path)

    def leaves_out(self, path: bytes) -> bool:
        """Whether --only was given and this file is not meant by it."""
        return bool(self.only) and not _matches(self.only, path)


def _compiled(globs: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(fnmatch.translate(glob), re.IGNORECASE) for glob in globs)


def _matches(globs: tuple[re.Pattern[str], ...], path: bytes) -> bool:
    if not globs:
        return False
    text = os.fsdecode(path)
    name = text.rpartition("/")[2]
    return any(glob.match(name) or glob.match(text) for glob in globs)


@dataclass(frozen=True, slots=True)
class Found:
    """One chunk of a scan."""

    items: list[Item]
    folders: list[Folder]


def scan_source(root: Root, facts: SourceFacts, first: int, chosen: Filter) -> Iterator[Found]:
    """Everything of a source that was asked for: its tree, or its one file.

    Args:
        root: the source, pinned. first: the number of the next item.

    Raises:
        OSError: the source itself cannot be read, or is no longer there.
    """
    if facts.single is None:
        yield from scan(root, facts.number, first, chosen)
    else:
        yield Found([_only_file(root, facts.number, first, facts.single)], [])
    # A folder that was deleted under us reads as empty: that must not pass for an empty card.
    root.check()


def _only_file(root: Root, source: int, number: int, name: bytes) -> Item:
    """The one file that was named: an item also if it has gone since, or something else took its place."""
    (seen,) = root.lstat([name])
    if seen is None or isinstance(seen, OSError):
        return _unread(number, source, name, seen or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    mode, size, mtime, *_ = seen
    state, reason = ItemState.DISCOVERED, None
    if not stat.S_ISREG(mode):
        state, reason = ItemState.CHANGED, "no longer a file below the source"
    return _timed(Item(number, source, name, size, mtime, kind_of(name), state, reason))


def scan(root: Root, source: int, first: int, chosen: Filter, start: bytes = b"") -> Iterator[Found]:
    """Walk a tree.

    Args:
        root: the source, pinned. source: its index. first: the number of the next item. start: the folder to
            begin with.

    Raises:
        OSError: the source itself cannot be read.
    """
    number = first
    pending = [start]
    while pending:
        folder = pending.pop()
        try:
            descriptor = root.open_folder(folder)
        except OSError as error:
            if not folder:
                raise
            yield Found([_unread(number, source, folder, error)], [])
            number += 1
            continue
        try:
            inside: list[bytes] = []
            with os.scandir(descriptor) as entries:
                while chunk := sorted(islice(entries, CHUNK), key=lambda entry: entry.name):
                    items = []
                    for entry in chunk:
                        name = os.fsencode(entry.name)
                        path = folder + b"/" + name if folder else name
                        item = _look(entry, number, source, path, descriptor, chosen)
                        if item is None:
                            inside.append(path)
                        else:
                            items.append(item)
                            number += 1
                    yield Found(items, [])
            yield Found([], [Folder(source, folder, held(os.fstat(descriptor).st_mtime_ns))])
        except OSError as error:
            if not folder:
                raise
            yield Found([_unread(number, source, folder, error)], [])
            number += 1
        finally:
            os.close(descriptor)
        pending += reversed(inside)


def _look(entry: os.DirEntry[str], number: int, source: int, path: bytes, folder: int, chosen: Filter) -> Item | None:
    """The item that an entry is; None for a folder to walk into."""
    parent, _, name = path.rpartition(b"/")
    kind = kind_of(name)
    try:
        facts = entry.stat(follow_symlinks=False)
    except OSError as error:
        return _unread(number, source, path, error)

    def ended(state: ItemState, reason: str) -> Item:
        size = facts.st_size if stat.S_ISREG(facts.st_mode) else 0
        return _timed(Item(number, source, path, size, facts.st_mtime_ns, kind, state, reason))

    if is_litter(name) or is_staging(parent, name):
        return ended(ItemState.EXCLUDED, "litter")
    if chosen.excludes(path):
        return ended(ItemState.EXCLUDED, "--exclude")
    if stat.S_ISDIR(facts.st_mode):
        return None
    if stat.S_ISLNK(facts.st_mode):
        return ended(ItemState.SKIPPED, "symlink")
    if not stat.S_ISREG(facts.st_mode):
        return ended(ItemState.SKIPPED, "special")
    twin = twin_of(name)
    if twin is not None and _exists(twin, folder):
        return ended(ItemState.EXCLUDED, "litter")
    if chosen.leaves_out(path):
        return ended(ItemState.EXCLUDED, "--only")
    return _timed(Item(number, source, path, facts.st_size, facts.st_mtime_ns, kind, ItemState.DISCOVERED))


def _timed(item: Item) -> Item:
    """The item; if it is to be copied and has a time that no manifest can hold, as one that failed."""
    if not beyond(item.mtime_ns):
        return item
    # Of what stays behind anyway nobody wants the time.
    failed = item.state is ItemState.DISCOVERED
    state, reason = (ItemState.FAILED, BEYOND) if failed else (item.state, item.reason)
    return replace(item, mtime_ns=held(item.mtime_ns), state=state, reason=reason)


def _exists(name: bytes, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _unread(number: int, source: int, path: bytes, error: OSError) -> Item:
    """What cannot even be looked at is an item that failed: it must not be missed."""
    state = ItemState.REMOVED if isinstance(error, FileNotFoundError) else ItemState.FAILED
    reason = "permission" if isinstance(error, PermissionError) else "io"
    return Item(
        number,
        source,
        path,
        0,
        0,
        kind_of(path.rpartition(b"/")[2]),
        state,
        None if state is ItemState.REMOVED else reason,
        error.errno or 0,
    )
