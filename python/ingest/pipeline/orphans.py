"""Orphans: what sessions that cannot be asked any more left on a root, in staging and as claims, and when it may go.

A session clears its own staging, and needs what is in it: what lies there of one that was killed, or paused, is gone on
with by `ingest resume` where it was begun, in the folder that it claims. Where that journal is lost nobody will (`ingest
clear`). Then it is cleared when the user asks for it, and only if nobody can be at work on it: its lease, its claims, and
every file in its staging stood still while they were watched, and nothing was written there for days. Nothing is lost
with it that is not on the card: what was proven and had a name is not in staging.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from ingest.errors import CancelledError, from_os_error
from ingest.storage.claims import CLAIMS, Standing, claims_on, release
from ingest.storage.deposit import open_folders
from ingest.storage.leases import EVERY, Observer, Seen, leases_on, remove_lease, stale
from ingest.storage.marker import PROBE, STAGING, names_in, staging_folder
from ingest.storage.roots import clear_staging

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ingest import engine

# Younger ones may well be gone on with: another machine was switched off for a weekend, a card is on its way back.
DAYS: Final = 7.0
# How often they are looked at while they are watched (seconds).
LOOK: Final = 1.0
# How sessions name their folders in staging; those of repairs have other names, and are theirs to clear.
_FOLDER: Final = re.compile(rb"[0-9a-f]{8}")
_SESSION: Final = re.compile(r"[0-9a-f]{8}-")


@dataclass(frozen=True, slots=True)
class Left:
    """What a session has on a root beside what has its name.

    Attributes:
        session: the first 8 digits of its id. files, size: how many are in its staging, and their bytes.
        written: when something was last written there, by the root's clock (ns since the epoch).
        state: names, sizes and times: it changes while somebody works there. lease: the session's, if it has one.
        claims: on card folders.
    """

    session: str
    files: int
    size: int
    written: int
    state: tuple[tuple[bytes, int, int], ...]
    lease: Seen | None
    claims: tuple[Standing, ...] = ()

    @property
    def holder(self) -> str:
        """Who holds, or held it, as far as its lease tells."""
        return self.lease.holder if self.lease is not None else "a process that left no word"

    @property
    def patience(self) -> float:
        """For how many seconds it has to be watched, before it is known to stand still."""
        return 2 * (self.lease.every if self.lease is not None else EVERY)

    @property
    def dead(self) -> bool:
        """Its process is known to have ended, without watching."""
        return self.lease is not None and stale(self.lease, 0.0)


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was cleared from a root, and what was kept, with the reason."""

    root: bytes
    cleared: tuple[Left, ...]
    kept: tuple[tuple[Left, str], ...]


def left_on(root: engine.Root) -> list[Left]:
    """What sessions have in a root's staging now, and claim there, whoever's they are.

    Raises:
        IngestError: it cannot be read.
    """
    leases = {seen.session[:8]: seen for seen in leases_on(root)}
    claims: dict[str, list[Standing]] = {}
    try:
        for claim in claims_on(root):
            # Only what begins as a session's id does, since staging is looked for under that name.
            if _SESSION.match(claim.session):
                claims.setdefault(claim.session[:8], []).append(claim)
    except OSError as error:
        raise from_os_error(error, "read", root.path + b"/" + CLAIMS) from error
    shorts = {name.decode("ascii") for name in names_in(root, STAGING) if _FOLDER.fullmatch(name)}
    return [_left(root, short, leases.get(short), claims.get(short, [])) for short in sorted(shorts | claims.keys())]


def _left(root: engine.Root, short: str, lease: Seen | None, claims: Sequence[Standing]) -> Left:
    where = root.path + b"/" + staging_folder(short)
    found: list[tuple[bytes, int, int]] = []
    written = 0
    try:
        folder = root.open_folder(staging_folder(short))
        try:
            written = os.fstat(folder).st_mtime_ns
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):  # it got its name, or was cleared, while we looked
                        facts = entry.stat(follow_symlinks=False)
                        # Not the time of its bytes: a whole one bears its source's.
                        found.append((os.fsencode(entry.name), facts.st_size, facts.st_ctime_ns))
        finally:
            os.close(folder)
    except FileNotFoundError:
        pass  # its session has just ended, or has nothing but claims
    except OSError as error:
        raise from_os_error(error, "read", where) from error
    files, size = len(found), sum(size for _, size, _ in found)
    found += [(CLAIMS + b"/" + claim.folder, 0, claim.made) for claim in claims]
    newest = max([written, *(changed for _, _, changed in found)])
    return Left(short, files, size, newest, tuple(sorted(found)), lease, tuple(claims))


