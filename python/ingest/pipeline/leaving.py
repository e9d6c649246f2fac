"""Leaving: a place has gone down in mid-run. Nobody asks it anything more, and who stands before it is left behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ingest.model.states import SessionState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.pipeline.board import Board
    from ingest.pipeline.flow import Flow
    from ingest.pipeline.intake import Intake
    from ingest.pipeline.plan import Planner
    from ingest.pipeline.sources import Sources
    from ingest.pipeline.watch import Down
    from ingest.workers.supervisor import Supervisor


def leave(
    downs: Sequence[Down], board: Board, flow: Flow, intake: Intake, planner: Planner, sources: Sources,
    workers: Supervisor,
) -> Intake:  # fmt: skip
    """Go on without these places; the intake that goes on, since the old one's thread may stand before one of them.

    What workers were doing there waits, or is done again for the other destinations.
    """
    first = len(board.facts.sources)
    for down in downs:
        since = time.strftime("%H:%M:%S", time.localtime(time.time() - (down.told - down.since)))
        if down.place < first:
            sources.forget(down.place)
            board.lose_source(down.place, f"{down.why}; it last answered at {since}")
        else:
            planner.forget(down.place - first)
            why = f"the destination is not there ({down.why}; it last answered at {since})"
            board.pause_root(down.place - first, SessionState.PAUSED_NETWORK, why)
    heir = intake.without([down.place - first for down in downs if down.place >= first])
    for down in downs:
        for event in workers.leave(down.place):
            flow.handle(event)
    return heir
