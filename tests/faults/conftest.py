"""The fixtures of the fault tests. What they hand out is in the modules of this folder, each of which says what it is.

The checker (checker.py) is the point: each test reports at its end how many acknowledgements it checked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from faults import faulty_disks, guest, mounts, netmount, shares, watching, writelog
from faults.bench import Bench
from faults.cards import SMALL_CARD, Card
from faults.checker import Checker
from faults.commands import Shell
from faults.journal import Journal
from faults.summary import Summary

if TYPE_CHECKING:
    from collections import defaultdict
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from faults.faulty_disks import FaultyDisk
    from faults.summary import ColdRead, Told

SUMMARY: pytest.StashKey[Summary] = pytest.StashKey()


# What is shown at the end of the run


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SUMMARY] = Summary()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    config.stash[SUMMARY].show(terminalreporter)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Counter[str]:
    """What this test checked."""
    name = request.node.nodeid.rpartition("/")[2]
    return request.config.stash[SUMMARY].tally.setdefault(name, Counter())


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> defaultdict[str, list[float]]:
    """How long things took (seconds), by what it was."""
    return request.config.stash[SUMMARY].times


@pytest.fixture
def cold(request: pytest.FixtureRequest) -> Callable[[str, dict[str, int], int], ColdRead]:
    """Take note of something that was read back."""
    return request.config.stash[SUMMARY].read_back


@pytest.fixture(scope="session")
def told(request: pytest.FixtureRequest) -> Told:
    """Where a campaign tells of each of its runs."""
    return request.config.stash[SUMMARY].told


# A card, an archive, a journal, and commands


@pytest.fixture
def make_card(tmp_path: Path) -> Callable[..., Card]:
    def make(files: dict[str, int] | None = None, folder: Path | None = None) -> Card:
        return Card.of(folder or tmp_path / "CARD", SMALL_CARD if files is None else files)

    return make


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.fixture
def journal(ingest: Any) -> Journal:
    return Journal(ingest.home)


@pytest.fixture
def check(ingest: Any, tally: Counter[str]) -> Checker:
    return Checker(ingest.home, tally)


@pytest.fixture
def shell(ingest: Any) -> Iterator[Shell]:
    made = Shell(ingest)
    yield made
    made.close()


@pytest.fixture(name="until", scope="session")
def _until() -> Callable[..., Any]:
    return watching.until


@pytest.fixture(scope="session")
def make_bench(tmp_path_factory: pytest.TempPathFactory, ingest_in: Callable[[Path], Any]) -> Callable[..., Bench]:
    """In a folder of its own, or in one that is given; `extra`: what its commands have in their environment."""

    def make(folder: Path | None = None, extra: tuple[tuple[str, str], ...] = ()) -> Bench:
        folder = folder or tmp_path_factory.mktemp("bench")
        return Bench(folder, replace(ingest_in(folder), extra=extra))

    return make


# What not every machine can make


def require(module: ModuleType) -> None:
    """Skip where a module says that it cannot work."""
    if reason := module.missing():
        pytest.skip(reason)


@pytest.fixture(name="mounts")
def _mounts(tmp_path: Path) -> Iterator[mounts.Mounts]:
    require(mounts)
    made = mounts.Mounts(tmp_path)
    yield made
    made.close()


@pytest.fixture
def faulty_disk(tmp_path: Path) -> Iterator[Callable[..., FaultyDisk]]:
    require(faulty_disks)
    with faulty_disks.disks() as make:
        yield lambda name="faulty", library="fuse3", subtype="faultfs": make(tmp_path / name, library, subtype)


@pytest.fixture(scope="module")
def keep_faulty_disk() -> Iterator[Callable[..., FaultyDisk]]:
    """For what all tests of a module use: a disk in a folder that is given."""
    require(faulty_disks)
    with faulty_disks.disks() as make:
        yield make


@pytest.fixture(name="netmount", scope="session")
def _netmount() -> None:
    """For who makes shares that can be lost."""
    require(netmount)


@pytest.fixture(name="guest", scope="session")
def _guest() -> None:
    """For who makes machines that can be killed."""
    require(guest)


@pytest.fixture(name="shares", scope="session")
def _shares() -> None:
    """For who makes shares in such machines."""
    require(shares)


@pytest.fixture(name="writelog", scope="session")
def _writelog() -> None:
    """For who makes disks whose writes are written down."""
    require(writelog)
