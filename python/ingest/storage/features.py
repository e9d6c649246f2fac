"""What a root can do, found by trying: no table of file systems is believed.

Everything is tried with small files of our own in the root's staging folder, which are gone again afterwards; nothing
is remembered, since a root may be mounted otherwise the next time.
"""

from __future__ import annotations

import errno
import mmap
import os
import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from ingest import engine
from ingest.errors import IngestError
from ingest.model.options import Strategy
from ingest.storage.deposit import deposit
from ingest.storage.marker import INTERNAL, PROBE, STAGING, names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.engine import Root

_Answer = TypeVar("_Answer")

SHARED: Final = {Strategy.REFLINK: "clones", Strategy.HARDLINK: "hard links"}
# Enough to have blocks of its own on every file system: btrfs keeps less than a page in its tree.
_PROBE_BYTES: Final = 64 << 10
# Another session that opens this root clears away what it takes for a leftover.
_TRIES: Final = 2
# What a name of ours ends in, so that it is known for a leftover (`marker.clear_leftovers`).
_END: Final = b".part"
# No file system that Linux or macOS mounts takes a longer name (NAME_MAX is 255 bytes; APFS: 255 characters of up to 4).
_LONGEST: Final = 1024
# Direct reads are aligned to a device's sector, at most this.
_SECTOR: Final = 4096


@dataclass(frozen=True, slots=True)
class Feature:
    """Whether something works: None where that could not be found out. `why` says what was answered, if not yes."""

    there: bool | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Features:
    """What a root can do.

    Attributes:
        no_replace: a rename that never replaces a name; `publish` is how names are given: `noreplace`, `link` or
            `unguarded`. direct: reads past the page cache (O_DIRECT).
        ignores_case: names that differ only in case are one name.
        longest_name: in ASCII characters. by_characters: other characters count as one each, not as their bytes.
    """

    reflink: Feature
    hard_links: Feature
    xattr: Feature
    no_replace: Feature
    direct: Feature
    ignores_case: Feature
    longest_name: int | None
    by_characters: bool | None
    publish: str | None


def ignores_case(root: Root) -> Feature:
    """Whether names that differ only in case are one name, right below an archive; asked without writing anything.

    Of the very folder, since ext4 and f2fs decide it folder by folder.
    """
    ours, other = root.lstat([INTERNAL, INTERNAL.swapcase()])
    for seen in (ours, other):
        if isinstance(seen, OSError):
            return Feature(None, os.strerror(seen.errno or 0))
    if ours is None:
        return Feature(None, "it is no archive")
    if other is None:
        return Feature(False)
    # Not by inode: FUSE may number one thing twice.
    try:
        return Feature(INTERNAL.swapcase() not in names_in(root, b""))
    except IngestError as error:
        return Feature(None, error.cause)


def probe(root: Root) -> Features:
    """Try everything on a root that carries a marker. What an error keeps from being tried is told as unknown."""
    case = ignores_case(root)
    stem = STAGING + b"/" + PROBE + uuid.uuid4().hex[:8].encode()
    path = stem + _END
    try:
        try:
            deposit(root, path, stem + b"-1" + _END, bytes(_PROBE_BYTES))
        except IngestError as error:
            unknown = Feature(None, error.cause)
            return Features(unknown, unknown, unknown, unknown, unknown, case, None, None, None)
        no_replace, publish = _no_replace(root, stem)
        longest = _guarded(lambda: _longest(root))
        wide = None if longest is None else _guarded(lambda: _takes(root, longest, "é"))
        return Features(
            _reflink(root), _tried(lambda: _hard_links(root, path, stem + b"-2" + _END)), _tried(lambda: _xattr(root, path)),
            no_replace, _tried(lambda: _direct(root, path)), case, longest, wide, publish,
        )  # fmt: skip
    finally:
        engine.discard(root, [stem + end + _END for end in (b"", b"-1", b"-2", b"-3")])


def _tried(attempt: Callable[[], Feature]) -> Feature:
    try:
        return attempt()
    except OSError as error:
        refused = error.errno in (errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY)
        return Feature(False if refused else None, os.strerror(error.errno or 0))


def _guarded(attempt: Callable[[], _Answer]) -> _Answer | None:
    try:
        return attempt()
    except OSError:
        return None  # it cannot be found out, which is what None says


