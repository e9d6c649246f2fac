"""Power cuts: whatever a disk had not flushed is gone, in part or in whole, and nothing that was acknowledged is.

A real session runs once on each file system, on disks of which every write and flush is written down (writelog.py):
the archive's and the journal's, in one order of events. From that the disks are made as a cut at this or that moment
would leave them: all that was flushed, and of the rest any writes, whole or torn. Each state is mounted, which plays
the file system's own log, and looked at: every copy that the recovered journal calls `finalized`, or that a manifest
part lists, has to be there byte for byte; nothing else may have a name; and where the session was not over,
``ingest resume`` completes it.

The same on disks of an engine whose fsync and syncfs do nothing (strace answers in the kernel's place) must show
losses, or the rig proves nothing.

About 45 states by default. ``INGEST_CAMPAIGN=full``: more than 400, of a bigger card, also with one disk for archive
and journal and with two archives.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import blake3
import pytest

from faults.journal import Journal
from faults.writelog import FLUSH, WRITE, Cut, Replay, Timeline

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
pytestmark = [pytest.mark.root, pytest.mark.usefixtures("writelog"), pytest.mark.timeout(3600 if FULL else 250)]

PATIENCE = 60.0  # seconds, for any command of the rig
# The images have holes. A small log is gone round sooner.
MAKERS = {
    "ext4": (192, ["mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=4", "-E", "lazy_itable_init=0"]),
    "xfs": (320, ["mkfs.xfs", "-q", "-f"]),
    "btrfs": (256, ["mkfs.btrfs", "-q", "-f"]),
}
CLOSED = ("completed", "completed_with_errors", "cancelled", "failed")
AT_ONCE = 2
# Pictures in batches that share a flush, clips with flushes of their own, one of them big; in the full campaign so big
# that its first part would be gone on with.
FILES = {
    **{f"DCIM/{100 + number // 50}EOS/IMG_{number:04}.JPG": 700 + 331 * number % 24_000 for number in range(400)},
    **{f"CLIP/C{number:04}.MP4": 260_000 + 90_001 * number for number in range(8)},
    "BIG.MOV": ((66 if FULL else 8) << 20) + 5, "EMPTY.BIN": 0,
}  # fmt: skip
BATCH = 40  # enough to share a flush, few enough for several commits


@dataclass(frozen=True)
class Scene:
    """A session on disks of one kind: of archive and journal `apart`, in `one`, or with `two` archives; and how many
    cuts are made of it.
    """

    kind: str
    disks: str
    cuts: int
    broken: bool = False

    def __str__(self) -> str:
        return f"{self.kind}-{self.disks}{'-unflushed' * self.broken}"

    @property
    def names(self) -> list[str]:
        return {"apart": ["archive", "home"], "one": ["archive"], "two": ["also", "archive", "home"]}[self.disks]


KINDS = ("ext4", "xfs", "btrfs")
SOUND = (
    [Scene(kind, disks, 70 if disks == "apart" else 50) for disks in ("apart", "one") for kind in KINDS]
    + [Scene("ext4", "two", 50)]
    if FULL
    else [*(Scene(kind, "apart", 12) for kind in KINDS), Scene("ext4", "one", 9)]
)
BROKEN = [Scene(kind, "apart", 24 if FULL else 8, broken=True) for kind in (KINDS if FULL else KINDS[:1])]


class RigError(Exception):
    """The rig itself did not do what it should: this says nothing about what is tested."""


def answer(*command, **options):
    """Run a command to its end."""
    command = list(map(str, command))
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)


def run(*command):
    """The same for one that the rig needs."""
    done = answer(*command)
    if done.returncode:
        raise RigError(f"{command}: {done.stderr or done.stdout}")


def mount(stack, image, point):
    """Mount an image, until the stack is closed."""
    point.mkdir(parents=True, exist_ok=True)
    run("mount", "-o", "loop", image, point)
    stack.callback(unmount, point)


def unmount(point):
    """A process that another thread has forked holds what was open here until it is another program."""
    limit = time.monotonic() + PATIENCE
    while (done := answer("umount", point)).returncode:
        if time.monotonic() > limit:
            run("umount", "--lazy", point)
            raise RigError(f"{point} was busy: {done.stderr}")


def apart():
    """Give this thread, and what it starts, a mount namespace of its own.

    Any process that made one meanwhile would keep the disks of this one mounted, and go on writing to them. What is
    mounted here ends with the thread, whatever happens to it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x20000):  # CLONE_NEWNS
        raise RigError(os.strerror(ctypes.get_errno()))
    run("mount", "--make-rprivate", "/")


