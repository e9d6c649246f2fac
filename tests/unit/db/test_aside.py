"""A damaged journal is renamed, never deleted: with its log, when nobody has it open, whatever happens in between."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from ingest.db import aside, schema
from ingest.db.aside import damage, last_aside, set_aside, settle, unsettled
from ingest.db.engine import open_database, read_database
from ingest.db.faults import NAME, SESSIONS, TRAILS
from ingest.errors import DamagedJournalError, JournalError

WRITER = """
import os, signal, sqlite3, sys, pathlib
from ingest.db.engine import open_database, read_database
from ingest.db import schema
database = open_database(pathlib.Path(sys.argv[1]))
def put(numbers):
    for number in numbers:
        with database.write() as connection:
            connection.execute(schema.roots.insert().values(uuid=str(number), path=b"/" * 200, first_seen=0, last_seen=0))
put(range(200))
sqlite3.connect(database.path).execute("PRAGMA wal_checkpoint(TRUNCATE)")
put(range(200, 240))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(home):
    """A journal whose last commits are in its log alone, as a kill leaves it."""
    done = subprocess.run([sys.executable, "-c", WRITER, str(home)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (home / f"{NAME}-wal").stat().st_size > 0
    return home


def held(home) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in home.iterdir() if path.name.startswith(NAME) and path.is_file()}
    return {name: data for name, data in files.items() if not name.endswith(".rebuilding")}


def known(home) -> int:
    database = open_database(home)
    try:
        with database.read() as connection:
            return len(connection.execute(schema.roots.select()).all())
    finally:
        database.close()


def spoil(home) -> None:
    """Every page but the first, which the log may hold anew."""
    with (home / NAME).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * ((home / NAME).stat().st_size - 4096))


def test_a_sound_journal_is_not_damaged(home):
    open_database(home).close()

    assert damage(home) is None
    assert set_aside(home) is None
    assert list(held(home)) == [NAME]


def test_a_journal_that_is_not_there_is_not_damaged(home):
    home.mkdir()

    assert damage(home) is None
    assert set_aside(home) is None


def test_commits_in_the_log_are_no_damage(killed):
    assert damage(killed) is None
    assert known(killed) == 240


def test_an_index_that_lost_its_entries_is_damage(home):
    """A leaf without a cell is sound by itself; what the table holds is not in it."""
    database = open_database(home)
    with database.write() as connection:
        connection.execute(schema.roots.insert().values(uuid="one", path=b"/one", first_seen=0, last_seen=0))
    database.close()
    with closing(sqlite3.connect(home / NAME)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_roots_1'"
        (page,) = connection.execute(query).fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (home / NAME).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes([10, 0, 0, 0, 0, 0x10, 0, 0]) + bytes(4088))

    assert "index" in (damage(home) or "")
    assert set_aside(home) is not None


def test_a_lost_log_is_no_damage_and_leaves_an_older_state(killed):
    """Whoever reads it finds less than was written, and compares bytes where it knows nothing."""
    (killed / f"{NAME}-wal").unlink()

    assert damage(killed) is None
    assert known(killed) <= 240


@pytest.mark.parametrize("at", [0, 20, 32, 40, 100, 5000, 50_000])
def test_a_damaged_log_counts_up_to_the_damage(killed, at):
    with (killed / f"{NAME}-wal").open("r+b") as file:
        file.seek(at)
        file.write(bytes(byte ^ 0xFF for byte in os.pread(file.fileno(), 8, at)))

    assert damage(killed) is None
    assert known(killed) < 240


def test_the_log_goes_with_its_database(killed):
    spoil(killed)
    before = held(killed)

    where = set_aside(killed)

    assert where is not None
    assert where.name.startswith(f"{NAME}.damaged-20")
    assert where.name.endswith("Z")
    after = held(killed)
    assert after[where.name] == before[NAME]
    assert after[f"{where.name}-wal"] == before[f"{NAME}-wal"]
    assert NAME not in after
    assert f"{NAME}-wal" not in after


def test_two_in_one_second_have_two_names(home):
    kept = []
    for _ in range(2):
        open_database(home, anew=True).close()
        spoil(home)
        kept.append(set_aside(home))

    assert None not in kept
    assert len(set(kept)) == 2
    assert all(where.exists() for where in kept)


