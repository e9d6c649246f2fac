"""The tools that people use, and this one, under the same faults: ``python tests/faults/peers.py``.

Each tool brings a card of three files to a disk that fails in one way, at one moment (`faultfs`). Then the tool's exit code
is held against what the disk really holds, which the file system passes on to a folder of this script's own:

- **SILENT**: it says that all is well, and what is on the disk is not what is on the card;
- detected: it says that something went wrong, whatever is on the disk;
- correct: it says that all is well, and it is;
- not met: the tool never came to where the fault waited.

Prints a Markdown table. Needs root, /dev/fuse and mfusepy; tools that are not installed are left out, and said. FUSE
forgets what it has in memory of a file whenever that is opened anew. So whoever compares here reads from the disk; on a disk of the
kernel's own they would read from memory, and find less.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FILES = {"A001/a.jpg": 50_000, "A001/clip.mov": 3_000_000, "A001/z.jpg": 70_000}
# The file that meets the fault, by whatever name a tool has for it while it is written; ours has numbers there.
TARGET = ("*clip.mov*", "*/staging/????????/2-*.part")
PATIENCE = 60.0


@dataclass(frozen=True)
class Fault:
    """What goes wrong, once: rules of `faultfs`, each for one glob. `source`: on the card instead of on the disk."""

    name: str
    rules: tuple[dict[str, object], ...]
    source: bool = False


FAULTS = (
    Fault("bit flip on write", ({"op": "write", "act": "flip"},)),
    Fault("lost write", ({"op": "write", "act": "drop"},)),
    Fault("torn write", ({"op": "write", "act": "torn"},)),
    Fault("fsync EIO, write lost", ({"op": "write", "act": "drop"}, {"op": "fsync", "err": "EIO"})),
    Fault("ENOSPC", ({"op": "write", "err": "ENOSPC", "count": 0},)),
    Fault("short write", ({"op": "write", "act": "short", "size": 100},)),
    Fault("rename failed, and happened", ({"op": "rename", "err": "EIO", "after": True},)),
    Fault("bit flip on source read", ({"op": "read", "act": "flip"},), source=True),
)


def found(program: str) -> str | None:
    """On the PATH, or beside our own interpreter."""
    return shutil.which(program) or shutil.which(program, path=os.path.dirname(sys.executable))


@dataclass(frozen=True)
class Tool:
    """A tool as one would type it: commands, one after the other; the first that fails speaks for all."""

    name: str
    program: str
    commands: Callable[[str, Path, Path], Sequence[Sequence[str | Path]]]
    # Below the destination: where the card's files come to lie.
    below: str = "CARD"


TOOLS = (
    Tool("cp -a", "cp", lambda cp, card, disk: [[cp, "-a", card, disk]]),
    Tool("rsync -a", "rsync", lambda rsync, card, disk: [[rsync, "-a", card, disk]]),
    Tool("rsync -a, then rsync -a -c", "rsync",
         lambda rsync, card, disk: [[rsync, "-a", card, disk], [rsync, "-a", "-c", card, disk]]),
    Tool("rclone copy", "rclone", lambda rclone, card, disk: [[rclone, "copy", card, disk / "CARD", "--quiet"]]),
    Tool("rclone copy, then check --download", "rclone",
         lambda rclone, card, disk: [[rclone, "copy", card, disk / "CARD", "--quiet"],
                                     [rclone, "check", "--download", card, disk / "CARD", "--quiet"]]),
    Tool("ocopy", "ocopy", lambda ocopy, card, disk: [[ocopy, card, disk]]),
    Tool("ingest copy", sys.executable, lambda python, card, disk: [[python, "-m", "ingest", "copy", card, disk, "-q"]]),
    Tool("ingest copy --verify-source", sys.executable,
         lambda python, card, disk: [[python, "-m", "ingest", "copy", card, disk, "-q", "--verify-source"]]),
    # FUSE allows no cold read, and one disk is one copy.
    Tool("ingest copy, then ingest check", sys.executable,
         lambda python, card, disk: [[python, "-m", "ingest", "copy", card, disk, "-q"],
                                     [python, "-m", "ingest", "check", card, "-q", "--copies", "1", "--accept-reread",
                                      "--same-volume"]]),
)  # fmt: skip


class Disk:
    """A folder behind `faultfs`, mounted. `backing` is what it really holds."""

    def __init__(self, folder: Path) -> None:
        self.backing, self.mount = folder / "backing", folder / "disk"
        self._rules, self._log = folder / "rules.json", folder / "hits.jsonl"
        for place in (self.backing, self.mount):
            place.mkdir(parents=True)
        self._log.touch()
        self.rules()
        script = Path(__file__).with_name("faultfs.py")
        command = [sys.executable, script, self.backing, self.mount, self._rules, self._log]
        environment = {**os.environ, "FUSE_LIBRARY_NAME": "fuse3"}
        self._daemon = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + PATIENCE
        while not os.path.ismount(self.mount):
            if time.monotonic() > limit or self._daemon.poll() is not None:
                raise SystemExit("no FUSE mount here: this needs root, /dev/fuse, libfuse3 and mfusepy")
            time.sleep(0.01)

    def rules(self, *rules: dict[str, object]) -> None:
        """What goes wrong from now on."""
        new = self._rules.with_suffix(".new")
        new.write_text(json.dumps(rules))
        new.replace(self._rules)

    @property
    def hits(self) -> int:
        """How many calls went wrong."""
        return len(self._log.read_text().splitlines())

    def end(self) -> None:
        """Unmount."""
        subprocess.run(["umount", "--lazy", self.mount], check=False, timeout=PATIENCE)
        self._daemon.terminate()
        self._daemon.wait(PATIENCE)


@contextmanager
def disk_in(folder: Path) -> Iterator[Disk]:
    """A disk, unmounted whatever happens."""
    disk = Disk(folder)
    try:
        yield disk
    finally:
        disk.end()


def content(name: str, size: int) -> bytes:
    """Bytes that differ from file to file and from place to place."""
    line = b"".join(f"{name} {number:08}\n".encode() for number in range(size // (len(name) + 10) + 1))
    return line[:size]


def outcome(tool: Tool, fault: Fault, folder: Path) -> str:
    """What came of one tool's copy under one fault."""
    program = found(tool.program)
    assert program is not None
    plain = folder / "plain"
    plain.mkdir(parents=True)
    with disk_in(folder / "faulty") as faulty:
        card = (faulty.mount if fault.source else plain) / "CARD"
        target = plain / "target" if fault.source else faulty.mount
        target.mkdir(exist_ok=True)
        for name, size in FILES.items():
            place = card / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content(name, size))
        environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder),
                       "INGEST_HOME": str(folder / "home"), "PYTHONWARNINGS": "ignore"}  # fmt: skip
        globs = ("*clip.mov",) if fault.source else TARGET
        faulty.rules(*({**rule, "path": glob} for rule in fault.rules for glob in globs))
        code = 0
        for command in tool.commands(program, card, target):
            done = subprocess.run(command, env=environment, capture_output=True, timeout=5 * PATIENCE, check=False)
            code = code or done.returncode
        hits = faulty.hits
        faulty.rules()
        arrived = (plain / "target" if fault.source else faulty.backing) / tool.below
        right = all(_holds(arrived / name, content(name, size)) for name, size in FILES.items())
    if not hits:
        return "not met"
    return "detected" if code else "correct" if right else "**SILENT**"


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def table(tools: Sequence[Tool], faults: Sequence[Fault], folder: Path) -> Iterator[str]:
    """The table, line by line."""
    yield "| | " + " | ".join(fault.name for fault in faults) + " |"
    yield "|---" * (len(faults) + 1) + "|"
    for row, tool in enumerate(tools):
        cells = [outcome(tool, fault, folder / f"{row}-{column}") for column, fault in enumerate(faults)]
        yield f"| {tool.name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description="The tools that people use, and this one, under the same faults.")
    parser.add_argument("tools", nargs="*", help="only these, by a part of their name")
    wanted = parser.parse_args().tools
    chosen = [tool for tool in TOOLS if not wanted or any(name in tool.name for name in wanted)]
    missing = {tool.program for tool in chosen if found(tool.program) is None}
    with tempfile.TemporaryDirectory(prefix="ingest-peers-") as folder:
        for line in table([tool for tool in chosen if tool.program not in missing], FAULTS, Path(folder)):
            print(line, flush=True)
    for program in sorted(missing):
        print(f"\nNot installed, and left out: {program}")


if __name__ == "__main__":
    main()
