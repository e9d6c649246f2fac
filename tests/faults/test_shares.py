"""NFS and CIFS shares that are lost in the middle of a session: real servers and the kernel's own clients, in a guest.

What test_network.py asks of sshfs, asked of what is mounted in offices. Each run has a guest (guest.py) of its own: a
mount that hangs for ever, as a hard one does, hangs in a machine that is killed afterwards. In it test_network.py's own
code loses the share (errand.py, shares.py).

``INGEST_CAMPAIGN=full`` only: 48 runs, every fault as source and as destination, mounted soft and hard, with
``ingest resume`` and with ``--wait``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle, product
from pathlib import Path
from random import Random

import pytest

from faults.guest import Guest, image

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("guest", "shares"),
    pytest.mark.timeout(7200),
    pytest.mark.skipif(os.environ.get("INGEST_CAMPAIGN") != "full", reason="takes an hour: INGEST_CAMPAIGN=full"),
]

AT_ONCE = 2
LIFE = 600.0  # seconds
ERRAND = Path(__file__).with_name("errand.py")
FAULTS = ("cut", "hole", "kill", "freeze")
SHARES = ("nfs-soft", "nfs-hard", "cifs-soft", "cifs-hard")


@dataclass(frozen=True)
class Case:
    """As in test_network.py."""

    fault: str
    role: str
    options: str
    moment: float
    wait: bool

    def __str__(self) -> str:
        return f"{self.options}-{self.fault}-{self.role}-{self.moment:.0%}{'-wait' * self.wait}"


def campaign() -> list[Case]:
    """At random moments, the same ones in every run of the tests."""
    random = Random("a share of the kernel's")
    soft, hard = cycle(SHARES[::2]), cycle(SHARES[1::2])
    resumed = product(FAULTS, ("source", "only"), SHARES, [False])
    waited = [
        (fault, role, next(share), True) for fault, role, share in product(FAULTS, ("source", "only"), (soft, hard))
    ]
    return [
        Case(fault, role, share, random.uniform(0.05, 0.35 if role == "source" else 0.8), wait)
        for fault, role, share, wait in (*resumed, *waited)
    ]


def run(folder, case):
    """Lose the share in a guest; what came of it."""
    disks = [image(folder / name, "ext4", 512) for name in ("bench.img", "server.img")]
    (folder / "case.json").write_text(json.dumps({"folder": "/mnt/bench/run", "case": asdict(case)}))
    try:
        with Guest(folder, disks, megabytes=1024, seconds=LIFE) as made:
            made.mount("a", "/mnt/bench", "ext4")
            done = made.run(sys.executable, ERRAND, "lose", folder / "case.json", seconds=LIFE)
            return json.loads(done.out.splitlines()[-1])
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """The runs of all the tests that were chosen, several at a time: most of one is waiting."""
    parameters = [getattr(getattr(item, "callspec", None), "params", {}) for item in request.session.items]
    chosen = [given["case"] for given in parameters if isinstance(given.get("case"), Case)]
    pool = ThreadPoolExecutor(AT_ONCE)
    yield {case: pool.submit(run, tmp_path_factory.mktemp("share"), case) for case in chosen}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", campaign(), ids=str)
def test_a_lost_share_is_survived(case, runs, tally, times):
    came = runs[case].result()

    assert came["broken"] is None, f"{came['broken']}\n{came['told']}"
    for what, taken in came["times"].items():
        times[f"{case.options}: {what}"].extend(taken)
    tally.update(came["tally"])
    assert tally["acknowledgements checked"], "nothing was acknowledged: this proves nothing"
