"""Trails: what half-copied big files leave beside the journal, so that the next attempt goes on with them.

A folder per session, with a file per item: the engine writes and believes them (``_native.stage``). Here it is only
known which staging files they speak of: those are kept between runs, and are as much of a copy as they hold. A trail
goes with the end of its item, the folder with that of its session. Who loses them loses no byte: parts of which no trail
speaks are copied again.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.db.faults import TRAILS
from ingest.errors import from_os_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


_SUFFIX: Final = ".trail"


class Trails:
    """The trails of one session."""

    def __init__(self, home: Path, session: str, *, wanted: bool) -> None:
        """Beside the journal in `home`; not `wanted`: big files are copied again from their start."""
        self._folder = home / TRAILS / session
        self._wanted = wanted

    def open(self) -> bytes | None:
        """Make the folder, or forget it where it is not wanted; its path for the engine.

        Raises:
            IngestError: it cannot be made.
        """
        if not self._wanted:
            self.clear()
            return None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            where = os.fsencode(self._folder)
            raise from_os_error(error, "mkdir", where, "Set INGEST_HOME to a folder you can write") from error
        return os.fsencode(self._folder)

    def parts(self, uuid: str) -> dict[bytes, int]:
        """The staging files on a root that a trail speaks of, with the size of the whole file."""
        found: dict[bytes, int] = {}
        for trail in self._folder.glob(f"*{_SUFFIX}") if self._wanted else ():
            with suppress(OSError):  # what cannot be read tells nothing: its parts are made anew
                size, names = engine.trail(os.fsencode(trail)) or (0, [])
                found |= {name: size for key, name in names if key == uuid.encode("ascii")}
        return found

    def drop(self, items: Iterable[int]) -> None:
        """These items have ended: nothing of them is gone on with.

        A trail that stays speaks of parts that are no longer there, and goes with its folder.
        """
        for item in items:
            with suppress(OSError):
                self._folder.joinpath(f"{item}{_SUFFIX}").unlink(missing_ok=True)

    def clear(self) -> None:
        """The session is over. What stays is as good as nothing, and costs 2 MiB a file at most."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):
            self._folder.parent.rmdir()  # not if other sessions have some
