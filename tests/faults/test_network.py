"""A share that is lost in the middle of a session, as source, as destination, and as one of two.

Each run has a network, a server and a mount of its own (netmount.py), so that several go on side by side: most of a
run is waiting. Of every run it is asked: does it pause within 30 s and say for what; is the other destination
complete; is everything there, on the server, that was acknowledged; does it complete when the share is back, by
``ingest resume`` or, with ``--wait``, by itself.

8 runs by default. ``INGEST_CAMPAIGN=full``: every fault in every role with either way of mounting, at random moments,
and every fault in every role once more with ``--wait``: 39 runs, whose times are shown at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from random import Random

import pytest

from faults.netmount import FAULTS, NetMount, RigError

FULL = os.environ.get("INGEST_CAMPAIGN") == "full"
pytestmark = [pytest.mark.root, pytest.mark.usefixtures("netmount"), pytest.mark.timeout(900 if FULL else 200)]

PAUSE = 30.0  # seconds from the loss to the pause (the specification's section 5)
RETURN = 10.0  # seconds from the return to the first step, with --wait
AT_ONCE = 5  # runs side by side
STATFS = {"x86_64": 137, "aarch64": 43}[os.uname().machine]  # the call's number
# Pictures first, in small batches: something is acknowledged early. Some three seconds one way at 20 MB/s.
FILES = {
    **{f"100EOS/IMG_{number:04}.JPG": 90_000 + 977 * number for number in range(16)},
    **{f"CLIP/C{number:04}.MP4": (12 << 20) + number for number in range(4)},
}
MANY = {f"D{number % 40:02}/IMG_{number:05}.JPG": 500 for number in range(2000)}  # takes long enough to scan


class NoPauseError(AssertionError):
    """It did not pause as it has to."""


@dataclass(frozen=True)
class Case:
    """One run. `moment`: the part of the work that is done when the share is lost, or a state of the session.

    Work is what is written and read back: of a source nothing is needed any more when half of it is done.
    """

    fault: str
    role: str
    options: str
    moment: float | str
    wait: bool = False

    def __str__(self) -> str:
        moment = self.moment if isinstance(self.moment, str) else f"{self.moment:.0%}"
        return f"{self.fault}-{self.role}-{self.options}-{moment}"


def campaign(*, wait: bool) -> list[Case]:
    """Every fault in every role; at random moments, the same ones in every run of the tests."""
    random = Random("a share that is lost")
    every = product(("cut", "hole", "kill", "freeze"), ("source", "only", "both"))

    def moment(role: str) -> float:
        return random.uniform(0.05, 0.35 if role == "source" else 0.9)

    if wait:
        mounts = cycle(["plain", "reconnect", "plain", "reconnect", "plain"])  # not the same ones for each fault
        return [Case(*one, next(mounts), moment(one[1]), wait=True) for one in every]
    return [Case(*one, mount, moment(one[1])) for one, mount in product(every, ("plain", "reconnect"))]


PHASES = [
    Case("freeze", "source", "plain", "scanning"), Case("freeze", "only", "plain", "planning"),
    Case("freeze", "only", "plain", "finalizing"),
]  # fmt: skip
QUICK = [
    Case("kill", "only", "plain", 0.3), Case("kill", "source", "reconnect", 0.4), Case("freeze", "both", "plain", 0.3),
    Case("hole", "only", "reconnect", 0.5), Case("cut", "source", "plain", 0.4), PHASES[0],
]  # fmt: skip
QUICK_WAITED = [
    Case("freeze", "only", "reconnect", 0.3, wait=True), Case("kill", "both", "plain", 0.4, wait=True),
]  # fmt: skip
RESUMED = [*campaign(wait=False), *PHASES] if FULL else QUICK
WAITED = campaign(wait=True) if FULL else QUICK_WAITED


class Loss:
    """A session that is under way on a share, and the loss of it.

    LOOK: seconds between two looks for its moment. PATIENCE: how long that may take to come.
    """

    LOOK, PATIENCE = 0.002, 60.0

    def __init__(self, case, make_share, bench, times):
        self.case, self.bench, self.times = case, bench, times
        self.share = make_share(bench.folder / "net", case.options)
        self.archive = bench.folder / "archive"
        self.archive.mkdir()
        held = self.share.served if case.role == "source" else bench.folder
        seen = self.share.mount if case.role == "source" else bench.folder
        files = MANY if case.moment == "scanning" else FILES
        self.card = bench.card(files, held / "CARD", seen / "CARD")
        self.roots = {"source": [self.archive], "only": [self.share.mount], "both": [self.share.mount, self.archive]}[
            case.role
        ]
        self.place = self.card.folder if case.role == "source" else self.share.mount
        self.events = bench.folder / "events"

    def begin(self, *options):
        """Start the copy, and lose the share when its moment has come."""
        also = [part for root in self.roots[1:] for part in ("--also", root)]
        self.running = self.bench.shell.start(
            "copy", self.card.folder, self.roots[0], *also, "--batch", "4", "--events", self.events, *options
        )
        limit = time.monotonic() + self.PATIENCE
        while not self._due():
            if self.running.process.poll() is not None or time.monotonic() > limit:
                raise RigError(f"{self.case}: the moment never came")
            time.sleep(self.LOOK)
        self.share.lose(self.case.fault)
        self.lost = time.monotonic()

    def _due(self):
        moment = self.case.moment
        if isinstance(moment, str):
            return bool(self.bench.journal.live("SELECT 1 FROM sessions WHERE state = ?", moment))
        shown = [event for event in self.told("progress") if event["phase"] == "copying" and event["work"]]
        return bool(shown) and shown[-1]["work_done"] / shown[-1]["work"] >= moment

    def told(self, kind):
        """The events of a kind so far; the last line may still be half written."""
        lines = self.events.read_text().split("\n")[:-1] if self.events.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def other_is_complete(self):
        """The healthy one of two destinations has every file."""
        there = {path for path in self.card.versions if (self.archive / "CARD" / path).is_file()}
        return self.case.role != "both" or there == set(self.card.versions)

    def check(self, *, complete):
        """Look at the server's own folder: what the mount shows may come out of a cache."""
        self.bench.check(self.card, *self.roots, complete=complete, truth={self.share.mount: self.share.served})

    def close(self):
        self.share.close()  # first: whatever hangs in it can end then
        self.bench.shell.close()


