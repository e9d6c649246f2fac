"""`ingest copy` beside its peers: whole processes, cold source, flush and proof included."""

from __future__ import annotations

import pytest

from ingest.bench import ours
from ingest.bench.peers import PEERS


@pytest.mark.benchmark(group="command")
def test_ingest_copy(run, card):
    run(ours.contender(ours.Choice()), card, cold=True)


@pytest.mark.benchmark(group="command")
def test_ingest_copy_to_two_destinations(run, card):
    run(ours.contender(ours.Choice(destinations=2)), card, cold=True)


@pytest.mark.benchmark(group="command")
@pytest.mark.parametrize("name", PEERS)
def test_peer(run, card, name):
    peer = PEERS[name]
    if peer.missing is not None:
        pytest.skip(f"{peer.missing} is not installed ({peer.source})")
    run(peer.contender(), card, cold=True)
