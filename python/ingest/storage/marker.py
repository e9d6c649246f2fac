"""The marker: what makes a folder a root, and the same root again wherever it is mounted.

``.ingest/root.json``, written once with the care of footage, never replaced. Where two sessions meet over a new
folder the first marker holds for both.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import IngestError, ManifestError, from_os_error
from ingest.storage.deposit import deposit
from ingest.storage.identity import cloned

if TYPE_CHECKING:
    from ingest.storage.volumes import Volume

INTERNAL: Final = b".ingest"
STAGING: Final = INTERNAL + b"/staging"
MARKER: Final = INTERNAL + b"/root.json"
# How staging files begin that try what a root can do (`storage.sharing`).
PROBE: Final = b"probe-"
VERSION: Final = 1


def staging_folder(session_short: str) -> bytes:
    """Where a session stages its files, below each root."""
    return STAGING + b"/" + session_short.encode("ascii")


@dataclass(frozen=True, slots=True)
class Marker:
    """What root.json says. `created` is ISO 8601, UTC."""

    uuid: str
    fs_uuid: str | None
    created: str
    version: int = VERSION


def read_marker(root: engine.Root) -> Marker | None:
    """The root's marker, None if it has none.

    Raises:
        ManifestError: it is not what this program writes, or newer than this program.
    """
    where = root.path + b"/" + MARKER
    try:
        folder = root.open_folder(INTERNAL)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, "open", where) from error
    try:
        file = os.open(b"root.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, "open", where) from error
    finally:
        os.close(folder)
    try:
        with os.fdopen(file, "rb") as stream:
            return _parse(stream.read(1 << 16), where)
    except OSError as error:
        raise from_os_error(error, "read", where) from error


def _parse(data: bytes, where: bytes) -> Marker:
    advice = "Look at the file; if its archive is known to you, restore it from a backup, else move it away"
    wrong = ManifestError("it is not a root's marker", path=where, operation="read", advice=advice)
    try:
        stored = json.loads(data)
        version = int(stored["version"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise wrong from error
    if version > VERSION:
        raise ManifestError(f"it has version {version}, newer than this program", path=where, operation="read",
                            advice="Use a newer version of ingest")  # fmt: skip
    try:
        marker = Marker(str(uuid.UUID(stored["uuid"])), stored.get("fs_uuid"), stored["created"], version)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise wrong from error
    texts = [marker.created] if marker.fs_uuid is None else [marker.created, marker.fs_uuid]
    # It is written into journals and onto terminals, and may come from anybody's disk.
    if version < 1 or not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise wrong
    return marker


def carried_over(marker: Marker, volume: Volume) -> bool:
    """Whether a marker lies on another file system than it was written on: somebody copied it, and what it is the marker of.

    Nothing that was proven of files on the one is true of those on the other. Never, where one of them hides its UUID.
    """
    # What lives in memory cannot be the disk that a marker names, though it has no lasting UUID of its own.
    return cloned(marker.fs_uuid, "in memory" if volume.memory else volume.fs_uuid)


def write_marker(root: engine.Root, volume: Volume) -> Marker:
    """Make a folder a root; the marker that holds, which may be another session's that was quicker.

    Raises:
        IngestError: it cannot be written.
    """
    marker = Marker(str(uuid.uuid4()), volume.fs_uuid, datetime.now(UTC).isoformat(timespec="seconds"))
    text = {"version": VERSION, "uuid": marker.uuid, "fs_uuid": marker.fs_uuid, "created": marker.created}
    data = (json.dumps(text, indent=2) + "\n").encode()
    try:
        ours = deposit(root, MARKER, STAGING + b"/root-" + marker.uuid[:8].encode() + b".part", data)
    except IngestError:
        # Another session, whose marker came first, may have cleared our staging file away.
        if (other := read_marker(root)) is None:
            raise
        return other
    if ours:
        return marker
    # Another session was quicker: its marker holds.
    other = read_marker(root)
    if other is None:
        raise ManifestError("its name is taken and cannot be read", path=root.path + b"/" + MARKER, operation="rename")
    return other


def names_in(root: engine.Root, folder: bytes) -> list[bytes]:
    """The names in a folder below a root; none if it is not there.

    Raises:
        IngestError: it cannot be read.
    """
    where = root.path + b"/" + folder
    try:
        descriptor = root.open_folder(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise from_os_error(error, "open", where) from error
    try:
        with os.scandir(descriptor) as entries:
            return [os.fsencode(entry.name) for entry in entries]
    except OSError as error:
        raise from_os_error(error, "read", where) from error
    finally:
        os.close(descriptor)


def clear_leftovers(root: engine.Root) -> None:
    """Where a marker stands, staging files for one are leftovers of sessions that died or came second, and so are probes.

    Raises:
        IngestError: the staging folder cannot be read.
    """
    names = names_in(root, STAGING)
    left = [name for name in names if name.startswith((b"root-", PROBE)) and name.endswith(b".part")]
    engine.discard(root, [STAGING + b"/" + name for name in left])


def check_marker(root: engine.Root, expected: str) -> None:
    """Require that the root's path still leads to it, and that it still carries its marker.

    Raises:
        IngestError: the folder is gone, replaced, or carries another marker.
    """
    try:
        root.check()
    except OSError as error:
        raise from_os_error(error, "check", root.path, "Is the disk mounted?") from error
    marker = read_marker(root)
    if marker is None or marker.uuid != expected:
        raise IngestError(
            "the root's marker is gone or another one" if marker is None else f"this is another root ({marker.uuid})",
            path=root.path + b"/" + MARKER, operation="check",
            advice="Mount the disk that this session began with, then: ingest resume",
        )  # fmt: skip
