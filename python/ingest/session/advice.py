"""What to do about an item that is not where it should be: a sentence for each state and reason."""

from __future__ import annotations

from typing import Final

from ingest.errors import REASON_ADVICE, advice_for
from ingest.model.states import ARRIVED, ItemState

_I = ItemState
# Where neither the reason nor the system's word says more.
_OF_STATE: Final = {
    _I.DISCOVERED: "Its turn has not come: go on with ingest resume",
    _I.PLANNED: "Its turn has not come, or it is to be copied again: go on with ingest resume",
    _I.COPYING: "It was being copied: go on with ingest resume",
    _I.COPIED: "It was copied and not proven yet: go on with ingest resume",
    _I.VALIDATED: "It is proven and only lacks its name: go on with ingest resume",
    _I.EXCLUDED: "It was left out by a rule: nothing has to be done",
    _I.SKIPPED: "It is no regular file: nothing has to be done",
    _I.REMOVED: "See whether it is still on the source; if it is, copy again, else look for it elsewhere",
    _I.CHANGED: "It is not what it was when the session began: bring it home as it is now with ingest copy",
    _I.FAILED: "Try it again by the session's name: ingest resume SESSION; keep the source until it has arrived",
    _I.CANCELLED: "Its session was given up: bring it home with ingest copy",
    _I.WAITING_NETWORK: "Bring its disk or share back, then: ingest resume",
    _I.WAITING_SPACE: "Make room on the disk, then: ingest resume",
}
_OF_RULE: Final = {
    "litter": "A system left it there: nothing has to be done",
    "--exclude": "You left it out: to bring it home, copy again without that --exclude",
    "--only": "You did not ask for it: to bring it home, copy again without --only",
    "symlink": "Links are never followed: copy what it leads to by its own path",
    "special": "Sockets, pipes and devices hold no footage: nothing has to be done",
}


def advice_of(state: ItemState, reason: str | None, errno: int = 0) -> str:
    """The next step for an item in this state; empty for one that has arrived.

    Args:
        reason: why it is in that state, as the journal has it. errno: the system's reason, 0 where there is none.
    """
    if state in ARRIVED:
        return ""
    return _OF_RULE.get(reason or "") or REASON_ADVICE.get(reason or "") or advice_for(errno) or _OF_STATE[state]
