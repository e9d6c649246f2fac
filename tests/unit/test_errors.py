from __future__ import annotations

import errno
import os
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import errors
from ingest.errors import (
    REASON_ADVICE,
    TRANSIENT,
    DeniedError,
    ExitCode,
    IngestError,
    MissingError,
    PausedError,
    advice_for,
    from_os_error,
    shown,
    worst_exit,
)


def kinds() -> list[type[IngestError]]:
    return [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, IngestError)]


# Exit codes


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], ExitCode.OK),
        ([ExitCode.OK], ExitCode.OK),
        ([ExitCode.OK, ExitCode.ERROR], ExitCode.ERROR),
        ([ExitCode.CANCELLED, ExitCode.PAUSED, ExitCode.VERIFICATION, ExitCode.WITH_ERRORS], ExitCode.CANCELLED),
        ([ExitCode.PAUSED, ExitCode.VERIFICATION, ExitCode.WITH_ERRORS], ExitCode.PAUSED),
        ([ExitCode.VERIFICATION, ExitCode.WITH_ERRORS, ExitCode.PERMISSION], ExitCode.VERIFICATION),
        ([ExitCode.WITH_ERRORS, ExitCode.PERMISSION, ExitCode.REGRESSION, ExitCode.OK], ExitCode.WITH_ERRORS),
        ([ExitCode.PERMISSION, ExitCode.NOT_FOUND, ExitCode.OK], ExitCode.PERMISSION),
    ],
)
def test_several_outcomes_have_one_exit_code(codes, expected):
    for order in permutations(codes):
        assert worst_exit(list(order)) is expected


@given(st.lists(st.sampled_from(ExitCode), min_size=1))
def test_a_failure_never_becomes_a_success(codes):
    assert (worst_exit(codes) is ExitCode.OK) == all(code is ExitCode.OK for code in codes)
    assert worst_exit(codes) in codes


def test_the_codes_are_the_documented_ones():
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0, "ERROR": 1, "USAGE": 2, "VERIFICATION": 3, "NOT_FOUND": 4, "PERMISSION": 5, "CANCELLED": 6,
        "WITH_ERRORS": 7, "PAUSED": 8, "REGRESSION": 9,
    }  # fmt: skip


def test_no_error_claims_success():
    assert kinds()
    assert all(kind.exit_code is not ExitCode.OK for kind in kinds())


# Messages


@pytest.mark.parametrize("kind", kinds())
def test_a_message_names_path_operation_cause_and_advice(kind):
    told = str(kind("the disk said no", path=b"/a/b\xff", operation="fsync", errno=5, advice="Try another"))

    assert told == r"/a/b\xff: fsync: the disk said no. Try another"


@pytest.mark.parametrize(("cause", "said"), [("no", "no. Do"), ("is it?", "is it? Do"), ("It is.", "It is. Do")])
def test_a_cause_that_ends_like_a_sentence_gets_no_full_stop_more(cause, said):
    assert str(IngestError(cause, advice="Do")) == said


def test_a_message_without_particulars_is_the_cause():
    assert str(IngestError("it broke")) == "it broke"


@given(st.binary())
def test_a_shown_path_can_be_printed_anywhere(path):
    text = shown(path)

    assert text.encode("utf-8").decode("utf-8") == text
    assert all(c.isprintable() for c in text)


@given(st.text(alphabet=st.characters(blacklist_categories=["C", "Z"])))
def test_a_readable_path_is_shown_as_it_is(text):
    assert shown(text.encode()) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"a b", "a b"),
        (b"a\nb", r"a\nb"),
        (b"\x1b[31mred", r"\x1b[31mred"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("\u202egpj.exe".encode(), r"\u202egpj.exe"),
        (b"\xed\xb2\x80", r"\xed\xb2\x80"),
    ],
)
def test_what_would_fool_a_terminal_is_escaped(path, text):
    assert shown(path) == text


# System errors


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.EACCES, DeniedError, ExitCode.PERMISSION),
        (errno.EPERM, DeniedError, ExitCode.PERMISSION),
        (errno.EROFS, DeniedError, ExitCode.PERMISSION),
        (errno.ENOENT, MissingError, ExitCode.NOT_FOUND),
        (errno.ENOTDIR, MissingError, ExitCode.NOT_FOUND),
        (errno.ENOSPC, PausedError, ExitCode.PAUSED),
        (errno.EDQUOT, PausedError, ExitCode.PAUSED),
        (errno.EIO, IngestError, ExitCode.ERROR),
        (errno.ENOTCONN, IngestError, ExitCode.ERROR),
    ],
)
def test_a_system_error_becomes_the_error_it_stands_for(number, kind, code):
    made = from_os_error(OSError(number, "whatever the library said"), "write", b"/x")

    assert type(made) is kind
    assert made.exit_code is code
    assert (made.errno, made.operation, made.path, made.cause) == (number, "write", b"/x", os.strerror(number))
    assert made.advice == advice_for(number)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EIO])
def test_what_people_meet_comes_with_a_next_step(number):
    assert from_os_error(OSError(number, ""), "write", b"/x").advice


def test_the_path_of_a_system_error_is_taken_from_it_if_none_is_given():
    assert from_os_error(OSError(errno.EIO, "", "/a/\udcff"), "read").path == b"/a/\xff"
    assert from_os_error(OSError(errno.EIO, "", b"/a/\xff"), "read").path == b"/a/\xff"
    assert from_os_error(OSError(errno.EIO, "", "/a"), "read", b"/b").path == b"/b"
    assert from_os_error(OSError(errno.EIO, ""), "read").path is None


def test_advice_that_is_given_wins():
    assert from_os_error(OSError(errno.ENOENT, ""), "open", b"/x", "Plug it in").advice == "Plug it in"


def test_an_error_without_a_number_keeps_its_words():
    made = from_os_error(OSError("something odd"), "read", b"/x")

    assert (type(made), made.errno, made.cause) == (IngestError, 0, "something odd")


@pytest.mark.parametrize("number", sorted(TRANSIENT))
def test_whatever_may_pass_by_itself_is_told_so(number):
    assert advice_for(number)


def test_an_unknown_error_gets_no_invented_advice():
    assert advice_for(errno.ENOEXEC) == ""


def test_every_reason_has_a_next_step():
    assert all(len(advice) > 10 for advice in REASON_ADVICE.values())