def pause_and_resume(loss):
    loss.begin()
    try:
        ended = loss.running.end(PAUSE)
    except subprocess.TimeoutExpired:
        raise NoPauseError(f"{PAUSE} s after the loss it is still at work") from None
    loss.times["a lost share: to the pause"].append(time.monotonic() - loss.lost)
    document = ended.document
    if (ended.code, document.get("state")) != (8, "paused(network)"):
        raise NoPauseError(f"exit {ended.code}: {document.get('state') or document.get('error')}")
    if str(loss.place) not in (document["problem"] or ""):
        raise NoPauseError(f"it does not say what it waits for: {document['problem']}")
    if wrong := {name: document["items"][name] for name in ("failed", "changed", "removed") if document["items"][name]}:
        raise NoPauseError(f"items are blamed for the share: {wrong}")
    assert loss.other_is_complete()
    assert document["destinations"][0]["state"] == "paused(network)"

    loss.share.back()

    loss.check(complete=False)
    resumed = loss.bench.shell.run("resume", seconds=120)
    assert (resumed.code, resumed.document.get("state")) == (0, "completed"), resumed
    loss.check(complete=True)


def wait_and_go_on(loss):
    def paused():
        assert loss.running.process.poll() is None, loss.running.end()
        return bool(loss.bench.journal.live("SELECT 1 FROM sessions WHERE state = 'paused(network)'"))

    def going():
        state = loss.bench.journal.live("SELECT state FROM sessions")
        return loss.running.process.poll() is not None or bool(state and not state[0][0].startswith("paused"))

    loss.begin("--wait")
    wait_for(paused, PAUSE, "the pause")
    loss.times["a lost share, --wait: to the pause"].append(time.monotonic() - loss.lost)
    assert loss.other_is_complete()
    wait_for(lambda: loss.told("waiting"), 5.0, "the event that says so")
    assert str(loss.place) in json.dumps(loss.told("waiting")[-1])

    loss.share.back()
    returned = time.monotonic()

    wait_for(going, RETURN, "the first step after the return")
    loss.times["a lost share, --wait: from the return to the first step"].append(time.monotonic() - returned)
    ended = loss.running.end(120)
    assert (ended.code, ended.document["state"]) == (0, "completed"), ended
    loss.check(complete=True)


def wait_for(found, seconds, what):
    limit = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < limit, f"waited {seconds} s in vain: {what}"
        time.sleep(0.02)


def run(case, bench, times):
    loss = Loss(case, NetMount, bench, times)
    try:
        (wait_and_go_on if case.wait else pause_and_resume)(loss)
    finally:
        loss.close()
        shutil.rmtree(bench.folder)


@pytest.fixture(scope="module")
def runs(request, make_bench, times):
    """The runs of all the tests that were chosen: of each its bench, and what comes of it."""
    parameters = [getattr(getattr(item, "callspec", None), "params", {}) for item in request.session.items]
    chosen = [given["case"] for given in parameters if isinstance(given.get("case"), Case)]
    pool = ThreadPoolExecutor(AT_ONCE)
    begun = {}
    for case in chosen:
        bench = make_bench()
        begun[case] = bench, pool.submit(run, case, bench, times)
    yield begun
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", RESUMED, ids=str)
def test_a_lost_share_pauses_the_session_and_resume_completes_it(case, runs, tally):
    bench, outcome = runs[case]
    try:
        outcome.result()
    finally:
        tally.update(bench.tally)


@pytest.mark.parametrize("case", WAITED, ids=str)
def test_a_lost_share_is_waited_for_and_the_session_goes_on_by_itself(case, runs, tally):
    bench, outcome = runs[case]
    try:
        outcome.result()
    finally:
        tally.update(bench.tally)


# The rig


def host():
    """All of the host's network that a rig could spoil."""
    asked = [["ip", "-o", "link"], ["ip", "-o", "addr"], ["ip", "route"], ["ip", "rule"], ["iptables", "-S"]]
    return [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in asked]


def asks(pid: int) -> bool:
    """Whether a process waits for the answer to statfs."""
    return Path(f"/proc/{pid}/syscall").read_text().startswith(f"{STATFS} ")


@pytest.mark.parametrize("options", ["plain", "reconnect"])
def test_every_fault_silences_a_share_and_the_host_is_left_as_it_was(until, tmp_path, options):
    before = host()
    share = NetMount(tmp_path / "net", options)
    try:
        (share.served / "file").write_text("here")
        for fault in FAULTS:
            share.lose(fault)
            assert not share.answers(0.5), fault
            share.back()
            assert (share.mount / "file").read_text() == "here", fault
        share.lose("freeze")  # and is torn down while somebody hangs in it
        hanging = subprocess.Popen(["stat", "--file-system", share.mount], stderr=subprocess.DEVNULL)
        until(lambda: asks(hanging.pid), "somebody who hangs")
    finally:
        share.close()

    assert hanging.wait(5) != 0
    assert not os.path.ismount(share.mount)
    assert host() == before
    spaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert not [space for space in share.spaces if space in spaces]