def clear_orphans(
    root: engine.Root,
    own: Mapping[str, bool],
    tell: Callable[[str], None],
    stopped: Callable[[], bool],
    days: float = DAYS,
) -> Cleared:
    """Clear away what sessions left that nobody can be at work on.

    Args:
        own: the sessions of this journal, by the first 8 digits of their ids, and whether each is over. Those that
            are not are left to `ingest resume`.
        tell: told what is being waited for. stopped: asked often; True ends it.
        days: nothing was written there for so long.

    Raises:
        CancelledError: the user asked to stop. IngestError: the root cannot be read, or not be cleared.
    """
    now = _clock(root)
    kept: list[tuple[Left, str]] = []
    wanted: dict[str, Left] = {}
    for left in left_on(root):
        if own.get(left.session) is False:
            kept.append((left, "it can be gone on with here: ingest resume"))
        elif left.session not in own and now - left.written < days * 86_400e9:
            kept.append((left, f"something was written there less than {days:g} days ago"))
        else:
            wanted[left.session] = left
    patience = max((left.patience for left in wanted.values() if not _settled(left, own)), default=0.0)
    if patience:
        tell(f"looking for {patience:.0f} s whether somebody works on what is left there")
    still = _watch(root, wanted, own, stopped)
    for session, left in wanted.items():
        if session not in still:
            kept.append((left, f"{left.holder} works there"))
    for left in list(still.values()):
        # Others had to be watched for longer: in the meantime its session may have been taken up again.
        now_there = {each.session: each for each in left_on(root)}.get(left.session)
        if now_there is None or (now_there.state, now_there.lease) != (left.state, left.lease):
            kept.append((left, "somebody went on with it meanwhile"))
            del still[left.session]
            continue
        clear_staging(root, left.session, set())
        if left.lease is not None:
            remove_lease(root, left.lease.session)
        for claim in left.claims:
            try:
                release(root, claim.session, claim.folder)
            except OSError as error:
                raise from_os_error(error, "unlink", root.path + b"/" + CLAIMS + b"/" + claim.folder) from error
    return Cleared(root.path, tuple(still.values()), tuple(kept))


def _settled(left: Left, own: Mapping[str, bool]) -> bool:
    """Whether it is known without watching that nobody works there."""
    return left.dead or left.session in own


def _watch(
    root: engine.Root, wanted: Mapping[str, Left], own: Mapping[str, bool], stopped: Callable[[], bool]
) -> dict[str, Left]:
    """Those of `wanted` that stand still for as long as it takes to know."""
    observer, still, left_to_know = Observer(), {}, set(wanted)
    while left_to_know:
        seen = {left.session: left for left in left_on(root)}
        for session in sorted(left_to_know):
            left = seen.get(session)
            before = wanted[session]
            if left is None or left.state != before.state or left.lease != before.lease:
                left_to_know.discard(session)  # somebody works there, or just has
            elif _settled(left, own) or observer.see(session, left.state, time.monotonic()) >= left.patience:
                left_to_know.discard(session)
                still[session] = left
        if left_to_know:
            if stopped():
                raise CancelledError("stopped; nothing was cleared", path=root.path, operation="clear")
            time.sleep(LOOK)
    return still


def _clock(root: engine.Root) -> int:
    """The time on the root's own clock, by which its files are dated (ns since the epoch).

    Raises:
        IngestError: nothing can be written there.
    """
    name = PROBE + token_hex(8).encode("ascii") + b".part"
    try:
        folder = open_folders(root, STAGING)
        try:
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
            try:
                return os.fstat(file).st_mtime_ns
            finally:
                os.close(file)
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise from_os_error(error, "write", root.path + b"/" + STAGING) from error
