"""The sentry with its real process, on real folders."""

from __future__ import annotations

import errno
import os
import shutil
import time
from dataclasses import replace

import pytest

from ingest.pipeline import sentry as sentry_module
from ingest.pipeline import watch
from ingest.pipeline.sentry import Sentry
from ingest.storage.identity import Footing
from ingest.storage.looking import Spot
from ingest.storage.marker import write_marker
from ingest.storage.volumes import Mount, Storage, Volume
from ingest.workers.prober import Prober

PATIENCE = 20.0
DISK = Volume(None, Storage.LOCAL, "ext4", rotational=False, fs_uuid=None, block=True)


@pytest.fixture
def places(tree):
    """A card and an archive: their folders, and as the sentry gets them."""
    card, archive = tree("card"), tree("archive")
    marker = write_marker(archive.root, DISK)
    pinned = [Footing(card.root.dev, card.root.ino), Footing(archive.root.dev, archive.root.ino, marker.uuid)]
    return (card, archive), list(
        zip([Spot(card.name, archive=False), Spot(archive.name, archive=True)], pinned, strict=True)
    )


def until(so, what: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < limit, what
        time.sleep(0.01)


def test_who_asks_is_told_that_a_place_has_answered_since(places):
    _, given = places
    with Sentry(given) as sentry:
        since = time.monotonic()
        assert not sentry.certain(0, since)
        sentry.blame(0)
        until(lambda: sentry.certain(0, since), "the card's answer")

        assert not sentry.doubted(0, since)
        assert not sentry.certain(0, time.monotonic() + 60)
        assert (sentry.down(0), sentry.downs(), sentry.fresh()) == (None, [], [])


@pytest.mark.parametrize("how", ["removed", "another folder", "another marker"])
def test_a_place_that_is_gone_is_told_once_and_stays_gone(places, how):
    (card, archive), given = places
    with Sentry(given) as sentry:
        moved = archive.path.with_name("moved")
        if how == "another marker":
            (archive.path / ".ingest/root.json").unlink()
            write_marker(archive.root, DISK)
        else:
            archive.path.rename(moved)
        if how == "another folder":
            shutil.copytree(moved, archive.path)
        sentry.blame(1)
        until(lambda: sentry.down(1), "the archive is gone")

        (down,) = sentry.fresh()
        assert (down.place, down) == (1, sentry.down(1))
        assert down.since <= down.told
        assert sentry.fresh() == []
        assert sentry.downs() == [down]
        assert sentry.down(0) is None
        assert os.path.isdir(card.path)


def test_a_place_that_takes_no_part_is_not_looked_at(places, monkeypatch):
    monkeypatch.setattr(watch, "EVERY", 0.05)
    (_, archive), given = places
    shutil.rmtree(archive.path)
    with Sentry([given[0], (given[1][0], None)]) as sentry:
        began = time.monotonic()
        until(lambda: sentry.certain(0, began), "the card was looked at")

        assert sentry.downs() == []


def test_a_process_that_hangs_is_a_place_that_hangs(places, monkeypatch):
    """A look without an answer, twice, is no answer, whatever the reason."""
    import signal

    monkeypatch.setattr(watch, "EVERY", 0.2)
    _, given = places
    with Sentry(given) as sentry:
        began = time.monotonic()
        until(lambda: sentry.certain(0, began), "the card was looked at")
        pid = sentry._prober._process.pid
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(watch, "DEADLINE", 0.5)
        until(lambda: len(sentry.downs()) == 2, "both are silent")

        assert all("no answer for" in down.why for down in sentry.downs())
        assert sentry.doubted(0, began)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_place_where_bytes_move_has_more_time(places, monkeypatch):
    import signal

    monkeypatch.setattr(watch, "EVERY", 0.1)
    _, given = places
    with Sentry(given) as sentry, sentry.follow(lambda: [0.0, time.monotonic()]):
        began = time.monotonic()
        until(lambda: sentry.certain(0, began) and sentry.certain(1, began), "both were looked at")
        os.kill(sentry._prober._process.pid, signal.SIGSTOP)
        monkeypatch.setattr(watch, "DEADLINE", 0.2)
        until(sentry.downs, "the card is silent")
        time.sleep(0.5)

        assert [down.place for down in sentry.downs()] == [0]


def test_it_starts_no_process_for_a_session_that_is_over_soon(places):
    _, given = places
    with Sentry(given) as sentry:
        time.sleep(0.3)
        assert sentry._prober._process is None


@pytest.mark.parametrize(
    ("origin", "seen"), [("/dev/null", b"/dev/null"), ("/dev/no-such-disk", None), ("tmpfs", None)]
)
def test_only_a_device_file_that_can_be_seen_is_looked_for(origin, seen):
    """A container has its disks mounted, and need not have their device files."""
    mount = Mount(1, b"/", b"/archive", "ext4", origin.encode(), read_only=False)

    assert sentry_module._disk(replace(DISK, mount=mount)) == seen


def test_a_look_that_could_not_be_asked_for_is_asked_for_again(places, monkeypatch):
    """Where this machine has no process to give, for a moment."""
    _, given = places
    refused, ask = [], Prober.ask

    def refuse(prober, spot, number):
        if len(refused) < 3:
            refused.append(spot)
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        ask(prober, spot, number)

    monkeypatch.setattr(Prober, "ask", refuse)
    with Sentry(given) as sentry:
        since = time.monotonic()
        for number in range(1, 4):
            sentry.blame(0)
            until(lambda: len(refused) >= number, "the refusal")  # noqa: B023 - called at once
        sentry.blame(0)
        until(lambda: sentry.certain(0, since), "the card's answer")
        assert sentry.downs() == []


def test_what_ends_its_thread_is_raised_where_news_is_asked_for(places, monkeypatch):
    """Else copies that failed would wait for ever for its word on their place."""
    _, given = places

    def broken(prober, patience=0.0):
        raise ValueError("a bug")

    monkeypatch.setattr(Prober, "heard", broken)
    with Sentry(given) as sentry:
        until(lambda: sentry._broken, "the bug")
        with pytest.raises(ValueError, match="a bug"):
            sentry.fresh()
