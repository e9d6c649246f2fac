from __future__ import annotations

import errno
import json

import pytest

from ingest.errors import IngestError, PausedError
from ingest.model.states import ItemState, SessionState
from ingest.pipeline import finalize
from ingest.pipeline.finalize import final_state, look_again, manifest_failed, root_state
from ingest.session.rows import Copy
from ingest.session.trails import Trails
from ingest.storage.roots import open_destination

DONE, PART_DONE = SessionState.COMPLETED, SessionState.COMPLETED_WITH_ERRORS
SPACE, NETWORK, USER = SessionState.PAUSED_SPACE, SessionState.PAUSED_NETWORK, SessionState.PAUSED_USER


@pytest.fixture
def ended(desk, item):
    """A desk whose items ended like this, on two roots."""

    def make(*states: ItemState):
        d = desk(roots=2)
        d.session.add(*[item(number, state=state) for number, state in enumerate(states, 1)])
        return d

    return make


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], DONE),
        ([ItemState.FINALIZED, ItemState.DUPLICATE, ItemState.EXCLUDED, ItemState.SKIPPED], DONE),
        ([ItemState.FINALIZED, ItemState.FAILED], PART_DONE),
        ([ItemState.FINALIZED, ItemState.CHANGED], PART_DONE),
        ([ItemState.REMOVED], PART_DONE),
        ([ItemState.FINALIZED, ItemState.DISCOVERED], SessionState.INTERRUPTED),
        ([ItemState.FAILED, ItemState.DISCOVERED], SessionState.INTERRUPTED),
    ],
)
def test_a_session_ends_as_its_items_did(ended, states, expected):
    d = ended(*states)
    assert final_state(d.board, d.session.journal) is expected


def test_a_journal_that_lost_rows_of_what_was_scanned_never_says_that_all_is_done(ended):
    d = ended(ItemState.FINALIZED, ItemState.FINALIZED)
    d.session.journal.scanned(0.0, 2)
    assert final_state(d.board, d.session.journal) is DONE

    d.session.journal.scanned(0.0, 3)

    for _ in range(2):
        assert final_state(d.board, d.session.journal) is SessionState.INTERRUPTED
    (problem,) = d.board.problems
    assert "2 of the 3 items" in problem
    assert "move it away" in problem


def test_a_folder_that_could_not_be_made_is_an_error_of_the_session(ended):
    d = ended(ItemState.FINALIZED)
    d.board.folders_failed = 1
    assert final_state(d.board, d.session.journal) is PART_DONE


def test_stopping_outweighs_space_and_space_outweighs_distance(ended):
    d = ended(ItemState.FINALIZED, ItemState.DISCOVERED)
    d.board.lose_source(0, "pulled")
    assert final_state(d.board, d.session.journal) is NETWORK
    d.board.pause_root(0, NETWORK, "away")
    assert final_state(d.board, d.session.journal) is NETWORK
    d.board.pause_root(1, SPACE, "full")
    assert final_state(d.board, d.session.journal) is SPACE
    d.board.stopping = True
    assert final_state(d.board, d.session.journal) is USER


def test_a_destination_ends_for_itself(ended):
    d = ended(ItemState.FINALIZED)
    d.session.put(Copy(1, 0, ItemState.FINALIZED, sequence=1), Copy(1, 1, ItemState.FAILED, sequence=1))
    assert [root_state(d.board, d.session.journal, root) for root in (0, 1)] == [DONE, PART_DONE]

    d.board.pause_root(1, SPACE, "full")
    assert [root_state(d.board, d.session.journal, root) for root in (0, 1)] == [DONE, SPACE]


def test_the_first_cause_that_paused_a_destination_stays(ended):
    d = ended()
    d.board.pause_root(0, SPACE, "full")
    d.board.pause_root(0, NETWORK, "away")

    assert d.board.root_states[0] is SPACE
    assert len(d.board.problems) == len(d.warnings) == 1


@pytest.mark.parametrize(
    ("error", "state"),
    [(PausedError("no room", errno=errno.ENOSPC), SPACE), (IngestError("no", errno=errno.EIO), NETWORK)],
)
def test_a_manifest_that_cannot_be_written_stops_its_root(ended, error, state):
    d = ended()
    manifest_failed(d.board, 1, error)

    assert d.board.root_states == [SessionState.COPYING, state]
    assert "manifest" in d.board.problems[0]


def test_before_all_is_called_done_each_root_is_looked_at_again(ended):
    d = ended()
    roots = [open_destination(tree.name) for tree in d.session.roots]
    look_again(d.board, roots)
    assert d.board.root_states == [SessionState.COPYING] * 2

    marker = d.session.roots[1].path / ".ingest/root.json"
    said = json.loads(marker.read_text())
    marker.write_text(json.dumps({**said, "uuid": "6fa459ea-ee8a-3ca4-894e-db77e160355e"}))
    look_again(d.board, [None, roots[1]])

    assert d.board.root_states == [SessionState.COPYING, NETWORK]


def test_what_still_waits_for_its_name_is_kept_when_staging_is_cleared(ended, tmp_path):
    d = ended(ItemState.DISCOVERED)
    roots = [open_destination(tree.name) for tree in d.session.roots]
    folder = b".ingest/staging/" + d.session.facts.short.encode()
    for tree in d.session.roots:
        tree.put(folder + b"/1.part", b"proven")
        tree.put(folder + b"/2.part", b"half")
    d.session.put(Copy(1, 0, ItemState.VALIDATED, staging=folder + b"/1.part"))

    finalize.clean_up(d.board, roots, USER, d.session.journal, Trails(tmp_path, "none", wanted=True))

    assert d.session.roots[0].get(folder + b"/1.part") == b"proven"
    assert d.session.roots[0].get(folder + b"/2.part") is None
    assert d.session.roots[1].get(folder + b"/1.part") is None
