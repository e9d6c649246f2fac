from __future__ import annotations

import pytest

from ingest.model.states import ItemState
from ingest.pipeline.outbox import Outbox
from ingest.pipeline.plan import Transfer
from ingest.session.rows import Copy
from ingest.workers.messages import Adopt, Prove, Publish, Stage
from ingest.workers.sharding import Key

FILES = 3


class Sender:
    """Sends whatever is asked for."""

    @property
    def naming(self):
        return self

    def standing(self, _root, copies):
        return copies

    def batch(self, number, key, items):
        paths = [item.path for item in items]
        columns = [item.size for item in items], [item.mtime_ns for item in items], [paths]
        return Stage(number, key.source, key.roots, [item.number for item in items], paths, *columns, key.mode)

    def published(self, _answer) -> None:
        raise AssertionError

    adopted = staged = published


@pytest.fixture
def outbox(crew):
    return Outbox(crew, FILES)


def test_no_request_holds_more_files_than_a_batch_may(outbox, crew, item):
    def handler(_answer) -> None:
        raise AssertionError

    for number in range(1, 9):
        copy = Copy(number, 0, ItemState.VALIDATED, path=b"%d" % number, staging=b"s%d" % number)
        outbox.stage(Key(0, (0,), "read"), item(number))
        outbox.publish(copy)
        outbox.adopt(copy)
        outbox.prove(Transfer(item(number), {0: copy}), 0, None, b"%d" % number, handler)

    outbox.flush(Sender(), stopping=True)

    for kind in (Stage, Publish, Adopt, Prove):
        asked = crew.all(kind)
        assert [len(request.items) for request in asked] == [FILES, FILES, 2]
        assert sorted(number for request in asked for number in request.items) == list(range(1, 9))
