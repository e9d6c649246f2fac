from __future__ import annotations

import errno

import pytest
from sqlalchemy import update

from ingest.db.schema import sessions
from ingest.errors import ExitCode
from ingest.model.session import COUNTED
from ingest.model.states import CLOSED, ItemState, SessionState
from ingest.session.journal import Part
from ingest.session.report import counts, exit_code, failure, report
from ingest.session.rows import Copy

DONE, PART_DONE = SessionState.COMPLETED, SessionState.COMPLETED_WITH_ERRORS
OK = (ItemState.FINALIZED, None, 0)
TWIN = (ItemState.DUPLICATE, None, 0)
LEFT = (ItemState.EXCLUDED, "litter", 0)
LINK = (ItemState.SKIPPED, "symlink", 0)
ROTTEN = (ItemState.FAILED, "corrupt_destination", 0)
BROKEN = (ItemState.FAILED, "io", errno.EIO)
DENIED = (ItemState.FAILED, "permission", errno.EACCES)
READ_ONLY = (ItemState.FAILED, "read_only", errno.EROFS)
GONE = (ItemState.REMOVED, "gone from the source", errno.ENOENT)
CHANGED = (ItemState.CHANGED, "changed while it was read", 0)


@pytest.fixture
def ended(session, item):
    """The session's copies ended like this."""

    def end(*ends: tuple[ItemState, str | None, int]) -> None:
        session.add(*[item(number) for number in range(1, len(ends) + 1)])
        for number, (state, reason, code) in enumerate(ends, 1):
            session.put(Copy(number, 0, state, b"CARD/%d" % number, reason=reason, errno=code, sequence=number))
            session.end(number, state, reason, code)

    return end


@pytest.mark.parametrize(
    ("state", "ends", "expected"),
    [
        (DONE, [], ExitCode.OK),
        (DONE, [OK], ExitCode.OK),
        (DONE, [TWIN], ExitCode.OK),
        (DONE, [LEFT, LINK], ExitCode.OK),
        (DONE, [OK, TWIN, LEFT, LINK], ExitCode.OK),
        (PART_DONE, [OK], ExitCode.WITH_ERRORS),
        (PART_DONE, [], ExitCode.WITH_ERRORS),
        (PART_DONE, [OK, BROKEN], ExitCode.WITH_ERRORS),
        (PART_DONE, [TWIN, BROKEN], ExitCode.WITH_ERRORS),
        (PART_DONE, [OK, CHANGED], ExitCode.WITH_ERRORS),
        (PART_DONE, [OK, GONE], ExitCode.WITH_ERRORS),
        (PART_DONE, [OK, DENIED], ExitCode.WITH_ERRORS),
        (PART_DONE, [OK, ROTTEN], ExitCode.VERIFICATION),
        (PART_DONE, [OK, BROKEN, ROTTEN], ExitCode.VERIFICATION),
        (PART_DONE, [ROTTEN], ExitCode.VERIFICATION),
        (PART_DONE, [DENIED], ExitCode.PERMISSION),
        (PART_DONE, [DENIED, READ_ONLY], ExitCode.PERMISSION),
        (PART_DONE, [DENIED, LEFT], ExitCode.PERMISSION),
        (PART_DONE, [DENIED, BROKEN], ExitCode.ERROR),
        (PART_DONE, [GONE], ExitCode.NOT_FOUND),
        (PART_DONE, [GONE, GONE, LINK], ExitCode.NOT_FOUND),
        (PART_DONE, [GONE, DENIED], ExitCode.WITH_ERRORS),
        (PART_DONE, [BROKEN], ExitCode.ERROR),
        (PART_DONE, [CHANGED], ExitCode.WITH_ERRORS),
        (SessionState.PAUSED_NETWORK, [OK], ExitCode.PAUSED),
        (SessionState.PAUSED_SPACE, [OK, ROTTEN, BROKEN], ExitCode.PAUSED),
        (SessionState.PAUSED_USER, [OK], ExitCode.CANCELLED),
        (SessionState.PAUSED_USER, [ROTTEN], ExitCode.CANCELLED),
        (SessionState.CANCELLED, [BROKEN], ExitCode.CANCELLED),
        (SessionState.INTERRUPTED, [OK], ExitCode.ERROR),
        (SessionState.FAILED, [OK], ExitCode.ERROR),
    ],
)  # fmt: skip
def test_what_a_session_means_for_a_script(session, ended, state, ends, expected):
    ended(*ends)

    assert exit_code(session.journal, state) is expected