class LoggedDisks:
    """Fresh disks of one kind, mounted, with everything that happens to them written down until `close`."""

    def __init__(self, folder, kind, names):
        self._folder, self._names = folder, names
        self.fresh = {name: folder / "fresh" / name for name in names}
        self._stack = ExitStack()
        for place in ("fresh", "live", "fuse"):
            (folder / place).mkdir(parents=True)
        megabytes, maker = MAKERS[kind]
        for name, image in self.fresh.items():
            with (folder / "live" / name).open("xb") as file:
                file.truncate(megabytes << 20)
            run(*maker, folder / "live" / name)
            run("cp", "--sparse=always", folder / "live" / name, image)
        try:
            self._serve()
            for name in names:
                mount(self._stack, folder / "fuse" / name, folder / name)
        except BaseException:
            self._stack.close()
            raise

    def _serve(self):
        script = Path(__file__).with_name("writelog.py")
        command = [sys.executable, script, *(self._folder / name for name in ("live", "fuse", "log"))]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._daemon = subprocess.Popen(command, env={**os.environ, "FUSE_LIBRARY_NAME": "fuse3"}, **quiet)
        self._stack.callback(self._stop)
        limit = time.monotonic() + PATIENCE
        while not os.path.ismount(self._folder / "fuse"):
            assert self._daemon.poll() is None, "the daemon did not start"
            assert time.monotonic() < limit, "waited in vain for the disks"
            time.sleep(0.005)

    def _stop(self):
        unmount(self._folder / "fuse")
        try:
            self._daemon.wait(PATIENCE)
        finally:
            self._daemon.kill()

    def mark(self, name):
        (self._folder / "fuse/mark").write_text(name)

    def close(self):
        """Unmount them; what happened."""
        self._stack.close()
        assert self._daemon.returncode == 0, "the log is not whole"
        return Timeline(self._folder / "log", self._names)


@dataclass
class Outcome:
    """What came of a scene."""

    tally: Counter = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


