"""Intents: what a repair is about to do with three names, on the disk before it does it.

`.ingest/repair/<session8>-<number>.json` says which staging file is to have which name, and where the damaged file
goes. It stands until the manifest tells of the repair. So whatever ends the process in between, the next repair knows
what each name should lead to, and finishes it: a name that has to be empty for a moment is never left empty.

Promises: an intent is durable when :func:`note` returns. What an intent says is a claim: only content is believed.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import re
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ingest import engine
from ingest.errors import ManifestError, PausedError, from_os_error
from ingest.manifest.files import read_file
from ingest.manifest.names import below
from ingest.storage.deposit import deposit
from ingest.storage.marker import INTERNAL, STAGING, names_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER: Final = INTERNAL + b"/repair"
QUARANTINE: Final = INTERNAL + b"/quarantine"
VERSION: Final = 1

_ASTRAY: Final = (
    "Look at the files that it may speak of, below .ingest/staging and .ingest/quarantine, then move it away"
)
# Names of staging folders: no session of another kind has such a one.
_STAGING: Final = b"repair-"
_CLAIM: Final = re.compile(rb"repair-([0-9a-f]{8})")
# What flock says where there are no locks.
_LOCKLESS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF})


@dataclass(frozen=True, slots=True)
class Intent:
    """A proven file that is to take a damaged one's place.

    Attributes:
        session: the repair's, UUID. number: counts from 1 in it.
        path, staging, slot: below the root: the name, the new file, the place of the damaged one.
        size, blake3: of the new file. reason: what was wrong. strategy: how the new file's bytes came together; empty
            until it is built.
    """

    session: str
    number: int
    path: bytes
    staging: bytes
    slot: bytes
    size: int
    blake3: bytes
    reason: str
    strategy: str = ""

    @property
    def file(self) -> bytes:
        """Where it is noted, below the root."""
        return b"%s/%s-%04d.json" % (FOLDER, short(self.session).encode("ascii"), self.number)


def short(session: str) -> str:
    """Eight characters that name a session in folders."""
    return session.replace("-", "")[:8]


def staging_of(session: str) -> str:
    """The name of a repair's staging folder."""
    return _STAGING.decode("ascii") + short(session)


def intend(session: str, number: int, path: bytes, *, size: int, blake3: bytes, reason: str) -> Intent:
    """The intent for one file of a repair, which is still to be built."""
    staging = b"%s/%s/%d.part" % (STAGING, staging_of(session).encode("ascii"), number)
    slot = b"%s/%s/%s" % (QUARANTINE, short(session).encode("ascii"), path)
    return Intent(session, number, path, staging, slot, size, blake3, reason)


def finished_reason(intent: Intent) -> str:
    """The reason in the row of whoever finishes it for the repair that began it: by it the next one knows that row again."""
    return f"{intent.reason}; the repair {short(intent.session)}, which was interrupted, was finished"


def note(root: engine.Root, intent: Intent) -> None:
    """Write an intent down.

    Raises:
        IngestError: it could not be written, or its name is taken.
    """
    told = {
        "version": VERSION, "session": intent.session, "number": intent.number, "path": _text(intent.path),
        "staging": _text(intent.staging), "slot": _text(intent.slot), "size": intent.size,
        "blake3": intent.blake3.hex(), "strategy": intent.strategy, "reason": intent.reason,
    }  # fmt: skip
    staging = intent.staging.removesuffix(b".part") + b".json"
    if not deposit(root, intent.file, staging, (json.dumps(told, indent=2) + "\n").encode("ascii")):
        raise ManifestError(
            "its name is taken", path=root.path + b"/" + intent.file, operation="rename",
            advice="Another repair works on this archive: wait for it, then repair again",
        )  # fmt: skip


def pending(root: engine.Root) -> list[Intent]:
    """The intents that stand on a root, in order.

    Raises:
        IngestError: one cannot be read. ManifestError: one is not what this program writes.
    """
    return [_read(root, FOLDER + b"/" + name) for name in sorted(names_in(root, FOLDER)) if name.endswith(b".json")]


