"""The table of peers tells silence from detection: it would show if this program were as silent as the plainest tool."""

from __future__ import annotations

import pytest

from faults import peers

pytestmark = pytest.mark.root


@pytest.fixture
def outcome(faulty_disk, tmp_path):
    """What comes of a tool under a fault, by their names; skips where there is no FUSE."""

    def run(tool, fault):
        (chosen,) = [each for each in peers.TOOLS if each.name == tool]
        (wrong,) = [each for each in peers.FAULTS if each.name == fault]
        return peers.outcome(chosen, wrong, tmp_path / fault)

    faulty_disk("probe")
    return run


@pytest.mark.parametrize("fault", ["bit flip on write", "lost write", "torn write", "bit flip on source read"])
def test_a_tool_that_compares_nothing_is_silent(outcome, fault):
    assert outcome("cp -a", fault) == "**SILENT**"


@pytest.mark.parametrize(
    "fault",
    ["bit flip on write", "lost write", "torn write", "fsync EIO, write lost", "ENOSPC", "short write",
     "rename failed, and happened"],
)  # fmt: skip
def test_this_one_is_not(outcome, tally, fault):
    assert outcome("ingest copy", fault) in ("correct", "detected")
    tally["faults met"] += 1


def test_who_has_the_source_read_twice_is_told_of_a_reader_that_lies_once(outcome):
    assert outcome("ingest copy --verify-source", "bit flip on source read") == "detected"