class Session:
    """A session on logged disks, and the states that power cuts leave of it."""

    def __init__(self, scene, bench, card, scratch):
        self.scene, self.bench, self.card = scene, bench, card
        self.folder = scratch / str(scene)
        self.folder.mkdir()
        archives = ["archive", "also"] if scene.disks == "two" else ["archive"]
        self.roots = [self._place(self.folder, name) for name in archives]
        self.home = self._home(self.folder)
        self.draw = Random(os.environ.get("INGEST_SEED") or str(scene))

    def _place(self, base, name):
        """Where an archive is: a disk of its own, or a folder beside the journal."""
        return base / name / "archive" if self.scene.disks == "one" else base / name

    def _home(self, base):
        return base / ("archive" if self.scene.disks == "one" else "home") / "journal"

    def record(self):
        """Run it, to its end; what happened to the disks, and as what they began."""
        disks = LoggedDisks(self.folder, self.scene.kind, self.scene.names)
        try:
            disks.mark("begin")
            self._copy()
            disks.mark("end")
        finally:
            timeline = disks.close()
        return timeline, disks.fresh

    def _copy(self):
        command = self.bench.ingest.command(
            "copy", self.card.folder, *self._targets(), "--create", "--workers", "2", "--batch", str(BATCH)
        )
        if self.scene.broken:
            # The journal's own flushes are fdatasync, and stay.
            calls = "fsync,syncfs"
            command = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={calls}",
                       "-e", f"inject={calls}:retval=0", *command]  # fmt: skip
        done = answer(*command, env={**self.bench.ingest.environment, "INGEST_HOME": str(self.home)})
        if done.returncode:
            raise RigError(f"the session that is to be cut: {done.stderr}")

    def cuts(self, timeline):
        """A third right after a flush of the journal's disk with nothing else kept, which is when an acknowledgement
        has just become durable; a third right before one, with all of the journal's writes and none of the archives';
        the rest anywhere, most of them where much is unflushed, with any share of the writes, some of them torn.

        Later moments are likelier: more has been acknowledged.
        """
        names = self.scene.names
        begin, end = timeline.mark("begin"), timeline.mark("end")
        journal = names[-1]
        flushes = [at for at in timeline.flushes(journal) if begin < at < end]
        nothing, acknowledged = dict.fromkeys(names, 0.0), {name: float(name == journal) for name in names}
        chosen = [Cut(end, nothing)]
        chosen += [Cut(at, nothing) for at in self._late(flushes)]
        chosen += [Cut(at - 1, acknowledged) for at in self._late(flushes)]
        busy = [1 + unflushed for unflushed in timeline.unflushed()]
        for at in self.draw.choices(range(begin, end), busy[begin:end], k=self.scene.cuts - len(chosen)):
            kept = {name: self.draw.choice([0.0, 0.2, 0.5, 0.8, 1.0]) for name in names}
            chosen.append(Cut(at, kept, self.draw.choice([0.0, 0.0, 0.5, 1.0]), self.draw.choice([512, 4096])))
        return sorted(chosen, key=lambda cut: cut.at)

    def _late(self, moments):
        """A third as many moments as there are to be cuts, or all there are."""
        ranked = sorted(moments, key=lambda at: self.draw.random() ** (1 / (1 + moments.index(at)) ** 2))
        return ranked[-(self.scene.cuts // 3) :]

    def play(self):
        """Record the session, cut the power at every chosen moment, and look."""
        outcome = Outcome(self.bench.tally)
        began = time.monotonic()
        timeline, fresh = self.record()
        outcome.tally["writes"] += sum(event.kind == WRITE for event in timeline.events)
        outcome.tally["flushes"] += sum(event.kind == FLUSH for event in timeline.events)
        replay = Replay(timeline, fresh)
        states = {name: self.folder / "state" / f"{name}.img" for name in self.scene.names}
        (self.folder / "state").mkdir()
        try:
            for number, cut in enumerate(self.cuts(timeline)):
                outcome.tally["unflushed writes"] += replay.cut(cut, states, self.draw)
                outcome.tally["power cuts"] += 1
                try:
                    self._look(states, resume=not self.scene.broken and number % (5 if FULL else 4) == 0)
                except AssertionError as error:
                    outcome.broken.append(f"{cut}: {error}")
        finally:
            replay.close()
        outcome.tally["seconds"] += round(time.monotonic() - began)
        shutil.rmtree(self.folder)
        return outcome

    def _look(self, states, *, resume):
        """Mount one state, and see whether every promise holds in it."""
        base = self.folder / "state"
        with ExitStack() as stack:
            for name, image in states.items():
                mount(stack, image, base / name)
            truth = {root: self._place(base, root.name) for root in self.roots}
            home = self._home(base)
            if self.scene.broken:
                self._count(home, truth)
            session = self._check(home, truth)
            if resume:
                self._go_on(base, home, truth, session)

    def _count(self, home, truth):
        """How many copies the journal calls finalized, and how many of them are not there as it says."""
        journal = Journal(home)
        session = journal.session(self.card)
        for row in journal.copies(session["key"]).values() if session else ():
            if row["state"] == "finalized":
                place = truth[Path(os.fsdecode(row["root_path"]))] / os.fsdecode(row["path"])
                whole = place.is_file() and blake3.blake3(place.read_bytes()).digest() == row["blake3"]
                self.bench.tally["finalized copies"] += 1
                self.bench.tally["lost or wrong"] += not whole

    def _check(self, home, truth):
        journal = Journal(home)
        session = journal.session(self.card)
        over = session is not None and session["state"] in CLOSED
        for held in truth.values():
            if (marker := held / ".ingest/root.json").exists():
                assert json.loads(marker.read_text())["uuid"]
        # Whether staging was cleared is no promise of a disk that lost its last writes.
        found = self.bench.check(self.card, *truth, complete=over, abandoned=True, home=home, truth=truth)
        self.bench.tally["states with acknowledgements"] += found > 0
        return session

    def _go_on(self, base, home, truth, session):
        """What its user would do: `resume` what was not over, or else copy the card again."""
        going = session is not None and session["state"] not in CLOSED
        command = ["resume"] if going else ["copy", self.card.folder, *self._targets(), "--create"]
        binds = " && ".join(f"mount --bind '{base / name}' '{self.folder / name}'" for name in self.scene.names)
        place = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{binds} && exec "$@"', "sh"]
        environment = {**self.bench.ingest.environment, "INGEST_HOME": str(self.home)}
        done = answer(*place, *self.bench.ingest.command(*command), env=environment)
        assert done.returncode == 0, f"{command[0]}: {done.stderr}"
        self.bench.check(self.card, *truth, abandoned=not going, home=home, truth=truth)
        self.bench.tally["resumed" if going else "copied again"] += 1

    def _targets(self):
        return [self.roots[0], *(part for root in self.roots[1:] for part in ("--also", root))]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A place in memory for the disks, of a size that nothing can exceed; nothing stays mounted there."""
    if answer("unshare", "--mount", "true").returncode:
        pytest.skip("needs the right to mount, which this container does not have")
    folder = tmp_path_factory.mktemp("power")
    run("mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", folder)
    try:
        yield folder
    finally:
        unmount(folder)
    left = [line for line in answer("losetup", "--list").stdout.splitlines() if f"{folder}/" in line]
    assert not left, left


@pytest.fixture(scope="module")
def played(request, scratch, make_bench):
    """The outcomes of all scenes that were asked for, which are played side by side."""
    wanted = [
        item.callspec.params["scene"] for item in request.session.items
        if item.fspath == request.node.fspath and "scene" in getattr(getattr(item, "callspec", None), "params", {})
    ]  # fmt: skip
    first = make_bench()
    card = first.card(FILES, first.folder / "CARD", first.folder / "CARD")
    with ThreadPoolExecutor(AT_ONCE, initializer=apart) as pool:
        sessions = {scene: Session(scene, make_bench(), card, scratch) for scene in wanted}
        yield {scene: pool.submit(session.play) for scene, session in sessions.items()}
        pool.shutdown(cancel_futures=True)


def test_a_cut_leaves_what_was_flushed_and_what_else_it_is_told_to(scratch):
    with ThreadPoolExecutor(1, initializer=apart) as pool:
        pool.submit(cut_twice, scratch).result()


def cut_twice(scratch):
    disks = LoggedDisks(scratch / "rig", "ext4", ["disk"])
    point, state = scratch / "rig/disk", scratch / "rig/state.img"
    whole = b"".join(number.to_bytes(4, "big") * 1024 for number in range(200))
    try:
        disks.mark("begin")
        with (point / "flushed").open("xb") as file:
            file.write(whole)
            file.flush()
            os.fsync(file.fileno())
        disks.mark("flushed")
        (point / "sent").write_bytes(whole)
        os.sync()
        disks.mark("end")
    finally:
        timeline = disks.close()
    replay = Replay(timeline, disks.fresh)

    def after(moment, kept):
        replay.cut(Cut(moment, {"disk": kept}), {"disk": state}, Random(1))
        with ExitStack() as stack:
            mount(stack, state, scratch / "rig/look")
            return {path.name: path.read_bytes() for path in (scratch / "rig/look").iterdir() if path.is_file()}

    assert after(timeline.mark("begin"), 0.0) == {}
    assert after(timeline.mark("flushed"), 0.0) == {"flushed": whole}
    assert after(timeline.mark("end"), 1.0) == {"flushed": whole, "sent": whole}
    replay.cut(Cut(len(timeline.events), {"disk": 1.0}), {"disk": state}, Random(1))
    replay.close()
    assert answer("cmp", state, scratch / "rig/live/disk").returncode == 0, "a write is not in the log"


@pytest.mark.parametrize("scene", SOUND, ids=str)
def test_a_power_cut_takes_nothing_that_was_acknowledged(played, scene, tally):
    outcome = played[scene].result()
    tally.update(outcome.tally)

    assert not outcome.broken, f"{len(outcome.broken)} of {scene.cuts}: " + "\n".join(outcome.broken[:5])
    assert outcome.tally["power cuts"] == scene.cuts
    assert outcome.tally["acknowledgements checked"] > len(FILES), "this proves nothing"
    assert outcome.tally["resumed"] + outcome.tally["copied again"]


@pytest.mark.parametrize("scene", BROKEN, ids=str)
def test_an_engine_that_does_not_flush_is_caught(played, scene, tally):
    outcome = played[scene].result()
    tally.update(outcome.tally)
    tally["states that broke a promise"] += len(outcome.broken)

    assert outcome.broken
    assert outcome.tally["lost or wrong"]
