"""Doctor: is everything in order? The engine, the kernel's help, the journal, the archives, what waits."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest import engine
from ingest.catalog.holdings import all_roots
from ingest.db.engine import NAME, read_database
from ingest.errors import IngestError, from_os_error, shown
from ingest.pipeline.orphans import left_on
from ingest.session.register import register
from ingest.storage.leases import leases_on, stale, told
from ingest.storage.marker import read_marker
from ingest.storage.roots import pin
from ingest.storage.volumes import volume_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from ingest.db.engine import Database

# Of a message for known answers: BLAKE3 of nothing, as published with its test vectors.
_EMPTY = bytes.fromhex("af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262")
# Below this a journal's disk is about to become everybody's problem.
_LOW = 256 << 20


@dataclass(frozen=True, slots=True)
class Health:
    """One finding: `ok`, `note` (worth knowing) or `wrong`."""

    check: str
    status: str
    detail: str
    advice: str = ""


def examine(home: Path) -> list[Health]:
    """Everything that can be looked at without changing it."""
    findings = [*_program(), *_home(home)]
    try:
        database = read_database(home)
    except IngestError as error:
        return [*findings, Health("journal", "wrong", error.cause, error.advice)]
    if database is None:
        return [*findings, Health("journal", "ok", "none yet: the first copy makes it")]
    try:
        findings += [*_journal(database), *_roots(database), *_sessions(database)]
    finally:
        database.close()
    return findings


def _program() -> Iterator[Health]:
    sound = engine.blake3(b"") == _EMPTY
    yield Health("engine", "ok" if sound else "wrong", f"ingest {engine.__version__}, Python {platform.python_version()}",
                 "" if sound else "The engine computes wrong digests: install ingest again")  # fmt: skip
    system = f"{platform.system()} {platform.release()}"
    if platform.system() != "Linux":
        yield Health("system", "note", system, "Only Linux has been tested")
        return
    with (
        tempfile.TemporaryDirectory(dir=".", prefix=".ingest-doctor-")
        if os.access(".", os.W_OK)
        else tempfile.TemporaryDirectory() as folder
    ):
        cold = engine.Root(os.fsencode(os.path.abspath(folder))).cold
    yield Health("system", "ok", f"{system}; cold read-back where this was asked from: {cold}")


def _home(home: Path) -> Iterator[Health]:
    where = home if home.exists() else next(parent for parent in home.parents if parent.exists())
    if not os.access(where, os.W_OK):
        yield Health("home", "wrong", f"{home} cannot be written", "Set INGEST_HOME to a folder you can write")
        return
    free = shutil.disk_usage(where).free
    volume = volume_of(os.fsencode(where))
    if volume.storage == "network":
        yield Health("home", "wrong", f"{home} is on a network share", "SQLite needs a local disk: set INGEST_HOME")
    elif free < _LOW:
        yield Health(
            "home",
            "wrong",
            f"{home} has {free >> 20} MiB free",
            "Make room: a journal that cannot be written stops every session",
        )
    else:
        yield Health("home", "ok", f"{home}, {free >> 30} GiB free")


def _journal(database: Database) -> Iterator[Health]:
    connection = sqlite3.connect(f"{database.path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    finally:
        connection.close()
    detail = f"{NAME}, {database.path.stat().st_size >> 10} KiB"
    yield (
        Health("journal", "ok", detail)
        if verdict == "ok"
        else Health(
            "journal",
            "wrong",
            f"{detail}: {verdict}",
            "Move it away to start a new one: the archives describe themselves",
        )
    )


def _roots(database: Database) -> Iterator[Health]:
    own = {entry.id[:8] for entry in register(database) if entry.held or not entry.over}
    with database.read() as connection:
        known = all_roots(connection)
    for uuid, path in known:
        name = f"archive {shown(path)}"
        try:
            root = pin(path)
            marker = read_marker(root)
            free = os.statvfs(path)
            others = list(_others(root, name, own))
        except IngestError as error:
            # A disk in a drawer is where it should be.
            yield Health(name, "note", f"cannot be reached ({error.cause})", "Mount it to use it")
            continue
        except OSError as error:
            yield Health(name, "wrong", str(from_os_error(error, "statfs", path)))
            continue
        if marker is None or marker.uuid != uuid:
            yield Health(name, "note", "another folder or disk is there now", "Mount the archive to use it")
        else:
            yield Health(name, "ok", f"{free.f_bavail * free.f_frsize >> 30} GiB free, {uuid}")
            yield from others


def _others(root: engine.Root, name: str, own: Collection[str]) -> Iterator[Health]:
    """Sessions that are not this journal's to complete, and work on an archive or have left something there."""
    for seen in leases_on(root):
        if seen.session[:8] in own:
            continue
        holder = told(seen.lease) if seen.lease is not None else "a newer version of ingest"
        if not stale(seen, 0.0):
            sure = seen.lease is not None and seen.lease.known
            yield Health(name, "note", f"another session works here{'' if sure else ', or has died'}: {holder}")
    for left in left_on(root):
        if left.files and left.session not in own and (left.dead or left.lease is None):
            what = f"{left.files:,} half-made files ({left.size >> 20:,} MiB) of session {left.session}, {left.holder}"
            advice = "Complete it where it was begun: ingest resume. If that journal is lost: ingest clear"
            yield Health(name, "note", what, f"{advice} {shown(root.path)}")


def _sessions(database: Database) -> Iterator[Health]:
    waiting = [entry for entry in register(database) if entry.resumable]
    if waiting:
        yield Health("sessions", "note", f"{len(waiting)} can be resumed", "Complete them with: ingest resume")
    else:
        yield Health("sessions", "ok", "none is waiting")
