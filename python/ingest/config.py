"""Where this program keeps its own things, from the environment. Read by the surfaces only."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder of the journal: ``INGEST_HOME``, else the platform's user data folder (not made here)."""
    chosen = os.environ.get("INGEST_HOME")
    if chosen:
        return Path(chosen).absolute()
    from platformdirs import user_data_path

    return user_data_path("ingest", appauthor=False)
