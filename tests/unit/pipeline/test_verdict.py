from __future__ import annotations

import errno

import pytest

from ingest.engine import Failed
from ingest.errors import REASON_ADVICE, TRANSIENT
from ingest.model.states import ENDED, ItemState
from ingest.pipeline.verdict import Judgement, Step, judge_root, judge_source

RETRY, CANCELLED = Judgement(Step.RETRY), Judgement(Step.CANCELLED)
MOMENT = Judgement(Step.WAIT_MOMENT)
WAIT, AWAY = Judgement(Step.WAIT_SPACE), Judgement(Step.WAIT_ROOT)


def end(reason: str, state: ItemState = ItemState.FAILED) -> Judgement:
    return Judgement(Step.END, state, reason)


CHANGED = end("changed while it was read", ItemState.CHANGED)
REPLACED = end("no longer a file below the source", ItemState.CHANGED)
GONE = end("gone from the source", ItemState.REMOVED)
UNSTABLE = end("source_reads_differently", ItemState.CHANGED)


def fault(kind: str, number: int = 0, operation: str = "read") -> Failed:
    return Failed(kind, operation, number, b"/x", "why")


# What is wrong with a source concerns every copy of the item.


@pytest.mark.parametrize(
    ("kind", "number", "first", "later"),
    [
        ("cancelled", 0, CANCELLED, CANCELLED),
        ("changed", 0, CHANGED, CHANGED),
        ("unstable", 0, UNSTABLE, UNSTABLE),
        ("crashed", 0, end("crashed"), end("crashed")),
        ("stalled", 0, end("stalled"), end("stalled")),
        ("io", errno.ENOENT, GONE, GONE),
        ("io", errno.EACCES, end("permission"), end("permission")),
        ("io", errno.EPERM, end("permission"), end("permission")),
        ("io", errno.ELOOP, REPLACED, REPLACED),
        ("io", errno.EXDEV, REPLACED, REPLACED),
        ("io", errno.ENOTDIR, REPLACED, REPLACED),
        ("io", errno.EISDIR, REPLACED, REPLACED),
        ("io", errno.EIO, MOMENT, MOMENT),
        ("io", errno.ENOTCONN, MOMENT, MOMENT),
        ("io", errno.ESTALE, MOMENT, MOMENT),
        ("io", errno.ETIMEDOUT, MOMENT, MOMENT),
        ("io", errno.ENOMEM, RETRY, end("io")),
    ],
)
def test_a_fault_of_the_source(kind, number, first, later):
    assert judge_source(fault(kind, number), 1) == first
    for attempts in (2, 3, 100):
        assert judge_source(fault(kind, number), attempts) == later


def test_what_is_no_file_any_more_when_it_is_opened_was_replaced():
    assert judge_source(fault("io", errno.EINVAL, "open"), 1) == REPLACED


# What is wrong with a root concerns the copy there.


@pytest.mark.parametrize(
    ("kind", "number", "judgements"),
    [
        ("cancelled", 0, [CANCELLED] * 3),
        ("changed", 0, [CHANGED] * 3),
        ("unstable", 0, [UNSTABLE] * 3),
        ("mismatch", 0, [RETRY, end("corrupt_destination"), end("corrupt_destination")]),
        ("io", errno.ENOSPC, [WAIT] * 3),
        ("io", errno.EDQUOT, [WAIT] * 3),
        ("io", errno.EROFS, [AWAY] * 3),
        ("io", errno.EACCES, [end("permission")] * 3),
        ("io", errno.EPERM, [end("permission")] * 3),
        ("io", errno.ENAMETOOLONG, [end("name")] * 3),
        ("io", errno.EILSEQ, [end("name")] * 3),
        ("io", errno.ELOOP, [end("outside_root")] * 3),
        ("io", errno.EXDEV, [end("outside_root")] * 3),
        ("io", errno.ENOTDIR, [end("folder_is_a_file")] * 3),
        ("io", errno.EEXIST, [end("taken")] * 3),
        ("io", errno.EIO, [MOMENT] * 3),
        ("io", errno.ESTALE, [MOMENT] * 3),
        ("io", errno.ENOENT, [RETRY, end("io"), end("io")]),
        ("io", errno.EBUSY, [MOMENT] * 3),
    ],
)
def test_a_fault_of_a_root(kind, number, judgements):
    assert [judge_root(fault(kind, number, "write"), attempts) for attempts in (1, 2, 3)] == judgements


@pytest.mark.parametrize(
    ("operation", "reason"), [("rename", "name"), ("mkdir", "name"), ("link", "name"), ("open", "io")]
)
def test_a_new_name_that_is_not_there_is_one_that_the_disk_cannot_hold(operation, reason):
    judgements = [judge_root(fault("io", errno.ENOENT, operation), attempts) for attempts in (1, 2)]

    assert judgements == [RETRY, end(reason)]


@pytest.mark.parametrize("judge", [judge_source, judge_root])
@pytest.mark.parametrize("kind", ["io", "changed", "unstable", "mismatch", "cancelled"])
def test_no_fault_is_tried_for_ever(judge, kind):
    for number in range(200):
        judgement = judge(fault(kind, number), 3)
        assert judgement.step is not Step.RETRY, errno.errorcode.get(number)
        if judgement.step is Step.END:
            assert judgement.state in ENDED - {ItemState.FINALIZED, ItemState.DUPLICATE}
            assert judgement.reason in REASON_ADVICE


@pytest.mark.parametrize("judge", [judge_source, judge_root])
@pytest.mark.parametrize("number", sorted(TRANSIENT))
def test_what_may_pass_is_tried_again(judge, number):
    assert judge(fault("io", number), 1).step is Step.WAIT_MOMENT