def test_where_there_are_no_hard_links_the_log_is_renamed_before_its_database(killed, monkeypatch):
    spoil(killed)
    before = sorted(data for name, data in held(killed).items() if "shm" not in name)
    renamed = []
    rename = os.rename

    def refuse(*_arguments, **_options):
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(aside.os, "link", refuse)
    monkeypatch.setattr(aside.os, "rename", lambda old, new: (renamed.append(str(old)), rename(old, new)))

    set_aside(killed)

    # The index in memory is SQLite's to write anew whenever it looks.
    assert sorted(data for name, data in held(killed).items() if "shm" not in name) == before
    assert renamed[-1].endswith(NAME)
    assert any(name.endswith("-wal") for name in renamed[:-1])


@pytest.mark.parametrize("step", range(6))
def test_a_kill_at_any_step_loses_no_byte_and_leaves_no_stray_log(killed, step):
    """After each of the calls that give and take names: everything is there under some name, and can be set aside."""
    spoil(killed)
    before = held(killed)
    code = (
        "import os, signal, sys, pathlib\n"
        "from ingest.db import aside\n"
        "left = [int(sys.argv[2])]\n"
        "def counted(call):\n"
        "    def act(*a, **k):\n"
        "        if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        left[0] -= 1\n"
        "        return call(*a, **k)\n"
        "    return act\n"
        "for name in ('link', 'unlink', 'rename'): setattr(os, name, counted(getattr(os, name)))\n"
        "aside.set_aside(pathlib.Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(killed), str(step)], check=False)
    assert done.returncode == -signal.SIGKILL

    open_again = (
        None if (killed / NAME).exists() else open_database(killed, anew=True)
    )  # a new one: it removes a stray log
    if open_again is not None:
        open_again.close()
    set_aside(killed)

    kept = list(held(killed).values())
    assert before[NAME] in kept
    assert before[f"{NAME}-wal"] in kept


# An emptied file


def test_an_emptied_journal_beside_sessions_is_damaged_and_its_log_is_kept(killed):
    (killed / SESSIONS).mkdir()
    (killed / SESSIONS / "a.lock").touch()
    log = held(killed)[f"{NAME}-wal"]
    os.truncate(killed / NAME, 0)

    with pytest.raises(DamagedJournalError, match="empty"):
        open_database(killed)
    where = set_aside(killed)

    assert where is not None
    assert held(killed)[f"{where.name}-wal"] == log


def test_an_emptied_journal_without_sessions_is_new(home):
    home.mkdir()
    (home / NAME).touch()

    assert damage(home) is None


# What is no damage


def test_a_journal_that_another_process_writes_to_is_not_judged_by_that(home):
    database = open_database(home)
    with closing(sqlite3.connect(home / NAME)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert damage(home) is None
    database.close()


def test_what_sqlite_cannot_open_is_an_error_and_not_damage(home):
    home.mkdir()
    (home / NAME).mkdir()

    with pytest.raises(JournalError) as caught:
        set_aside(home)

    assert not isinstance(caught.value, DamagedJournalError)
    assert (home / NAME).is_dir()


# A journal that is gone


@pytest.mark.parametrize("left", [f"{SESSIONS}/a.lock", f"{TRAILS}/a", f"{NAME}.damaged-20200101T000000Z"])
def test_a_journal_that_is_gone_from_beside_what_it_left_is_damaged(home, left):
    (home / left).parent.mkdir(parents=True, exist_ok=True)
    (home / left).touch()

    for opened in (open_database, read_database):
        with pytest.raises(DamagedJournalError, match="gone"):
            opened(home)
    assert damage(home) is not None
    assert not (home / NAME).exists()
    open_database(home, anew=True).close()
    assert damage(home) is None


@pytest.mark.parametrize("left", ["schema.lock", "config.toml", SESSIONS, TRAILS])
def test_where_there_never_was_a_journal_a_new_one_is_begun(home, left):
    home.mkdir()
    (home / left).mkdir() if left in (SESSIONS, TRAILS) else (home / left).touch()

    assert read_database(home) is None
    assert damage(home) is None
    open_database(home).close()


def test_the_one_that_was_set_aside_last_is_found_whatever_lies_beside_it(killed):
    assert last_aside(killed) is None
    spoil(killed)
    first = set_aside(killed)
    open_database(killed, anew=True).close()
    (killed / SESSIONS).mkdir()
    (killed / SESSIONS / "a.lock").touch()
    os.truncate(killed / NAME, 0)
    empty = set_aside(killed)

    assert empty is not None
    assert last_aside(killed) == first, "what is empty tells nothing"
    assert unsettled(killed)
    settle(killed)
    assert not unsettled(killed)
