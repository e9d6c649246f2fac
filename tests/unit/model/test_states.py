from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model.states import (
    ARRIVED,
    CLOSED,
    ENDED,
    ITEM_TRANSITIONS,
    RANK,
    SESSION_TRANSITIONS,
    WAITING,
    IllegalTransitionError,
    ItemState,
    SessionState,
    advance,
    worst,
)

TABLES = {ItemState: ITEM_TRANSITIONS, SessionState: SESSION_TRANSITIONS}
RETRIED = {ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED}


@pytest.mark.parametrize("kind", [ItemState, SessionState])
def test_every_state_has_its_line_in_the_table(kind):
    assert set(TABLES[kind]) == set(kind)


@pytest.mark.parametrize("kind", [ItemState, SessionState])
def test_the_table_decides_every_step(kind):
    tried = 0
    for now, then in product(kind, kind):
        tried += 1
        if then in TABLES[kind][now]:
            assert advance(now, then) is then
        else:
            with pytest.raises(IllegalTransitionError, match=f"{now.name.lower().split('_')[0]}.*->"):
                advance(now, then)
    assert tried == len(kind) ** 2


def test_an_ended_item_stays_ended_but_for_a_retry():
    for state in ENDED:
        allowed = {ItemState.DISCOVERED} if state in RETRIED else set()
        assert ITEM_TRANSITIONS[state] == allowed, state


def test_a_closed_session_stays_closed_but_for_one_with_errors():
    for state in CLOSED - {SessionState.COMPLETED_WITH_ERRORS}:
        assert not SESSION_TRANSITIONS[state], state
    assert SessionState.PLANNING in SESSION_TRANSITIONS[SessionState.COMPLETED_WITH_ERRORS]


def test_no_state_leads_to_itself_but_a_session_that_is_interrupted_again():
    again = [state for table in TABLES.values() for state, after in table.items() if state in after]
    assert again == [SessionState.INTERRUPTED]


def test_nothing_is_final_before_it_was_validated():
    # `finalized` straight from the start is for what a dead run had finished; from a half-made copy there is no way.
    assert ItemState.FINALIZED not in ITEM_TRANSITIONS[ItemState.COPYING]
    assert ItemState.FINALIZED not in ITEM_TRANSITIONS[ItemState.COPIED]
    assert ItemState.FINALIZED in ITEM_TRANSITIONS[ItemState.VALIDATED]


def test_whatever_is_under_way_may_fail_be_cancelled_or_wait():
    under_way = [state for state in ItemState if state not in ENDED | WAITING]
    for state in under_way:
        assert {ItemState.FAILED, ItemState.CANCELLED, *WAITING} <= ITEM_TRANSITIONS[state], state


@pytest.mark.parametrize(
    "way",
    [
        ["planned", "copying", "copied", "validated", "finalized"],
        ["planned", "copying", "planned", "copying", "copied", "validated", "duplicate"],
        ["planned", "copying", "copied", "validated", "planned", "copying", "failed", "discovered", "planned"],
        ["duplicate"],
        ["waiting_network", "planned", "cancelled"],
    ],
)
def test_the_ways_of_the_specification_are_open(way):
    now = ItemState.DISCOVERED
    for word in way:
        now = advance(now, ItemState(word))


@pytest.mark.parametrize(
    "way",
    [
        ["scanning", "planning", "copying", "finalizing", "completed"],
        ["scanning", "planning", "copying", "validating", "finalizing", "completed_with_errors", "planning"],
        ["scanning", "paused(network)", "scanning", "planning", "paused(space)", "planning", "copying", "paused(user)"],
        ["interrupted", "scanning"],
    ],
)
def test_the_ways_of_a_session_are_open(way):
    now = SessionState.PENDING
    for word in way:
        now = advance(now, SessionState(word))


@given(st.data(), st.sampled_from([ItemState, SessionState]))
def test_a_walk_by_the_table_never_leaves_it(data, kind):
    now = data.draw(st.sampled_from(list(kind)))
    for _ in range(20):
        choices = sorted(TABLES[kind][now])
        if not choices:
            break
        now = advance(now, data.draw(st.sampled_from(choices)))
        assert now in TABLES[kind]


def test_the_rank_knows_every_state_once():
    assert sorted(RANK.values()) == list(range(len(ItemState)))


@given(st.lists(st.sampled_from(list(ItemState)), min_size=1))
def test_an_item_is_as_well_off_as_the_worst_of_its_copies(states):
    found = worst(states)
    assert found in states
    assert all(RANK[found] <= RANK[state] for state in states)


@pytest.mark.parametrize("bad", sorted(set(ItemState) - ARRIVED - {ItemState.SKIPPED, ItemState.EXCLUDED}))
def test_one_copy_that_did_not_arrive_keeps_the_item_from_having_arrived(bad):
    assert worst([ItemState.FINALIZED, bad, ItemState.DUPLICATE]) is bad


def test_a_failure_outweighs_everything():
    assert worst(list(ItemState)) is ItemState.FAILED


def test_the_sets_agree_with_the_properties():
    for state in ItemState:
        assert state.ended == (state in ENDED)
        assert state.arrived == (state in ARRIVED)
        assert not (state.ended and state in WAITING)
    for each in SessionState:
        assert each.resumable == (each not in CLOSED)
        assert each.paused == str(each).startswith("paused(")
