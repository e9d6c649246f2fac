"""Which paths lead over a share, or over what a daemon hands out: told without touching either.

A dead server keeps whoever looks at it, and following a link is a look: so links are followed here step by step, by
hand, and no step is taken onto a mount that may hang. What the mount table says of it decides.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ingest.storage.volumes import mount_of, mounts

if TYPE_CHECKING:
    from ingest.storage.volumes import Mount

# As many as the kernel follows in one path (path_resolution(7)).
MOST_LINKS: Final = 40


def obstacle(path: bytes, table: list[Mount] | None = None) -> Mount | None:
    """The first mount on a path's way that may hang; None if its way leads over this machine's own disks.

    A path that leads nowhere, or round in circles, has none: whoever opens it is told so at once.
    """
    table = mounts() if table is None else table
    if not any(mount.may_hang for mount in table):
        return None
    here, links = b"/", 0
    whole = mount_of(here, table)
    if whole is not None and whole.may_hang:
        return whole
    # As it will be opened: what is opened later is always the absolute path. In a link's target `..` is the folder above.
    ahead = os.path.abspath(path).split(b"/")[::-1]
    while ahead:
        part = ahead.pop()
        if part == b"..":
            here = os.path.dirname(here)
        if part in (b"", b".", b".."):
            continue
        place = here.rstrip(b"/") + b"/" + part
        mount = mount_of(place, table)
        if mount is not None and mount.may_hang:
            return mount
        try:
            target = os.readlink(place)
        except OSError:
            here = place  # no link; or nothing, or nothing for us: then nothing below it answers either
            continue
        links += 1
        if links > MOST_LINKS:
            return None
        here = b"/" if target.startswith(b"/") else here
        ahead += target.split(b"/")[::-1]
    return None
