"""Finalize: the folders and their times, the last look at the roots, the last manifest parts, the last word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ingest.engine import failed
from ingest.errors import IngestError, PausedError, shown
from ingest.layouts.naming import mirrored
from ingest.model.states import ItemState, SessionState
from ingest.model.times import beyond
from ingest.storage.claims import release
from ingest.storage.marker import check_marker
from ingest.storage.roots import clear_staging
from ingest.workers.messages import Folders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ingest.pipeline.board import Board
    from ingest.pipeline.flow import Flow
    from ingest.pipeline.scribe import Scribe
    from ingest.session.journal import Journal
    from ingest.session.trails import Trails
    from ingest.storage.roots import Destination
    from ingest.workers.supervisor import Answer, Supervisor

TRIES: Final = 2


def make_folders(
    board: Board, flow: Flow, workers: Supervisor, journal: Journal, chosen: Mapping[int, bytes],
    look_around: Callable[[], None],
) -> None:  # fmt: skip
    """Make every folder of the cards on every root, the empty ones too, and give each its time.

    Children come before their parents: what happens inside a folder would change its time again. While an answer is
    waited for, `look_around` sees whether the root is still there.
    """
    for root in range(len(board.facts.roots)):
        clamped, first = 0, b""
        for page in journal.folders():
            if board.root_states[root].paused:
                break
            paths = [mirrored(chosen[folder.source], folder.path).rstrip(b"/") for folder in page]
            untimely = [path for path, folder in zip(paths, page, strict=True) if beyond(folder.mtime_ns)]
            clamped, first = clamped + len(untimely), first or next(iter(untimely), b"")
            answer = _ask(board, flow, workers, root, paths, [folder.mtime_ns for folder in page], look_around)
            if answer is None:
                if not board.root_states[root].paused:
                    board.pause_root(root, SessionState.PAUSED_NETWORK, "its folders could not be made")
                continue
            for fault in answer.reply.faults or []:
                if fault is not None:
                    found = failed(fault)
                    sentence = f"{shown(found.path)}: {found.operation}: {found.detail}"
                    if found.operation == "utimens":
                        board.warn(sentence)
                    else:
                        board.fail_folder(sentence)
        if clamped:
            # Nobody's footage depends on it: it is said, and stops nothing.
            more = f" (and of {clamped - 1:,} more)" if clamped > 1 else ""
            board.warn(
                f"{shown(board.facts.roots[root].path)}: the time of the folder {shown(first)}{more} is beyond what can "
                "be held (1677-09-21 to 2262-04-11): the copy has the nearest that can"
            )


def _ask(
    board: Board, flow: Flow, workers: Supervisor, root: int, paths: list[bytes], mtimes: list[int],
    look_around: Callable[[], None],
) -> Answer | None:  # fmt: skip
    """Ask a worker, and another one if it dies over it; None if there was no answer."""
    answers: list[Answer] = []
    for _ in range(TRIES):
        board.outbox.send(Folders(board.outbox.number(), root, paths, mtimes), answers.append)
        while board.outbox.busy:
            look_around()
            for event in workers.poll(0.2):
                flow.handle(event)
        if answers or board.root_states[root].paused:
            break
    return answers[0] if answers else None


def look_again(board: Board, destinations: Sequence[Destination | None]) -> None:
    """Before anything is called done: does each root's path still lead to it, and does it carry its marker?"""
    for number, destination in enumerate(destinations):
        if destination is None or board.root_states[number].paused:
            continue
        try:
            check_marker(destination.root, destination.marker.uuid)
        except IngestError as error:
            board.lose_root(number, error.cause)


def close_manifests(board: Board, scribes: Mapping[int, Scribe], journal: Journal, told: Mapping[str, int]) -> None:
    """Write what is not in a manifest yet, with how the session ended and what its items came to."""
    for number, scribe in scribes.items():
        # A disk that is full for footage may still hold a manifest.
        if board.root_states[number] is SessionState.PAUSED_NETWORK:
            continue
        try:
            scribe.close(str(final_state(board, journal)), told)
        except IngestError as error:
            manifest_failed(board, number, error)


def manifest_failed(board: Board, root: int, error: IngestError) -> None:
    """A manifest that cannot be written stops its root: what is not recorded is not done."""
    space = isinstance(error, PausedError)
    state = SessionState.PAUSED_SPACE if space else SessionState.PAUSED_NETWORK
    board.pause_root(root, state, f"its manifest could not be written ({error.cause})")
    if not space:
        # Whoever writes it may stand in the kernel, and so may the next one who asks there for anything.
        board.hung.append(root)


def final_state(board: Board, journal: Journal) -> SessionState:
    """How this run ends, from what the board and the journal say."""
    if board.stopping:
        return SessionState.PAUSED_USER
    if SessionState.PAUSED_SPACE in board.root_states:
        return SessionState.PAUSED_SPACE
    if SessionState.PAUSED_NETWORK in board.root_states or board.lost_sources:
        return SessionState.PAUSED_NETWORK
    if journal.rest():
        # The books do not close: something was neither finished nor named. Never call that done.
        return SessionState.INTERRUPTED
    by_state = journal.count_items()
    there, found = sum(number for number, _ in by_state.values()), journal.found()
    if found is not None and there != found:
        # A disk that loses what is written to it loses whole pages of rows, and nobody would miss what they told of.
        board.mistrust_journal(f"it knows {there:,} of the {found:,} items that were scanned")
        return SessionState.INTERRUPTED
    bad = any(state in by_state for state in (ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED))
    return SessionState.COMPLETED_WITH_ERRORS if bad or board.folders_failed else SessionState.COMPLETED


def root_state(board: Board, journal: Journal, root: int) -> SessionState:
    """How this run ends for one destination: its own pause, or its own completion."""
    if board.root_states[root].paused:
        return board.root_states[root]
    if board.stopping:
        return SessionState.PAUSED_USER
    if board.lost_sources:
        return SessionState.PAUSED_NETWORK
    ended = journal.count_copies(root)["state"]
    bad = any(str(state) in ended for state in (ItemState.FAILED, ItemState.CHANGED, ItemState.REMOVED))
    return SessionState.COMPLETED_WITH_ERRORS if bad or board.folders_failed else SessionState.COMPLETED


def clean_up(
    board: Board,
    destinations: Sequence[Destination | None],
    state: SessionState,
    journal: Journal,
    trails: Trails,
) -> None:
    """Remove this session's empty staging folders and its claims; what waits for its name, or to be gone on with, stays.

    On a disk that is full no half-made file stays: whoever makes room there should not have to make it for those.
    """
    over = state in (SessionState.COMPLETED, SessionState.COMPLETED_WITH_ERRORS)
    for number, destination in enumerate(destinations):
        if destination is None or board.root_states[number] is SessionState.PAUSED_NETWORK:
            continue
        full = board.root_states[number] is SessionState.PAUSED_SPACE
        try:
            parts = set() if full else trails.parts(destination.marker.uuid).keys()
            kept = set() if over else journal.staged(number) | parts
            clear_staging(destination.root, board.facts.short, kept)
            if over:
                release(destination.root, board.facts.id)
        except OSError as error:
            board.warn(f"its claim on a folder was not taken back: {error.strerror}")
        except IngestError as error:
            board.warn(f"staging was not cleared: {error}")
    if over:
        trails.clear()
