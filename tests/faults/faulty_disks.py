"""Disks that go wrong on request: folders behind :mod:`faultfs`, whose rules a test changes as it goes on.

What such a disk shows and what it really holds are two things, and a test can look at both.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from faults.watching import PATIENCE, is_frozen, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def missing() -> str | None:
    """What this machine lacks for such a disk, None if nothing; a disk itself wants its library, too."""
    if find_spec("mfusepy") is None:
        return "needs mfusepy"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
        return "needs root and /dev/fuse"
    return None


class FaultyDisk:
    """A folder behind :mod:`faultfs`. `backing` is what the disk really holds."""

    def __init__(self, folder: Path, library: str, subtype: str) -> None:
        self.backing = folder / "backing"
        self.mount = folder / "disk"
        self._rules = folder / "rules.json"
        self._log = folder / "hits.jsonl"
        self._library = library
        self._subtype = subtype
        for place in (self.backing, self.mount):
            place.mkdir(parents=True)
        self._log.touch()
        self.rules()
        self.begin()

    def begin(self) -> None:
        """Start the daemon (again)."""
        script = Path(__file__).with_name("faultfs.py")
        command = [sys.executable, script, self.backing, self.mount, self._rules, self._log, self._subtype]
        environment = {**os.environ, "FUSE_LIBRARY_NAME": self._library}
        self._daemon = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: os.path.ismount(self.mount), "the faulty disk")

    def rules(self, *rules: dict[str, Any]) -> None:
        """What goes wrong from now on."""
        new = self._rules.with_suffix(".new")
        new.write_text(json.dumps(rules))
        new.replace(self._rules)

    def hits(self, **wanted: str) -> list[dict[str, Any]]:
        """The faults that were met, the hanging ones too."""
        lines = map(json.loads, self._log.read_text().splitlines())
        return [line for line in lines if all(line[key] == value for key, value in wanted.items())]

    def forget(self) -> None:
        """Begin a new list of hits."""
        os.truncate(self._log, 0)

    def freeze(self) -> None:
        """From now on nothing answers, as on a share whose server hangs."""
        self._daemon.send_signal(signal.SIGSTOP)
        until(lambda: is_frozen(self._daemon.pid), "a frozen daemon")

    def thaw(self) -> None:
        """It answers again, also what was asked meanwhile."""
        self._daemon.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """The daemon's end, and the mount's."""
        self.rules()
        self.thaw()  # whoever looks at a frozen mount, as umount does, hangs
        subprocess.run(["umount", "--lazy", str(self.mount)], capture_output=True, timeout=PATIENCE, check=False)
        if self._daemon.poll() is None:
            self._daemon.kill()
        self._daemon.wait(PATIENCE)


@contextmanager
def disks() -> Iterator[Callable[[Path, str], FaultyDisk]]:
    """Make disks in folders of their own; all are unmounted at the end."""
    made: list[FaultyDisk] = []

    def make(folder: Path, library: str = "fuse3", subtype: str = "faultfs") -> FaultyDisk:
        if find_library(library) is None:
            pytest.skip(f"needs lib{library}")
        disk = FaultyDisk(folder, library, subtype)
        made.append(disk)
        return disk

    yield make
    for disk in made:
        disk.end()
        assert not os.path.ismount(disk.mount)
