"""Leaving: a place has gone down in mid-run. Nobody asks it anything more, and who stands before it is left behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ingest.model.states import SessionState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.pipeline.board import Board
    from ingest.pipeline.flow import Flow
    from ingest.pipeline.intake import Intake
    from ingest.pipeline.plan import Planner
    from ingest.pipeline.sentry import Sentry
    from ingest.pipeline.sources import Sources
    from ingest.pipeline.watch import Down
    from ingest.workers.supervisor import Supervisor

# A look takes a blink once its process runs, and that starts in half a second.
WORD: Final = 3.0
MOMENT: Final = 0.02


def leave(
    downs: Sequence[Down], board: Board, flow: Flow, intake: Intake, planner: Planner, sources: Sources,
    workers: Supervisor,
) -> Intake:  # fmt: skip
    """Go on without these places, and without roots at which something hangs although they answer (`Board.hung`).

    Gives back the intake that goes on, since the old one's thread may stand before one of them.

    What workers were doing there waits, or is done again for the other destinations.
    """
    first = len(board.facts.sources)
    for down in downs:
        if down.place < first:
            sources.forget(down.place)
            board.lose_source(down.place, _told(down))
        else:
            planner.forget(down.place - first)
            why = f"the destination is not there ({_told(down)})"
            board.pause_root(down.place - first, SessionState.PAUSED_NETWORK, why)
    hung, board.hung = board.hung, []
    for root in hung:
        planner.forget(root)
    heir = intake.without([*(down.place - first for down in downs if down.place >= first), *hung])
    for place in (*(down.place for down in downs), *(first + root for root in hung)):
        for event in workers.leave(place):
            flow.handle(event)
    return heir


def explain(board: Board, sentry: Sentry) -> None:
    """Say of destinations that were lost what stands there instead, once somebody has looked; or what is known."""
    limit = time.monotonic() + WORD
    for root, detail in list(board.unexplained.items()):
        place = board.place_of(None, root)
        while (down := sentry.down(place)) is None and time.monotonic() < limit:
            time.sleep(MOMENT)
        why = _told(down) if down is not None else detail
        board.pause_root(root, SessionState.PAUSED_NETWORK, f"the destination is not there ({why})")


def _told(down: Down) -> str:
    since = time.strftime("%H:%M:%S", time.localtime(time.time() - (down.told - down.since)))
    return f"{down.why}; it last answered at {since}"
