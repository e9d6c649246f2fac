"""A folder for PYTHONPATH: every interpreter of the command, workers too, reads this file when it starts.

So nothing of the kind is in the product. INGEST_HALT names a file: the first worker that can make it stops itself before
its first request, until it is let go on. Whoever attaches to it meanwhile meets its own calls alone, and none of an
interpreter that starts.

INGEST_BROKEN puts something else in the place of a function of the engine's. Each breaks a promise in its own way, and
that is what the campaigns must catch, or they prove nothing:

=============  ===================================================================================================
``unproven``   copies are neither flushed nor read back, and called proven
``deaf``       as before, and a write that fails is taken for one that did not
``hasty``      a name is given before the bytes are there: they are written under it, little by little
=============  ===================================================================================================
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from ingest import engine

_way = os.environ.get("INGEST_BROKEN")


def _create(root, path):
    folder, _, name = path.rpartition(b"/")
    engine.make_folders(root, [folder], [-1])
    descriptor = root.open_folder(folder)
    try:
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _read(root, path):
    folder, _, name = path.rpartition(b"/")
    descriptor = root.open_folder(folder)
    try:
        with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=descriptor), "rb") as file:
            return file.read()
    finally:
        os.close(descriptor)


def _write(root, path, data):
    file = _create(root, path)
    try:
        for at in range(0, len(data), 1 << 16):
            try:
                os.write(file, data[at : at + (1 << 16)])
            except OSError:
                if _way != "deaf":
                    raise
    finally:
        os.close(file)


def stage(source, roots, items, paths, sizes, mtimes, staging, **_options):
    files = [_read(source, path) for path in paths]
    for root, column in zip(roots, staging, strict=True):
        for path, data in zip(column, files, strict=True):
            _write(root, path, data)
    now = [time.time_ns()] * len(files)
    copies = [(["evicted"] * len(files), now, list(mtimes), ["copy"] * len(files), {}) for _ in roots]
    digests = b"".join(map(engine.blake3, files))
    return (digests, [len(data) for data in files], now, now, {}, copies, (1, 1, 1), {}, [], {}, {}, [])


def publish(root, staging, paths, **_options):
    for old, new in zip(staging, paths, strict=True):
        _write(root, new, _read(root, old))
    engine.discard(root, list(staging))
    return ["noreplace"] * len(paths), {}


def _halting(serve):
    def halted(self):
        with suppress(FileExistsError):
            os.close(os.open(os.environ["INGEST_HALT"], os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.kill(os.getpid(), signal.SIGSTOP)
        serve(self)

    return halted


if _way == "hasty":
    engine.publish = publish
elif _way:
    engine.stage = stage
if "INGEST_HALT" in os.environ and any("spawn_main" in argument for argument in sys.orig_argv):
    from ingest.workers import worker

    worker.Worker.serve = _halting(worker.Worker.serve)