def forget(root: engine.Root, intents: Sequence[Intent]) -> None:
    """Remove intents that were carried out.

    Raises:
        IngestError: one cannot be removed. It does no harm: what it says is done.
    """
    for fault in engine.discard(root, [intent.file for intent in intents]):
        if fault is not None:
            raise engine.failed(fault).error()


def tidy(root: engine.Root) -> None:
    """Remove the folder of intents, if none stands any more.

    Raises:
        IngestError: the archive's own folder cannot be opened.
    """
    parent, _, name = FOLDER.rpartition(b"/")
    try:
        descriptor = root.open_folder(parent)
        try:
            os.rmdir(name, dir_fd=descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Intents that stand, and a folder that was never made, are both as they should be.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise from_os_error(error, "rmdir", root.path + b"/" + FOLDER) from error


def claimed(root: engine.Root) -> list[str]:
    """The repairs that left a staging folder on a root, by their eight characters.

    Raises:
        IngestError: the staging folder cannot be read.
    """
    found = [_CLAIM.fullmatch(name) for name in names_in(root, STAGING)]
    return [match[1].decode("ascii") for match in found if match]


def claim_staging(root: engine.Root, session: str) -> None:
    """Make a repair's staging folder: by it the next repair knows which sessions' staging it may clear.

    Raises:
        IngestError: it cannot be made.
    """
    folder = STAGING + b"/" + staging_of(session).encode("ascii")
    ((fault),) = engine.make_folders(root, [folder], [-1])
    if fault is not None:
        raise engine.failed(fault).error()


@contextmanager
def turn(root: engine.Root) -> Iterator[None]:
    """Be the only repair of a root while inside.

    Where the file system locks no folders (some network shares) there is no turn to hold: two repairs at once can then
    undo each other's work, and both may fail. Nothing is lost by it, since no step replaces anything.

    Raises:
        PausedError: another process repairs it. IngestError: the root cannot be opened.
    """
    try:
        descriptor = root.open_folder(INTERNAL)
    except FileNotFoundError:
        yield  # whatever this is, it is no archive: that is for others to say
        return
    except OSError as error:
        raise from_os_error(error, "open", root.path + b"/" + INTERNAL) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PausedError(
                "another process repairs this archive", path=root.path, operation="repair",
                advice="Wait for it, then repair again",
            ) from error  # fmt: skip
        except OSError as error:
            if error.errno not in _LOCKLESS:
                raise from_os_error(error, "flock", root.path + b"/" + INTERNAL) from error
        yield
    finally:
        os.close(descriptor)


def _footage(path: bytes) -> bool:
    return below(path) and path.split(b"/")[0] != INTERNAL


def _text(path: bytes) -> str:
    return base64.b64encode(path).decode("ascii")


def _read(root: engine.Root, path: bytes) -> Intent:
    where = root.path + b"/" + path
    try:
        told: dict[str, Any] = json.loads(read_file(root, path))
        if told["version"] != VERSION:
            raise ManifestError(
                f"it has version {told['version']}, this program knows {VERSION}", path=where, operation="read",
                advice="Use a newer version of ingest",
            )  # fmt: skip
        raw = {key: base64.b64decode(told[key], validate=True) for key in ("path", "staging", "slot")}
        intent = Intent(
            session=str(uuid.UUID(told["session"])), number=int(told["number"]), **raw, size=int(told["size"]),
            blake3=bytes.fromhex(told["blake3"]), strategy=str(told["strategy"]), reason=str(told["reason"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ManifestError(
            f"it is no note of a repair ({error!r})", path=where, operation="read",
            advice=_ASTRAY,
        ) from error  # fmt: skip
    # Files change their names for it: it has to be what `intend` would have said, of a file that is not ours.
    own = intend(intent.session, intent.number, intent.path, size=intent.size, blake3=intent.blake3, reason="")
    if (own.staging, own.slot, own.file) != (intent.staging, intent.slot, path) or not _footage(intent.path):
        raise ManifestError("it speaks of other files than a repair's", path=where, operation="read", advice=_ASTRAY)
    return intent