def cannot_share(root: Root, strategy: Strategy) -> str | None:
    """Share a file of our own in a root's staging; why it could not be, or None.

    Raises:
        IngestError: the root cannot be written.
    """
    why = None
    for _ in range(_TRIES):
        stem = STAGING + b"/" + PROBE + uuid.uuid4().hex[:8].encode()
        path, copy = stem + _END, stem + b"-2" + _END
        try:
            deposit(root, path, stem + b"-1" + _END, os.urandom(_PROBE_BYTES))
            (seen,) = root.lstat([path])
            if not isinstance(seen, tuple):
                continue
            _, size, mtime, *_ = seen
            staged = engine.stage(root, [root], [0], [path], [size], [mtime], [[copy]], strategy=str(strategy))
            ((_, _, _, (made,), faults),) = staged[5]
            fault = staged[4].get(0) or faults.get(0)
        finally:
            engine.discard(root, [path, copy])
        if fault is None:
            return None if made == strategy else f"its file system makes no {SHARED[strategy]}"
        why = f"no {SHARED[strategy]} could be made there ({engine.failed(fault).detail})"
    return why or f"no {SHARED[strategy]} could be made there"


def _reflink(root: Root) -> Feature:
    try:
        why = cannot_share(root, Strategy.REFLINK)
    except IngestError as error:
        return Feature(None, error.cause)
    return Feature(why is None, why or "")


def _hard_links(root: Root, path: bytes, second: bytes) -> Feature:
    folder = root.open_folder(STAGING)
    try:
        names = [each.rpartition(b"/")[2] for each in (path, second)]
        os.link(*names, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        one, other = (os.stat(name, dir_fd=folder, follow_symlinks=False) for name in names)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        return Feature(False, os.strerror(errno.EPERM))  # what link(2) says where there are none
    finally:
        os.close(folder)
        engine.discard(root, [second])
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        return Feature(True)
    # As sshfs has it. Such a link serves to give a name, and proves nothing.
    return Feature(True, "but they cannot be told for one file, so copies are not made by --strategy hardlink")


def _no_replace(root: Root, stem: bytes) -> tuple[Feature, str | None]:
    """Give a second file of ours a name, and then the taken one: that must fail."""
    first, second, third = stem + b"-2" + _END, stem + b"-3" + _END, stem + _END
    try:
        deposit(root, first, stem + b"-1" + _END, b"2")
    except IngestError as error:
        return Feature(None, error.cause), None
    (method,), faults = engine.publish(root, [first], [second])
    if method is None:
        return Feature(None, engine.failed(faults[0]).detail), None
    _, refused = engine.publish(root, [second], [third])
    if not refused or engine.failed(refused[0]).errno != errno.EEXIST:
        return Feature(False, "a taken name was replaced"), method
    return Feature(method == "noreplace", "" if method == "noreplace" else "renames there know no such thing"), method


@contextmanager
def _opened(root: Root, path: bytes, flags: int) -> Iterator[int]:
    folder, _, name = path.rpartition(b"/")
    descriptor = root.open_folder(folder)
    try:
        file = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    try:
        yield file
    finally:
        os.close(file)


def _xattr(root: Root, path: bytes) -> Feature:
    if not hasattr(os, "setxattr"):
        return Feature(None, "this system is not asked")
    with _opened(root, path, os.O_RDWR) as file:
        os.setxattr(file, b"user.ingest.probe", b"1")
        kept = os.getxattr(file, b"user.ingest.probe") == b"1"
    return Feature(kept, "" if kept else "it is accepted and not kept")


def _direct(root: Root, path: bytes) -> Feature:
    if not hasattr(os, "O_DIRECT"):
        return Feature(None, "this system is not asked")
    with _opened(root, path, os.O_RDONLY | os.O_DIRECT) as file, closing(mmap.mmap(-1, _SECTOR)) as page:
        return Feature(os.preadv(file, [page], 0) == _SECTOR)


def _longest(root: Root) -> int | None:
    """The longest name of ASCII characters, by bisection; None if short ones are refused, too.

    Drivers give many reasons for a name that is too long (exFAT's ENOENT, sshfs EPERM or EIO), so any refusal counts,
    as long as a name that fits is still taken afterwards.
    """
    fits, too_long = 0, _LONGEST + 1
    for length in (255, 256, 32):  # nearly every file system's answer, in two tries
        if _takes(root, length, "n"):
            fits = max(fits, length)
        else:
            too_long = min(too_long, length)
    if fits == 0:
        return None
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        fits, too_long = (middle, too_long) if _takes(root, middle, "n") else (fits, middle)
    return fits if _takes(root, fits, "n") else None


def _takes(root: Root, length: int, character: str) -> bool:
    """Whether a name of so many characters can be made.

    Raises:
        OSError: the staging folder cannot be opened.
    """
    name = PROBE + uuid.uuid4().hex[:8].encode()
    name += character.encode() * (length - len(name) - len(_END)) + _END
    folder = root.open_folder(STAGING)
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder))
    except OSError:
        return False
    finally:
        os.close(folder)
    engine.discard(root, [STAGING + b"/" + name])
    return True
