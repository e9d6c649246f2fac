"""``ingest sessions``: what was done, and what waits."""

from __future__ import annotations

from ingest.cli.documents import entry_document, iso
from ingest.cli.options import Json, Quiet
from ingest.cli.output import listed, print_document, say


def run(as_json: Json = False, quiet: Quiet = False) -> int:
    """List every session of this journal, oldest first.

    Example: ingest sessions --json
    """
    from ingest import api, config

    entries = api.sessions(config.home())
    if as_json:
        print_document({"sessions": [entry_document(entry) for entry in entries]})
    elif not quiet:
        for entry in entries:
            mark = " <- ingest resume" if entry.resumable else " (being worked on)" if entry.held else ""
            say(f"{entry.id[:8]}  {iso(entry.created_ns)}  {entry.state}{mark}")
            say(f"          {listed(entry.sources)} -> {listed(entry.roots)}")
        if not entries:
            say("No sessions yet. Begin with: ingest copy SRC DEST")
    return 0
