"""The states of items, copies and sessions, and the one table of legal transitions for each.

The words are the specification's. Anything that is not in a table is a bug, and raises.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeVar


class ItemState(StrEnum):
    """Where an item, or one of its copies, stands."""

    DISCOVERED = "discovered"
    PLANNED = "planned"
    COPYING = "copying"
    COPIED = "copied"
    VALIDATED = "validated"
    FINALIZED = "finalized"
    DUPLICATE = "duplicate"
    EXCLUDED = "excluded"
    SKIPPED = "skipped"
    REMOVED = "removed"
    CHANGED = "changed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    WAITING_NETWORK = "waiting_network"
    WAITING_SPACE = "waiting_space"

    @property
    def ended(self) -> bool:
        """Nothing more happens to it in this session."""
        return self in ENDED

    @property
    def arrived(self) -> bool:
        """Its bytes are proven to be in the archive."""
        return self in ARRIVED


class SessionState(StrEnum):
    """Where a session stands."""

    PENDING = "pending"
    SCANNING = "scanning"
    PLANNING = "planning"
    COPYING = "copying"
    VALIDATING = "validating"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    PAUSED_NETWORK = "paused(network)"
    PAUSED_SPACE = "paused(space)"
    PAUSED_USER = "paused(user)"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def resumable(self) -> bool:
        """`ingest resume` can take it up, once its owner is gone."""
        return self not in CLOSED

    @property
    def told(self) -> bool:
        """It says how something ended, or why it waits; the others only say what was going on."""
        return self.paused or self in CLOSED

    @property
    def paused(self) -> bool:
        """It waits for a cause to go away, or for its user."""
        return self in (self.PAUSED_NETWORK, self.PAUSED_SPACE, self.PAUSED_USER)


_I = ItemState
_S = SessionState

ARRIVED: Final = frozenset({_I.FINALIZED, _I.DUPLICATE})
ENDED: Final = frozenset(
    {_I.FINALIZED, _I.DUPLICATE, _I.EXCLUDED, _I.SKIPPED, _I.REMOVED, _I.CHANGED, _I.FAILED, _I.CANCELLED}
)
WAITING: Final = frozenset({_I.WAITING_NETWORK, _I.WAITING_SPACE})

CLOSED: Final = frozenset({_S.COMPLETED, _S.COMPLETED_WITH_ERRORS, _S.CANCELLED, _S.FAILED})

_ABORTS: Final = frozenset({_I.FAILED, _I.CHANGED, _I.REMOVED, _I.CANCELLED}) | WAITING

# A copy goes back to `planned` when its attempt came to nothing: a dead worker, a mismatch that is copied again,
# a staging file that a power cut took.
ITEM_TRANSITIONS: Final[dict[ItemState, frozenset[ItemState]]] = {
    _I.DISCOVERED: frozenset({_I.PLANNED, _I.EXCLUDED, _I.SKIPPED, _I.DUPLICATE, _I.FINALIZED}) | _ABORTS,
    _I.PLANNED: frozenset({_I.COPYING, _I.DUPLICATE, _I.FINALIZED}) | _ABORTS,
    _I.COPYING: frozenset({_I.COPIED, _I.PLANNED}) | _ABORTS,
    _I.COPIED: frozenset({_I.VALIDATED, _I.PLANNED}) | _ABORTS,
    _I.VALIDATED: frozenset({_I.FINALIZED, _I.PLANNED, _I.DUPLICATE}) | _ABORTS,
    **{state: frozenset({_I.DISCOVERED, _I.PLANNED, _I.CANCELLED}) for state in WAITING},
    **{state: frozenset() for state in ENDED},
    # A session that completed with errors can be taken up once more, by name, when the cause is gone.
    **{state: frozenset({_I.DISCOVERED}) for state in (_I.FAILED, _I.CHANGED, _I.REMOVED)},
}

_STOPS: Final = frozenset({_S.PAUSED_NETWORK, _S.PAUSED_SPACE, _S.PAUSED_USER, _S.CANCELLED, _S.FAILED, _S.INTERRUPTED})
_ENDS: Final = frozenset({_S.COMPLETED, _S.COMPLETED_WITH_ERRORS})

SESSION_TRANSITIONS: Final[dict[SessionState, frozenset[SessionState]]] = {
    _S.PENDING: frozenset({_S.SCANNING}) | _STOPS,
    _S.SCANNING: frozenset({_S.PLANNING}) | _STOPS,
    _S.PLANNING: frozenset({_S.COPYING}) | _STOPS,
    _S.COPYING: frozenset({_S.VALIDATING, _S.FINALIZING}) | _STOPS,
    _S.VALIDATING: frozenset({_S.FINALIZING}) | _STOPS,
    _S.FINALIZING: _STOPS | _ENDS,
    **{
        state: frozenset({_S.SCANNING, _S.PLANNING, _S.CANCELLED, _S.FAILED, _S.INTERRUPTED})
        for state in (_S.PAUSED_NETWORK, _S.PAUSED_SPACE, _S.PAUSED_USER, _S.INTERRUPTED)
    },
    **{state: frozenset() for state in CLOSED},
    _S.COMPLETED_WITH_ERRORS: frozenset({_S.PLANNING}) | _STOPS,
}

_State = TypeVar("_State", ItemState, SessionState)


class IllegalTransitionError(AssertionError):
    """The program moved something from one state to another that the tables do not know: a bug."""


def advance(now: _State, then: _State) -> _State:
    """The state after a step.

    Raises:
        IllegalTransitionError: the step is not in the table.
    """
    legal = ITEM_TRANSITIONS[now] if isinstance(now, ItemState) else SESSION_TRANSITIONS[now]
    if then not in legal:
        raise IllegalTransitionError(f"{type(now).__name__}: {now} -> {then}")
    return then


# An item is as well off as the worst of its copies; the order says which is worse.
_WORST_FIRST: Final = (
    _I.FAILED, _I.CHANGED, _I.REMOVED, _I.CANCELLED, _I.WAITING_SPACE, _I.WAITING_NETWORK, _I.DISCOVERED, _I.PLANNED,
    _I.COPYING, _I.COPIED, _I.VALIDATED, _I.FINALIZED, _I.DUPLICATE, _I.SKIPPED, _I.EXCLUDED,
)  # fmt: skip
RANK: Final = {state: rank for rank, state in enumerate(_WORST_FIRST)}


def worst(states: list[ItemState]) -> ItemState:
    """The state of an item, from those of its copies (at least one)."""
    return min(states, key=RANK.__getitem__)
