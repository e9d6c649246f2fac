"""The roll call: before places are opened, those that may hang are asked from another process whether they answer.

Only what the mount table says is a share or a daemon's: looking at a local disk does not hang, and a process more would
cost every small copy its time.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from ingest.errors import TRANSIENT, MissingError
from ingest.storage.reach import obstacle
from ingest.storage.volumes import mounts
from ingest.workers.prober import Prober, Spot

if TYPE_CHECKING:
    from collections.abc import Sequence

# One deadline of `pipeline.watch`: who is there answers in a blink, who is not is left out, and can be resumed with.
PATIENCE: Final = 10.0
TICK: Final = 0.02


def require_answers(paths: Sequence[bytes]) -> None:
    """Require of paths on shares that they answer.

    Raises:
        MissingError: one does not.
    """
    for number, why in sorted(silent(paths).items()):
        raise MissingError(f"the share does not answer ({why})", path=os.path.abspath(paths[number]), operation="open",
                           advice="Check the server and the way to it, then try again")  # fmt: skip


def silent(paths: Sequence[bytes]) -> dict[int, str]:
    """Which of these paths (by position) lead to a share or a daemon's mount that does not answer, and what it says.

    The paths themselves are not touched here. A refusal is an answer: who opens the path will be told the same.
    """
    table = mounts()
    asked = [number for number, path in enumerate(paths) if obstacle(path, table) is not None]
    if not asked:
        return {}
    prober = Prober([Spot(path, archive=False) for path in paths])
    waiting = dict.fromkeys(asked, f"no answer within {PATIENCE:.0f} s")
    limit = time.monotonic() + PATIENCE
    dead: dict[int, str] = {}
    try:
        for number in asked:
            prober.ask(number, 1)
        while waiting and time.monotonic() < limit:
            for finding in prober.heard():
                del waiting[finding.spot]
                if finding.errno in TRANSIENT:
                    dead[finding.spot] = finding.detail
            time.sleep(TICK)
    finally:
        prober.stop()
    return dead | waiting
