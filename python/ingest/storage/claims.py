"""Claims: which card a folder of a root is being filled with, so that two sessions never fill one with two cards.

The survey knows a card's folder by what is in it; two that begin at the same moment both see nothing. So whoever chooses
a folder first puts its claim, ``.ingest/claims/<folder>``, by making a file that must not be there yet. It goes with its
session; as long as that can be resumed it stands. Nothing is lost without it: two cards in one folder keep every file,
some of them under ``_1``.
"""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.storage.deposit import open_folders
from ingest.storage.leases import machine
from ingest.storage.marker import INTERNAL, names_in
from ingest.storage.volumes import mounts, place_of

if TYPE_CHECKING:
    from ingest.engine import Root

CLAIMS: Final = INTERNAL + b"/claims"
# A claim is written just after it was made: who finds it empty waits for so long (seconds), then it is nobody's.
MOMENT: Final = 1.0
TICK: Final = 0.02
_LONGEST: Final = 4096


@dataclass(frozen=True, slots=True)
class Claim:
    """Who fills a folder, and with what.

    Attributes:
        session: its UUID. place: the folder that is copied (`card_place`).
        likeness: how many files it holds, and of which sizes and times in sum: the same card in another machine.
    """

    session: str
    place: str
    likeness: str

    def same_card(self, other: Claim) -> bool:
        """Whether both are of one card."""
        return self.place == other.place or self.likeness == other.likeness


def card_place(root: Root, fs_uuid: str | None) -> str:
    """The folder that is copied, as it is known again after a replug, a restart, and on another machine.

    That is by its file system's UUID and the path within it: inodes are made up by some file systems, and so are
    device numbers. Without a UUID it is known to this boot of this machine only.
    """
    table = mounts()
    if fs_uuid is None or not table:
        return f"{machine()} {root.dev} {root.ino}"
    _, within = place_of(root.path, table)
    # Its digest, because a claim is short, and a path need not be text.
    return f"{fs_uuid} {engine.blake3(within).hex()}"


def claim(root: Root, folder: bytes, ours: Claim) -> Claim | None:
    """Claim a folder; the claim of another session that stands there, None if it is ours now.

    Raises:
        OSError: it cannot be written, or not be read.
    """
    try:
        descriptor = root.open_folder(CLAIMS)
    except FileNotFoundError:
        descriptor = open_folders(root, CLAIMS)  # flushed, too: only the first time
    try:
        limit = time.monotonic() + MOMENT
        while True:
            if _make(descriptor, folder, ours):
                return None
            stands = _read(descriptor, folder)
            if stands is not None:
                return None if stands.session == ours.session else stands
            if time.monotonic() > limit:
                with suppress(FileNotFoundError):
                    os.unlink(folder, dir_fd=descriptor)
            time.sleep(TICK)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Standing:
    """A claim that stands on a root: on which folder, whose it is (UUID), and when it was made, by the root's clock (ns)."""

    folder: bytes
    session: str
    made: int


def claims_on(root: Root) -> list[Standing]:
    """Every claim on a root that says whose it is.

    Raises:
        IngestError, OSError: they cannot be listed.
    """
    names = sorted(names_in(root, CLAIMS))
    if not names:
        return []
    found = []
    try:
        descriptor = root.open_folder(CLAIMS)
    except FileNotFoundError:
        return []
    try:
        for name in names:
            with suppress(OSError):  # it went just now; or it cannot be read, and then whose is it?
                made = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_ctime_ns
                stands = _read(descriptor, name)
                if stands is not None:
                    found.append(Standing(name, stands.session, made))
    finally:
        os.close(descriptor)
    return found


def release(root: Root, session: str, folder: bytes | None = None) -> None:
    """Take back a session's claims on a root, or that on one folder.

    Raises:
        IngestError, OSError: they cannot be removed.
    """
    names = names_in(root, CLAIMS) if folder is None else [folder]
    if not names:
        return
    try:
        descriptor = root.open_folder(CLAIMS)
    except FileNotFoundError:
        return
    try:
        for name in names:
            stands = _read(descriptor, name)
            if stands is not None and stands.session == session:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _make(descriptor: int, folder: bytes, ours: Claim) -> bool:
    try:
        file = os.open(
            folder, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=descriptor
        )
    except FileExistsError:
        return False
    data = json.dumps(asdict(ours)).encode("ascii")
    whole = False
    try:
        whole = os.write(file, data) == len(data)
    finally:
        os.close(file)
        if not whole:
            with suppress(OSError):
                os.unlink(folder, dir_fd=descriptor)
    if not whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return True


def _read(descriptor: int, folder: bytes) -> Claim | None:
    """A claim, None if it is gone, or not (yet) one."""
    try:
        file = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=descriptor)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb") as stream:
        data = stream.read(_LONGEST)
    try:
        told = json.loads(data)
        return Claim(str(told["session"]), str(told["place"]), str(told["likeness"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
