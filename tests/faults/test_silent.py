"""No fault is silent: whatever a disk does, at any call, a run ends non-zero and says of what, or all is there and right.

A run is a copy of a small card to two archives, one of whose disks (the card's, the first archive's, the second's, the
journal's) is a :mod:`faultfs` that does one thing wrong, once, at the first, a middle or the last call of its kind, or
from the first one on. Then the disk is looked at from behind: every acknowledgement, in the journal and in the
manifests, must be there byte for byte; what has a name must be what the card held; each manifest part and each marker
that has a name must be whole. When the disk is well again, `ingest resume` (or another copy) must complete it. Runs
are made side by side, since many only wait. Each proves that its fault was met.

A part of the matrix by default. ``INGEST_CAMPAIGN=full``: all of it, some 600 runs in a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from faults.journal import Journal

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
pytestmark = [pytest.mark.root, pytest.mark.timeout(7200 if FULL else 300)]
LANES = int(os.environ.get("INGEST_CAMPAIGN_LANES", "6" if FULL else "4"))  # runs side by side
FILES = {"A.JPG": 10_000, "B.MOV": 1_500_000, "C.JPG": 70_000, "D/E.JPG": 5_000, "D/F.JPG": 3_000}
# A hang is given up by its stall limits, and by the watch over its place.
OPTIONS = ["--workers", "1", "--stall-copy", "6", "--stall-validate", "6"]
WAIT = 150.0  # seconds for a run, of which those that hang need the most
TRIES = 4  # where a last call does not come in every run


# What goes wrong


@dataclass(frozen=True)
class Fault:
    """What a disk does wrong. `name` says it."""

    name: str
    op: str
    how: tuple[tuple[str, Any], ...]

    def rule(self, paths: list[str], nth: int, times: int) -> dict[str, Any]:
        return {"op": self.op, "path": paths, "nth": nth, "count": times, **dict(self.how)}

    @property
    def act(self) -> str | None:
        return dict(self.how).get("act")


def fault(name: str, op: str, **how: Any) -> Fault:
    return Fault(name, op, tuple(how.items()))


WRITES = [
    fault("bit flip on write", "write", act="flip"), fault("lost write", "write", act="drop"),
    fault("torn write", "write", act="torn"), fault("zeros on write", "write", act="zero"),
    fault("short write", "write", act="short", size=100),
    *(fault(f"{err} on write", "write", err=err) for err in ("EIO", "ENOSPC", "EDQUOT", "ESTALE", "ENOTCONN")),
    fault("EIO on fsync", "fsync", err="EIO"), fault("EIO on fsync, after it was done", "fsync", err="EIO", after=True),
    fault("EIO on close", "flush", err="EIO"), fault("ENOSPC on close", "flush", err="ENOSPC"),
    fault("EIO on create", "create", err="EIO"), fault("ENOSPC on create", "create", err="ENOSPC"),
    fault("hang on write", "write", act="hang"), fault("hang on fsync", "fsync", act="hang"),
    fault("death on write", "write", act="die"), fault("death on fsync", "fsync", act="die"),
]  # fmt: skip
READS = [
    fault("bit flip on read", "read", act="flip"), fault("short read", "read", act="short", size=100),
    fault("nothing on read", "read", act="short", size=0), fault("zeros on read", "read", act="zero"),
    *(fault(f"{err} on read", "read", err=err) for err in ("EIO", "ESTALE", "ENOTCONN")),
    fault("EIO on open", "open", err="EIO"), fault("hang on read", "read", act="hang"),
    fault("death on read", "read", act="die"),
]  # fmt: skip
NAMES = [
    fault("EIO on rename", "rename", err="EIO"), fault("EIO on rename that happened", "rename", err="EIO", after=True),
    fault("ESTALE on rename that happened", "rename", err="ESTALE", after=True),
    fault("death on rename", "rename", act="die"), fault("EIO on unlink", "unlink", err="EIO"),
    fault("EIO on mkdir", "mkdir", err="EIO"), fault("EIO on mkdir that happened", "mkdir", err="EIO", after=True),
    fault("EIO on flush of a folder", "fsyncdir", err="EIO"), fault("lost flush of a folder", "fsyncdir", act="drop"),
    fault("EIO on readdir", "readdir", err="EIO"), fault("EIO on times", "utimens", err="EIO"),
    fault("EIO on stat", "getattr", err="EIO"), fault("EIO on truncate", "truncate", err="EIO"),
    fault("EIO on statfs", "statfs", err="EIO"),
]  # fmt: skip
EVERYTHING = [*WRITES, *READS, *NAMES]


@dataclass(frozen=True)
class Site:
    """Where: the role of the faulty disk, and globs on the paths below its folder of a run."""

    name: str
    role: str
    paths: tuple[str, ...]


SITES = [
    Site("source", "source", ("/CARD", "/CARD/*")),
    *(
        Site(f"{role} destination", role, ("/.ingest/staging/????????/[0-9]*.part", "/CARD", "/CARD/*"))
        for role in ("first", "second")
    ),
    *(
        Site(f"{what}, {role} destination", role, paths)
        for role in ("first", "second")
        for what, paths in {
            "manifest": ("/.ingest/manifests*", "*/staging/????????/items-*", "*/staging/????????/blocks-*"),
            "marker": ("/.ingest/root.json", "/.ingest/staging/root-*"),
            "leases and claims": ("/.ingest/leases*", "/.ingest/claims*"),
            "own folders": (
                "",
                "/.ingest",
                "/.ingest/staging",
                "/.ingest/staging/????????",
                "/.ingest/staging/probe-*",
            ),
        }.items()
    ),
    Site("journal", "journal", ("", "/*")),
]
QUICK = {
    "source": ["bit flip on read", "EIO on read"],
    "first destination": ["bit flip on write", "ENOTCONN on write", "EIO on rename that happened"],
    "second destination": ["lost write", "EIO on fsync", "ENOSPC on write"],
    "manifest, first destination": ["bit flip on write", "EIO on rename that happened"],
    "manifest, second destination": ["torn write"],
    "marker, first destination": ["lost write"],
    "marker, second destination": ["bit flip on write"],
    "leases and claims, first destination": ["EIO on write"],
    "journal": ["EIO on fsync", "ENOSPC on write", "torn write"],
}


# One run


@dataclass
class Lane:
    """A faulty disk, and room for runs that use it one after the other."""

    disk: Any
    folder: Path
    numbers: Any = field(default_factory=count)


class SilentError(AssertionError):
    """A run was wrong and did not say so."""


@dataclass
class Run:
    """A card, two archives and a journal, one of them on the faulty disk of a lane."""

    lane: Lane
    site: Site
    make_bench: Any
    extra: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        disk, name = self.lane.disk, f"{next(self.lane.numbers)}"
        self.plain, self.held, self.seen = self.lane.folder / name, disk.backing / name, disk.mount / name
        for place in (self.plain, self.held):
            place.mkdir(parents=True)
        self.prefix = f"/{name}"
        self.bench = self.make_bench(self.plain, self.extra)
        self.card = self.bench.card(FILES, self._at("source", held=True) / "CARD", self._at("source") / "CARD")
        self.roots = [self._at(role) for role in ("first", "second")]
        self.truth = {self._at(role): self._at(role, held=True) for role in ("first", "second")}
        self.home, self.kept = self._at("journal"), self._at("journal", held=True)
        for place in [*self.truth.values(), self.kept]:
            place.mkdir(exist_ok=True)

    def _at(self, role: str, *, held: bool = False) -> Path:
        """A role's folder, as the product sees it, or behind the faulty disk."""
        if role == self.site.role:
            return self.held if held else self.seen
        return self.plain / role

    @property
    def paths(self) -> list[str]:
        return [glob if glob.startswith("*") else self.prefix + glob for glob in self.site.paths]

    def command(self) -> list[Any]:
        proven = ["--verify-source"] if self.site.role == "source" else []
        return ["copy", self.card.folder, self.roots[0], "--also", self.roots[1], *OPTIONS, *proven]

    def calls(self) -> dict[str, int]:
        """How often each operation is called here, in a run that nobody disturbs."""
        disk = self.lane.disk
        disk.forget()
        operations = sorted({fault.op for fault in EVERYTHING})
        disk.rules({"op": operations, "path": self.paths, "act": "note", "count": 0})
        ended = self.bench.shell.run(*self.command(), home=self.home)
        disk.rules()
        assert ended.code == 0, ended
        self._whole()
        return Counter(hit["op"] for hit in disk.hits())

    def go(self, rule: dict[str, Any], fault: Fault) -> Outcome | None:
        """Copy with this going wrong, judge, and complete; None if it was not met."""
        disk = self.lane.disk
        disk.forget()
        disk.rules(rule)
        running = self.bench.shell.start(*self.command(), home=self.home)
        if fault.act == "hang" and self.site.name not in ("source", "first destination", "second destination"):
            # Nobody can give up the journal, or what a session begins and ends with: the command waits as long as it
            # takes, if its user does, and goes on.
            self._let_go_on(running, disk)
        ended = running.end(WAIT)
        hits = len(disk.hits())
        disk.rules()
        if fault.act == "die":
            disk.end()
            disk.begin()
        if not hits:
            return None
        if "Traceback" in ended.errors or "internal" in json.dumps(ended.document.get("error", {})):
            raise SilentError(f"a bug was shown: {ended.document} {ended.errors}")
        checked = self._judge(ended)
        checked += self._complete(ended)
        return Outcome(ended.code, hits, checked, said(ended))

    def _let_go_on(self, running: Any, disk: Any) -> None:
        limit = time.monotonic() + 30
        while running.process.poll() is None and not disk.hits() and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(1)
        disk.rules()

    def _judge(self, ended: Any) -> int:
        """What was acknowledged, against what the disks hold."""
        if ended.code == 0:
            # A folder of its own that could not be cleared stays, with a warning.
            return self._check(complete=True, abandoned="staging was not cleared" in json.dumps(ended.document))
        # The journal's shared memory is a mapped file: a disk that takes it away ends the process, as the kernel has it.
        killed = self.site.role == "journal" and ended.code == -signal.SIGBUS
        if not said(ended) and not killed:
            raise SilentError(f"exit {ended.code}, and no word of what: {ended.document}")
        return self._check(complete=False)

    def _complete(self, ended: Any) -> int:
        """The disk is well again: what was begun is completed, by itself or by a new copy."""
        if ended.code == 0:
            return 0
        session = ended.document.get("session")
        for _ in range(TRIES):
            done = self.bench.shell.run("resume", *([session] if session else []), home=self.home, seconds=WAIT)
            if done.code != 8:
                break  # on a machine that is very busy, a disk may be given up that is only slow
        if done.code == 0 and (session or "session" in done.document):
            return self._whole()
        again = self.bench.shell.run(*self.command(), home=self.home, seconds=WAIT)
        if again.code != 0 and self.site.role == "journal" and "ingest catalog rebuild" in str(again.document):
            # What it advises: the archives know all that arrived. Where there are none yet, there is nothing to know.
            archives = [root for root, held in self.truth.items() if (held / ".ingest/root.json").exists()]
            rebuilt = self.bench.shell.run("catalog", "rebuild", *archives, home=self.home)
            if not archives and rebuilt.code == 2 and "move away what is left of it" in str(rebuilt.document):
                for left in ("ingest.sqlite3", "sessions", "trails"):
                    subprocess.run(["rm", "-rf", self.kept / left], check=True)
            elif rebuilt.code != 0 or not rebuilt.document["set_aside"]:
                raise SilentError(f"it cannot be rebuilt: {again} {rebuilt}")
            again = self.bench.shell.run(*self.command(), home=self.home, seconds=WAIT)
        if again.code == 0:
            # What the first session left half-made is still its own, and waits for it.
            return self._check(complete=True, abandoned=True)
        raise SilentError(f"it cannot be completed: {done} {again}")

    def _whole(self) -> int:
        return self._check(complete=True)

    def _check(self, *, complete: bool, abandoned: bool = False) -> int:
        books = self._sound()
        checked = self.bench.check(
            self.card,
            *self.roots,
            complete=complete,
            truth=self.truth,
            home=self.kept,
            books=books,
            abandoned=abandoned,
        )
        return checked + sum(own_files(held, complete=complete) for held in self.truth.values())

    def _sound(self) -> bool:
        """Whether the journal is one. Only its own disk may have damaged it, and then the next command says so."""
        try:
            ((verdict,),) = Journal(self.kept).rows("PRAGMA integrity_check(1)")
        except sqlite3.DatabaseError as error:
            verdict = str(error)
        if verdict == "ok":
            return True
        if self.site.role != "journal":
            raise SilentError(f"the journal was damaged: {verdict}")
        return False

    def clear(self) -> None:
        self.bench.shell.close()
        for place in (self.plain, self.held):
            shutil.rmtree(place, ignore_errors=True)


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `checked`: acknowledgements, then and after it was completed. `said`: what it named."""

    code: int
    hits: int
    checked: int
    said: str


def said(ended: Any) -> str:
    """What a run that failed says of it: paths, or the place that it waits for."""
    document = ended.document
    if "error" in document:
        return f"{document['error']['path']}: {document['error']['cause']}"
    named = [f"{one['path']}: {one['state']} {one['reason']}" for one in document.get("failures", [])]
    return "; ".join([*named, *filter(None, [document.get("problem")])])


def own_files(root: Path, *, complete: bool) -> int:
    """Every marker and manifest part that has its name is whole, and one follows the other; how many there are."""
    found = 0
    marker = root / ".ingest/root.json"
    if complete or marker.exists():
        told = json.loads(marker.read_bytes())
        assert len(told["uuid"]) == 36, told
        found += 1
    for part in sorted(root.glob(".ingest/manifests/session=*/*.parquet")):
        with pq.ParquetFile(part, page_checksum_verification=True) as file:
            file.read()
        found += 1
    return found


# The campaigns


@pytest.fixture(scope="module")
def lanes(keep_faulty_disk, tmp_path_factory):
    """Lanes that nobody uses at the moment."""
    free = SimpleQueue()
    for _ in range(LANES):
        folder = tmp_path_factory.mktemp("lane")
        free.put(Lane(keep_faulty_disk(folder / "disk"), folder))
    return free


def positions(calls: int, fault: Fault, role: str) -> dict[str, tuple[int, int]]:
    """By name: the first call that goes wrong, and how many do (0: all from there on)."""
    found = {"first": (1, 1)}
    if FULL:
        found |= {"middle": ((calls + 1) // 2, 1), "last": (calls, 1)}
        found = {name: at for number, (name, at) in enumerate(found.items()) if at not in list(found.values())[:number]}
        lies = role == "source" and fault.act in ("flip", "zero")  # the same lie each time is the truth to everybody
        if fault.act not in ("hang", "die") and not lies:
            found["always"] = (1, 0)
    return found


class Campaign:
    """Runs at one site."""

    def __init__(
        self, site: Site, lanes: SimpleQueue, make_bench: Any, told: list[str], extra: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.site, self.lanes, self.make_bench, self.told, self.extra = site, lanes, make_bench, told, extra
        self.outcomes: dict[tuple[str, str], Outcome] = {}
        self.wrong: list[str] = []
        self.calls: Counter[str] = Counter()
        self.planned = 0

    def run(self, fault: Fault, position: str, nth: int, times: int) -> None:
        """One run; once more, a call earlier, if its fault was not met."""
        for earlier in range(TRIES):
            with self._lane() as run:
                try:
                    outcome = run.go(fault.rule(run.paths, max(1, nth - earlier), times), fault)
                except Exception as error:  # noqa: BLE001 - all of them are told at the end
                    self._wrong(fault, position, f"{type(error).__name__}: {error}")
                    return
            if outcome is not None:
                self.outcomes[fault.name, position] = outcome
                end = f"exit {outcome.code} | {outcome.checked} acknowledgements | {outcome.said[:100]}"
                self.told.append(f"{self.site.name} | {fault.name} | {position} | {end}")
                return
            if nth - earlier <= 1:
                break
        self._wrong(fault, position, f"call {nth} was never met")

    def _wrong(self, fault: Fault, position: str, why: str) -> None:
        self.wrong.append(f"{self.site.name} | {fault.name} | {position} | WRONG | {why}")
        self.told.append(self.wrong[-1])

    @contextmanager
    def _lane(self) -> Iterator[Run]:
        lane = self.lanes.get()
        run = Run(lane, self.site, self.make_bench, self.extra)
        try:
            yield run
        finally:
            lane.disk.rules()
            run.clear()
            self.lanes.put(lane)

    def all(self, faults: list[Fault]) -> None:
        """Every fault that can be met here, at every position."""
        if FULL:
            with self._lane() as run:
                self.calls = run.calls()
        work = [
            (fault, position, nth, times)
            for fault in faults if not FULL or self.calls[fault.op]
            for position, (nth, times) in positions(self.calls[fault.op], fault, self.site.role).items()
        ]  # fmt: skip
        # In an order that leaves a campaign which is stopped early with something of everything.
        work = Random(self.site.name).sample(work, len(work))
        self.planned = len(work)
        self.told.append(f"{self.site.name}: {len(work)} runs; calls: {dict(self.calls)}")
        with ThreadPoolExecutor(LANES) as pool:
            list(pool.map(lambda one: self.run(*one), work))

    def count(self, tally: Counter[str]) -> None:
        tally["runs"] += len(self.outcomes)
        for outcome in self.outcomes.values():
            tally["faults met"] += outcome.hits
            tally["well in the end"] += outcome.code == 0
            tally["ended non-zero"] += outcome.code != 0
            tally["acknowledgements checked"] += outcome.checked


@pytest.mark.parametrize("site", [site for site in SITES if FULL or site.name in QUICK], ids=lambda site: site.name)
def test_no_fault_is_silent(site, lanes, make_bench, tally, told):
    campaign = Campaign(site, lanes, make_bench, told)

    campaign.all([fault for fault in EVERYTHING if FULL or fault.name in QUICK[site.name]])

    campaign.count(tally)
    assert not campaign.wrong, "\n".join(campaign.wrong)
    assert tally["runs"] == campaign.planned > 0, "each met its fault"
    assert tally["acknowledgements checked"], "nothing was acknowledged: this proves nothing"


@pytest.mark.parametrize(
    ("way", "fault"), [("unproven", "bit flip on write"), ("unproven", "lost write"), ("deaf", "EIO on write")]
)
def test_an_engine_that_breaks_its_promises_is_caught(lanes, make_bench, way, fault):
    extra = (("PYTHONPATH", str(Path(__file__).with_name("meddling"))), ("INGEST_BROKEN", way))
    site = next(site for site in SITES if site.name == "first destination")
    campaign = Campaign(site, lanes, make_bench, [], extra)

    campaign.run(next(one for one in EVERYTHING if one.name == fault), "first", 1, 1)

    (wrong,) = campaign.wrong
    assert "BrokenPromiseError" in wrong
