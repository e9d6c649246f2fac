"""Where a folder may be now that its disk is mounted elsewhere: told from the mount table, never by walking.

A folder keeps its path within its file system. Where it was mounted before is not known, so every end of its old path
is tried below every mount point: ``/media/me/DISK/shoot`` may be ``/mnt/b/shoot``, or ``/mnt/b`` itself. What is found
is only a candidate: a marker, or a file system's UUID, has to say whether it is the one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import IngestError
from ingest.storage.marker import MARKER, read_marker
from ingest.storage.reach import obstacle
from ingest.storage.volumes import mount_of, mounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.storage.volumes import Mount

# The kernel's own views, on which nobody keeps footage; looking below autofs would have things mounted.
_VIEWS: Final = frozenset(
    {
        "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
        "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "squashfs",
        "sysfs", "tracefs",
    }
)  # fmt: skip


def _candidates(path: bytes, table: list[Mount]) -> Iterator[bytes]:
    """Places, which need not lie on the mount below which they were thought of."""
    parts = path.strip(b"/").split(b"/")
    ends = [b"/".join(parts[at:]) for at in range(len(parts))] + [b""]
    told = {path}
    for mount in table:
        # What another mount covers leads elsewhere.
        if mount.type in _VIEWS or mount_of(mount.point, table) is not mount:
            continue
        for end in ends:
            place = (mount.point.rstrip(b"/") + b"/" + end).rstrip(b"/") or b"/"
            if place in told:
                continue
            told.add(place)
            on = mount_of(place, table)
            if on is not None and on.type not in _VIEWS:
                yield place


def likely(path: bytes, *, archive: bool = True, table: list[Mount] | None = None) -> list[bytes]:
    """Folders on this machine's own disks that may be what was at a path: they carry a marker, or (sources) are there."""
    below = b"/" + MARKER if archive else b""
    table = mounts() if table is None else table
    return [place for place in _candidates(path, table) if obstacle(place.rstrip(b"/") + below, table) is None
            and os.path.isdir(place) and os.path.lexists(place.rstrip(b"/") + below)]  # fmt: skip


def remote(path: bytes, table: list[Mount] | None = None) -> list[bytes]:
    """The same on shares, and on what daemons hand out: whoever looks there may hang, so nobody has looked."""
    table = mounts() if table is None else table
    return [place for place in _candidates(path, table) if obstacle(place, table) is not None]


def marker_at(path: bytes) -> str | None:
    """The UUID of the marker at a path; None if there is none, or it cannot be read."""
    try:
        marker = read_marker(engine.Root(path))
    except (OSError, IngestError):
        return None
    return marker.uuid if marker is not None else None
