"""Doctor: is everything in order? The engine, the kernel's help, the journal, the archives, what waits."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingest import engine
from ingest.db.aside import unsettled
from ingest.db.engine import read_database
from ingest.db.faults import NAME, REBUILD
from ingest.db.soundness import look_into
from ingest.errors import IngestError, JournalError, shown
from ingest.pipeline.orphans import left_on
from ingest.pipeline.storages import look_at_roots
from ingest.session.register import register
from ingest.storage.leases import leases_on, stale
from ingest.storage.roots import pin
from ingest.storage.volumes import Storage, volume_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from ingest.db.engine import Database
    from ingest.pipeline.storages import StoredRoot
    from ingest.storage.rules import Rule

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


def examine(home: Path, rules: Sequence[Rule] = (), broken: IngestError | None = None) -> list[Health]:
    """Everything that can be looked at without changing it.

    Args:
        rules: what the configuration says of places. broken: why it could not be read, if it could not.
    """
    findings = [*_program(), *_home(home)]
    if broken is not None:
        findings.append(Health("configuration", "wrong", f"{shown(broken.path or b'')}: {broken.cause}", broken.advice))
    elif rules:
        findings.append(Health("configuration", "ok", f"it speaks of {', '.join(shown(r.path) for r in rules)}"))
    try:
        database = read_database(home)
    except IngestError as error:
        return [*findings, Health("journal", "wrong", error.cause, error.advice)]
    if database is None:
        return [*findings, Health("journal", "ok", "none yet: the first copy makes it")]
    try:
        findings += [*_journal(database), *_rebuilding(home)]
        findings += [*_roots(database, rules), *_sessions(database)]
    except JournalError as error:
        if findings[-1].check != "journal" or findings[-1].status == "ok":
            findings.append(Health("journal", "wrong", error.cause, error.advice))
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
    if home.exists() and not home.is_dir():
        yield Health("home", "wrong", f"{home} is no folder", "Move it away, or set INGEST_HOME to a folder")
        return
    where = home if home.exists() else next(parent for parent in home.parents if parent.exists())
    if not os.access(where, os.W_OK):
        yield Health("home", "wrong", f"{home} cannot be written", "Set INGEST_HOME to a folder you can write")
        return
    free = shutil.disk_usage(where).free
    volume = volume_of(os.fsencode(where))
    if volume.storage is Storage.NETWORK:
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
        verdict = look_into(connection)
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
            REBUILD,
        )
    )


def _rebuilding(home: Path) -> Iterator[Health]:
    if unsettled(home):
        yield Health(
            "journal",
            "wrong",
            "one was set aside, and what it told is not restored",
            "To complete it: ingest catalog rebuild",
        )


def _roots(database: Database, rules: Sequence[Rule]) -> Iterator[Health]:
    own = {entry.id[:8] for entry in register(database) if entry.held or not entry.over}
    for stored in look_at_roots(database, rules):
        name = f"archive {shown(stored.look.path)}"
        if stored.problem is None:
            yield Health(name, "ok", "; ".join(_archive(stored)))
            yield from _others(pin(stored.look.path), name, own)
            continue
        waiting = f"; waiting for it: {', '.join(each[:8] for each in stored.resumable)}" if stored.resumable else ""
        # A disk in a drawer is where it should be.
        yield Health(name, "note", f"cannot be reached ({stored.problem}){waiting}",
                     "Mount it to use it; if it is mounted elsewhere: ingest storage relocate")  # fmt: skip


def _archive(stored: StoredRoot) -> Iterator[str]:
    look, known = stored.look, stored.known
    if look.free is not None and look.total is not None:
        yield f"{look.free >> 30} of {look.total >> 30} GiB free"
    if look.volume is not None:
        yield f"{look.volume.storage} {look.volume.type}".strip() + (", read-only" if look.volume.read_only else "")
    if known is not None:
        yield f"{known.uuid}"
        verified = known.last_verified
        yield (
            "never verified" if verified is None else f"verified {datetime.fromtimestamp(verified / 1e9, UTC):%Y-%m-%d}"
        )
    if look.internal is not None:
        yield f"{look.internal >> 20} MiB in .ingest"
    yield f"sessions: {stored.sessions}" + (
        f", of which {len(stored.resumable)} can be resumed" if stored.resumable else ""
    )


def _others(root: engine.Root, name: str, own: Collection[str]) -> Iterator[Health]:
    """Sessions that are not this journal's to complete, and work on an archive or have left something there."""
    for seen in leases_on(root):
        if seen.session[:8] in own:
            continue
        if not stale(seen, 0.0):
            sure = seen.lease is not None and seen.lease.known
            yield Health(name, "note", f"another session works here{'' if sure else ', or has died'}: {seen.holder}")
    for left in left_on(root):
        if left.session not in own and (left.dead or left.lease is None):
            files = [f"{left.files:,} half-made files ({left.size >> 20:,} MiB)"] if left.files else []
            claims = [f"a claim on the folder {shown(claim.folder)}" for claim in left.claims]
            if not (files or claims):
                continue
            what = f"{' and '.join(files + claims)} of session {left.session}, {left.holder}"
            advice = "Complete it where it was begun: ingest resume. If that journal is lost: ingest clear"
            yield Health(name, "note", what, f"{advice} {shown(root.path)}")


def _sessions(database: Database) -> Iterator[Health]:
    waiting = [entry for entry in register(database) if entry.resumable]
    if waiting:
        yield Health("sessions", "note", f"{len(waiting)} can be resumed", "Complete them with: ingest resume")
    else:
        yield Health("sessions", "ok", "none is waiting")