@pytest.mark.parametrize(
    "state", sorted({s for s in SessionState if s.paused} | CLOSED - {DONE} | {SessionState.INTERRUPTED})
)
def test_only_a_completed_session_exits_with_nought(session, ended, state):
    ended(OK)
    assert exit_code(session.journal, state) is not ExitCode.OK


def test_the_books_close(session, item):
    for number, state in enumerate(ItemState, 1):
        session.add(item(number, state=state))

    counted = counts(session.journal)

    assert tuple(counted) == COUNTED
    assert counted["discovered"] == len(ItemState) == sum(n for key, n in counted.items() if key != "discovered")
    assert counted["waiting"] == len([s for s in ItemState if not s.ended])


def test_an_empty_session_has_every_key(session):
    assert counts(session.journal) == dict.fromkeys(COUNTED, 0)


def test_a_failure_says_what_to_do(session, item):
    lost = item(1, b"a\xff", state=ItemState.FAILED, reason="corrupt_destination")

    told = failure(lost, Copy(1, 0, ItemState.FAILED, operation="verify"), b"/media/CARD/")

    assert told.path == b"/media/CARD/a\xff"
    assert (told.state, told.reason, told.operation) == (ItemState.FAILED, "corrupt_destination", "verify")
    assert "do not use" in told.advice


def test_a_failure_of_the_scan_has_no_copy(item):
    told = failure(item(1, state=ItemState.FAILED, reason="permission", errno=errno.EACCES), None, b"/c")

    assert (told.operation, told.errno) == ("scan", errno.EACCES)
    assert told.advice


def test_an_unknown_reason_gets_the_advice_of_its_errno(item):
    told = failure(
        item(1, state=ItemState.FAILED, reason="odd"), Copy(1, 0, ItemState.FAILED, errno=errno.ENOTCONN), b"/c"
    )

    assert told.errno == errno.ENOTCONN
    assert "resume" in told.advice


def test_an_item_without_a_reason_says_its_state(item):
    assert failure(item(1, state=ItemState.CANCELLED), None, b"/c").reason == "cancelled"


def test_the_report_tells_it_all(session, ended):
    ended(OK, BROKEN, LEFT)
    session.journal.add_part(0, Part(1, b".ingest/manifests/x", 1, 3, 3, b"\0" * 32))
    session.journal.choose_folder(0, b"CARD_2")
    with session.database.write() as connection:
        connection.execute(
            update(sessions).values(
                bytes_read=1, bytes_copied=2, bytes_verified=3, bytes_resumed=4, seconds_total=1.23456, problem="p"
            )
        )
    from ingest.session.register import session_facts

    told = report(session.journal, session_facts(session.database, session.facts.key), PART_DONE, ["careful"])

    assert told.exit_code is ExitCode.WITH_ERRORS
    assert (told.items["discovered"], told.items["finalized"], told.items["failed"], told.items["excluded"]) == (
        3,
        1,
        1,
        1,
    )
    assert told.bytes == {"discovered": 30, "read": 1, "copied": 2, "verified": 3, "resumed": 4}
    assert told.seconds["total"] == 1.235
    assert [f.path for f in told.failures] == [session.sources[0].name + b"/CLIP00002.MP4"]
    assert told.failures_total == 1
    assert told.warnings == ("careful",)
    assert told.problem == "p"
    assert told.excluded == {"litter": 1}
    assert told.manifests == (session.roots[0].name + b"/.ingest/manifests/x",)
    assert told.destinations == (session.roots[0].name + b"/CARD_2",)
    (root,) = told.roots
    assert root.copies == {"finalized": 1, "failed": 1, "excluded": 1}
    assert set(root.verify_method) == {"direct", "evicted", "reread"}
    assert set(root.publish_method) == {"noreplace", "link", "unguarded"}


def test_many_failures_are_counted_and_the_first_are_listed(session, ended):
    ended(*[BROKEN] * 150)

    told = report(session.journal, session.facts, PART_DONE)

    assert (len(told.failures), told.failures_total) == (100, 150)


def test_a_paused_destination_is_told_beside_a_session_that_goes_on(begin):
    session = begin(roots=2)
    session.journal.root_state(0, SessionState.COPYING)
    session.journal.root_state(1, SessionState.PAUSED_NETWORK)

    told = report(session.journal, session.facts, SessionState.PAUSED_NETWORK)

    assert told.roots[1].state is SessionState.PAUSED_NETWORK
    assert [root.path for root in told.roots] == [tree.name for tree in session.roots]
