"""Shares named by URL: where among the mounts they are.

What a file manager shows (``smb://nas/media``) is no path. If that share is mounted, the mount table says where; if
not, nothing is mounted by us: the error says how it is done.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from ingest.errors import MissingError, UsageError, shown
from ingest.storage.reach import obstacle
from ingest.storage.volumes import NETWORK_TYPES, Mount, mount_of, mounts

# `scheme://[user[:password]@]server[:port]/path`; two slashes alone are how SMB shares are written.
_URL: Final = re.compile(
    rb"(?:(smb|nfs|afp|cifs)?:)?//(?:[^/@]*@)?(\[[^]/]*\]|[^/:]*)(?::\d+)?(/.*)?", re.IGNORECASE | re.DOTALL
)
_KINDS: Final = {
    b"smb": frozenset({"cifs", "smb3", "smbfs", "fuse.smbnetfs"}),
    b"nfs": frozenset({"nfs", "nfs4"}),
    b"afp": frozenset({"afpfs", "fuse.afpfs"}),
}
_MOUNTING: Final = {
    b"smb": "mount -t cifs //{server}{path} FOLDER",
    b"nfs": "mount -t nfs {server}:{path} FOLDER",
    b"afp": "mount_afp afp://{server}{path} FOLDER",
}


@dataclass(frozen=True, slots=True)
class _Share:
    """A server, in lower case, and a path on it that begins with a slash and does not end in one."""

    server: bytes
    path: bytes


def is_url(path: bytes) -> bool:
    """Whether it names a share, not a folder: a scheme, or two slashes before a server."""
    match = _URL.fullmatch(path)
    return match is not None and (match[1] is not None or (path.startswith(b"//") and not path.startswith(b"///")))


def located(path: bytes, table: list[Mount] | None = None) -> bytes:
    """The path of what the user named: of a share's URL where it is mounted, of anything else itself.

    Raises:
        UsageError: the URL names no share. MissingError: the share is not mounted.
    """
    if not is_url(path):
        return path
    scheme, server, rest = _parts(path)
    wanted = _Share(server.lower(), rest.rstrip(b"/"))
    table = mounts() if table is None else table
    best: tuple[int, bytes] | None = None
    for mount in table:
        # One that another mount covers leads elsewhere.
        if mount.type not in _KINDS[scheme] or mount_of(mount.point, table) is not mount:
            continue
        for share in _shares(mount):
            below = _below(wanted, share, exact=scheme == b"nfs")
            if below is not None and (best is None or len(share.path) >= best[0]):
                best = len(share.path), mount.point.rstrip(b"/") + below
    if best is not None:
        return best[1]
    if path.startswith(b"//"):
        plain = b"/" + path.lstrip(b"/")  # to the kernel two slashes are one
        # What lies beyond a mount that may hang is not looked at: whoever opens it says whether it is there.
        if obstacle(plain, table) is not None or os.path.lexists(plain):
            return plain
    if not server or not wanted.path:
        raise UsageError("the URL names no share", path=path, operation="open",
                         advice="Write it like smb://server/share, or name the folder where it is mounted")  # fmt: skip
    how = _MOUNTING[scheme].format(server=shown(server), path=shown(wanted.path))
    raise MissingError(
        f"this share is not mounted{_mounted(table)}", path=path, operation="open",
        advice=f"Mount it ({how}), and name that folder",
    )  # fmt: skip


def _parts(url: bytes) -> tuple[bytes, bytes, bytes]:
    """Scheme (`smb` also for what is spelt `cifs` or not at all), server, path."""
    match = _URL.fullmatch(url)
    assert match is not None  # noqa: S101 - `is_url` has said so
    scheme = (match[1] or b"smb").lower()
    # Two slashes alone are a path as mount knows it; in a URL blanks are written %20.
    path = match[3] or b"" if match[1] is None else unquote_to_bytes(match[3] or b"")
    return b"smb" if scheme == b"cifs" else scheme, match[2], path


def _shares(mount: Mount) -> list[_Share]:
    """What a mount shows, as places on its server. A bind mount of a part shows that part."""
    if mount.type in _KINDS[b"nfs"]:
        server, _, path = mount.origin.rpartition(b":/")
        path = b"/" + path
    else:
        match = _URL.fullmatch(mount.origin)
        if match is None:
            return []
        server, path = match[2], match[3] or b""
    path, inner = path.rstrip(b"/"), mount.inner.rstrip(b"/")
    found = [_Share(server.lower(), path + inner)]
    # The kernel's SMB client may tell the folder that is mounted twice: as what is mounted, and in its origin.
    if inner and path.endswith(inner):
        found.append(_Share(server.lower(), path))
    return found


def _below(wanted: _Share, share: _Share, *, exact: bool) -> bytes | None:
    """What is left of a path below a share, None if it is not there. SMB and AFP servers ignore case."""
    if wanted.server != share.server:
        return None
    path, above = (wanted.path, share.path) if exact else (wanted.path.lower(), share.path.lower())
    return wanted.path[len(above) :] if path == above or path.startswith(above + b"/") else None


def _mounted(table: list[Mount]) -> str:
    """The shares that are, for somebody who knows one by another name."""
    there = [f"{shown(m.origin)} on {shown(m.point)}" for m in table if m.type in NETWORK_TYPES]
    return f" (what is: {', '.join(there)})" if there else ""
