"""Roots: folders that are archives, and how they are known again wherever they are mounted.

A destination carries a marker, ``.ingest/root.json``, written once and never replaced. Sources carry nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Final

from ingest import engine
from ingest.errors import DeniedError, MissingError, UsageError, from_os_error, shown
from ingest.storage.identity import Footing, stranger
from ingest.storage.marker import STAGING, Marker, clear_leftovers, names_in, read_marker, staging_folder, write_marker
from ingest.storage.volumes import Volume, volume_of

# Where disks are mounted by desktops and by hand: a folder here that lies on the system disk is most likely a
# mount point whose disk is not there.
MOUNT_FOLDERS: Final = (b"/mnt/", b"/media/", b"/run/media/", b"/Volumes/")


@dataclass(frozen=True, slots=True)
class Destination:
    """A root that is open for writing.

    Attributes:
        root: pinned. marker: what it carries. volume: what it is stored on. fresh: its marker was written now.
    """

    path: bytes
    root: engine.Root
    marker: Marker
    volume: Volume
    fresh: bool


def pin(path: bytes, *, volume: Volume | None = None, source: bool = False) -> engine.Root:
    """Open a folder to work beneath it.

    Raises:
        IngestError: it cannot be opened; MissingError if it is not there.
    """
    try:
        volume = volume or volume_of(path)
        return engine.Root(path, cross=source, served=volume.served)
    except OSError as error:
        raise from_os_error(
            error, "open", path, "Is the disk mounted?" if error.errno == errno.ENOENT else ""
        ) from error


def require_folder(path: bytes) -> None:
    """Require that a destination is there.

    Raises:
        MissingError: it is not. UsageError: it is something else than a folder. IngestError: that cannot be told.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise MissingError(
            "no such folder: is the disk mounted?", path=path, operation="open", errno=errno.ENOENT,
            advice="Mount it, or make the folder with --create",
        ) from error  # fmt: skip
    except OSError as error:
        raise from_os_error(error, "open", path) from error
    if not stat.S_ISDIR(mode):
        raise UsageError("it is not a folder", path=path, operation="open", errno=errno.ENOTDIR,
                         advice="Name a folder on the archive's disk")  # fmt: skip


def open_destination(path: bytes, *, create: bool = False, new_root: bool = False) -> Destination:
    """Open a folder as an archive; the first time it gets its marker.

    Args:
        path: absolute. create: make the folder if it is missing. new_root: allow a first use on the system disk
            below a folder where disks are mounted.

    Raises:
        MissingError: it is not there, or it looks like the mount point of a disk that is not there.
        DeniedError: it cannot be written. UsageError: it is not a folder.
    """
    if create and not os.path.lexists(path):
        _create(path, new_root=new_root)
    require_folder(path)
    volume = volume_of(path)
    root = pin(path, volume=volume)
    marker = read_marker(root)
    if marker is None:
        _refuse_empty_mount_point(path, volume, allowed=new_root)
        require_writable(root, volume)
        marker = write_marker(root, volume)
        clear_leftovers(root)
        return Destination(path, root, marker, volume, fresh=True)
    require_writable(root, volume)
    clear_leftovers(root)
    return Destination(path, root, marker, volume, fresh=False)


def _create(path: bytes, *, new_root: bool) -> None:
    """Make a destination's folder with its parents, durably: an archive must not vanish with its name."""
    parent = os.path.dirname(path)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    volume = volume_of(parent)
    _refuse_empty_mount_point(path, volume, allowed=new_root)
    ((fault),) = engine.make_folders(pin(parent, volume=volume), [os.path.relpath(path, parent)], [-1])
    if fault is not None:
        raise engine.failed(fault).error("mkdir", path)


def reopen_destination(path: bytes, known: Footing) -> Destination:
    """Open the archive that a session began with: by its marker, on its own file system.

    Raises:
        MissingError: it is not there; if something else is, it says what. DeniedError: it cannot be written.
    """
    root = pin(path)
    marker, volume = read_marker(root), volume_of(path)
    mounted = os.path.ismount(os.path.realpath(path))
    seen = Footing(root.dev, root.ino, marker.uuid if marker else None, volume.fs_uuid, mounted)
    why = stranger(known, seen)
    if why is not None or marker is None:
        # Its own marker on another file system: a backup of it that was restored, or a clone. Only the user knows.
        restored = (
            f"Mount its own disk, then: ingest resume. If this is the archive, restored to another disk: ingest storage "
            f"relocate {known.marker} {shown(path)}; then: ingest resume"
        )
        own = marker is not None and marker.uuid == known.marker
        raise MissingError(f"{why}; the session's root is {known.marker}", path=path, operation="open",
                           advice=restored if own else "")  # fmt: skip
    require_writable(root, volume)
    return Destination(path, root, marker, volume, fresh=False)


def _refuse_empty_mount_point(path: bytes, volume: Volume, *, allowed: bool) -> None:
    real = os.path.realpath(path)
    if allowed or not (real + b"/").startswith(MOUNT_FOLDERS) or volume.memory:
        return
    standing = real
    while not os.path.exists(standing):
        standing = os.path.dirname(standing)
    if os.stat(standing).st_dev == os.stat(b"/").st_dev:
        raise MissingError(
            "this is on the system disk, below a folder where disks are mounted: is the disk mounted?",
            path=path, operation="open", advice="Mount the disk; if you do mean the system disk, say --new-root",
        )  # fmt: skip


def require_writable(root: engine.Root, volume: Volume) -> None:
    """A root is writable if a folder can be opened in its staging: asked by doing it, not by reading modes.

    Raises:
        DeniedError: it is not. IngestError: that cannot be told.
    """
    ((fault),) = engine.make_folders(root, [STAGING], [-1])
    if fault is not None:
        raise engine.failed(fault).error("mkdir", root.path + b"/" + STAGING)
    if not os.access(root.path + b"/" + STAGING, os.W_OK):
        read_only = volume.mount is not None and volume.mount.read_only
        code = errno.EROFS if read_only else errno.EACCES
        raise DeniedError(os.strerror(code), path=root.path, operation="write", errno=code,
                          advice=str(from_os_error(OSError(code, ""), "").advice))  # fmt: skip


def clear_staging(root: engine.Root, session_short: str, kept: set[bytes]) -> None:
    """Remove a session's staging files, but for those it still needs, and its folder if that leaves it empty.

    Raises:
        IngestError: the folder cannot be cleared.
    """
    folder = staging_folder(session_short)
    stale = [name for each in names_in(root, folder) if (name := folder + b"/" + each) not in kept]
    for fault in engine.discard(root, stale):
        if fault is not None:
            raise engine.failed(fault).error()
    if kept:
        return
    try:
        parent = root.open_folder(STAGING)
        try:
            os.rmdir(os.fsencode(session_short), dir_fd=parent)
        finally:
            os.close(parent)
    except FileNotFoundError:
        return  # this session never staged anything here
    except OSError as error:
        raise from_os_error(error, "rmdir", root.path + b"/" + folder) from error
    # A session that is over does this but once: what a power cut brought back would stay.
    (settled,) = engine.settle(root, [folder])
    if settled is not None:
        raise engine.failed(settled).error()
