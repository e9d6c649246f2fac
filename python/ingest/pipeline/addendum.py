"""The addendum: what a repair appends to an archive's record, as a session of its own.

Promises: each repaired file gets a row, in a part that is published like any other, at most a minute or 10,000 files
later; its intent goes only after that. A repair that changed nothing leaves no session.
"""

from __future__ import annotations

import json
import socket
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.manifest.facts import PartFacts, SourceNote
from ingest.manifest.parts import PART_ROWS, write_part
from ingest.manifest.recorded import retold
from ingest.model.session import COUNTED
from ingest.model.states import SessionState
from ingest.pipeline.intents import claim_staging, forget
from ingest.session.hold import operator

if TYPE_CHECKING:
    import pyarrow as pa

    from ingest.manifest.recorded import Act, Recorded
    from ingest.pipeline.intents import Intent

# As the scribe of a copy: a machine that burns loses the record of at most a minute.
_SECONDS: Final = 60.0


class Addendum:
    """The manifest of one repair.

    Attributes:
        session: its UUID. manifests: parts that were written, absolute paths.
    """

    def __init__(self, root: engine.Root, uuid_: str, other: bytes) -> None:
        """Begin one.

        Args:
            root: what is repaired. uuid_: its marker's. other: the place that right bytes come from, absolute.
        """
        self.session = str(uuid.uuid4())
        self.manifests: list[bytes] = []
        self._root = root
        self._facts = PartFacts(
            session=self.session, root=uuid_, number=0, previous=None, state=SessionState.FINALIZING,
            created_ns=time.time_ns(), sources=(SourceNote(other, b""),), options=json.dumps({"operation": "repair"}),
            version=engine.__version__, host=socket.gethostname(), operator=operator(),
        )  # fmt: skip
        self._rows: list[pa.Table] = []
        self._intents: list[Intent] = []
        self._given = 0
        self._repaired = 0
        self._since = time.monotonic()

    def number(self) -> int:
        """The number of the next file: of its row, of its staging file."""
        self._given += 1
        return self._given

    def add(self, recorded: Recorded, act: Act, intent: Intent) -> None:
        """A file was repaired.

        Raises:
            IngestError: a part was due, and could not be written; what it should tell waits for the next.
        """
        if not self._rows:
            self._since = time.monotonic()
        self._rows.append(retold(recorded, act, self._facts, self._root.path))
        self._intents.append(intent)
        self._repaired += 1
        if len(self._rows) == PART_ROWS or time.monotonic() - self._since >= _SECONDS:
            self._write(SessionState.FINALIZING, 0)

    def close(self, state: SessionState, failed: int) -> None:
        """Write what is left, and how the repair ended. Without a row nothing was changed, and nothing is told.

        Raises:
            IngestError: it could not be written.
        """
        if self._repaired:
            self._write(state, failed)

    def _write(self, state: SessionState, failed: int) -> None:
        counts = {**dict.fromkeys(COUNTED, 0), "discovered": self._repaired + failed, "finalized": self._repaired,
                  "failed": failed}  # fmt: skip
        facts = replace(self._facts, number=self._facts.number + 1, state=str(state), counts=counts)
        claim_staging(self._root, self.session)
        part = write_part(self._root, facts, self._rows)
        self._facts = replace(facts, previous=part.blake3)
        self.manifests.append(self._root.path + b"/" + part.path)
        self._rows = []
        done, self._intents = self._intents, []
        forget(self._root, done)
