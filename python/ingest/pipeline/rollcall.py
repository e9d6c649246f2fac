"""The roll call: before places are opened, those that may hang are asked from another process whether they answer.

Only what the mount table says is a share or a daemon's, whatever link leads there: looking at a local disk does not hang,
and a process more would cost every small copy its time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ingest.errors import TRANSIENT, MissingError, from_os_error
from ingest.storage.looking import Spot
from ingest.storage.reach import obstacle
from ingest.storage.volumes import mounts
from ingest.workers.prober import visit

if TYPE_CHECKING:
    from collections.abc import Sequence


def require_answers(paths: Sequence[bytes]) -> None:
    """Require of paths on shares that they answer.

    Raises:
        MissingError: one does not. IngestError: nobody can be sent to ask.
    """
    for number, why in sorted(silent(paths).items()):
        raise MissingError(f"the share does not answer ({why})", path=os.path.abspath(paths[number]), operation="open",
                           advice="Check the server and the way to it, then try again")  # fmt: skip


def silent(paths: Sequence[bytes]) -> dict[int, str]:
    """Which of these paths (by position) lead to a share or a daemon's mount that does not answer, and what it says.

    The paths themselves are not touched here. A refusal is an answer: who opens the path will be told the same.

    Raises:
        IngestError: nobody can be sent to ask.
    """
    table = mounts()
    asked = [number for number, path in enumerate(paths) if obstacle(path, table) is not None]
    try:
        looks = visit([Spot(os.path.abspath(paths[number]), archive=False) for number in asked])
    except OSError as error:
        raise from_os_error(error, "look") from error
    found = zip(asked, looks, strict=True)
    return {number: look.problem or "" for number, look in found if look.errno in TRANSIENT}
