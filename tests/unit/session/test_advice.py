"""Every item that is not where it should be gets a sentence that says what to do."""

from __future__ import annotations

import ast
import errno
import re
from pathlib import Path

import pytest

import ingest
from ingest.errors import REASON_ADVICE, TRANSIENT
from ingest.model.states import ARRIVED, ENDED, ItemState
from ingest.session.advice import advice_of
from ingest.session.report import failure

PACKAGE = Path(ingest.__file__).parent
# An advice tells to do something, or that nothing has to be done.
IMPERATIVE = re.compile(
    r"ingest (copy|resume)|nothing has to be done|Give |Keep |Make |Bring |See |Try |Check |check |wait |try |use |shorten|"
    r"rename|remove |copy again|Raise|remount|do not use|mounted"
)


@pytest.mark.parametrize("state", [state for state in ItemState if state not in ARRIVED])
def test_every_state_has_an_advice_without_any_reason(state):
    assert IMPERATIVE.search(advice_of(state, None))


@pytest.mark.parametrize("state", sorted(ARRIVED))
def test_what_has_arrived_needs_none(state):
    assert advice_of(state, "anything", errno.EIO) == ""


@pytest.mark.parametrize("state", [state for state in ItemState if not state.ended])
def test_what_has_not_ended_is_gone_on_with(state):
    assert "ingest resume" in advice_of(state, None)


@pytest.mark.parametrize("reason", sorted(REASON_ADVICE))
@pytest.mark.parametrize("state", [ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED])
def test_every_reason_has_its_own(state, reason):
    assert advice_of(state, reason) == REASON_ADVICE[reason]
    assert IMPERATIVE.search(advice_of(state, reason))


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_any_errno_has_one(number):
    assert IMPERATIVE.search(advice_of(ItemState.FAILED, None, number))
    if number in TRANSIENT - {errno.EIO}:
        assert "resume" in advice_of(ItemState.FAILED, None, number)


def reasons_in(source: str) -> set[str]:
    """Reasons that the program gives: words handed to `end`, `Judgement`, `_abandon` and items of the scan."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "end",
            "Judgement",
            "ended",
            "end_item",
        ):
            found |= {
                each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
            }
    return found


def test_no_reason_that_the_program_gives_is_without_an_advice_of_its_own():
    given = set().union(*(reasons_in(path.read_text()) for path in (PACKAGE / "pipeline").glob("*.py")))

    assert {"corrupt_destination", "litter", "symlink", "taken", "flush"} <= given, "they are found"
    general = {advice_of(state, None) for state in ItemState if state in ENDED}
    assert [reason for reason in given if advice_of(ItemState.FAILED, reason) in general] == []


@pytest.mark.parametrize("state", list(ItemState))
def test_a_listed_item_of_any_state_says_what_to_do(item, state):
    told = failure(item(1, state=state), None, b"/card")

    assert told.state is state
    assert bool(told.advice) is (state not in ARRIVED)
