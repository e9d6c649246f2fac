"""Small files of our own (markers, manifest parts), written with the same care as footage.

Staged exclusively, flushed, read back cold, compared, published without replacing anything, folders flushed.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ingest import engine
from ingest.errors import ManifestError, from_os_error

if TYPE_CHECKING:
    from ingest.engine import Root


def deposit(root: Root, path: bytes, staging: bytes, data: bytes) -> bool:
    """Put bytes under a name below a root, durably; False if the name is taken (nothing is changed then).

    Args:
        root: where; path and staging are below it. A staging file that a dead run left there is removed first.

    Raises:
        IngestError: it could not be written, flushed or published; the staging file is gone again.
        ManifestError: it did not read back as written.
    """
    where = root.path + b"/" + path
    engine.discard(root, [staging])
    parent, _, name = staging.rpartition(b"/")
    try:
        _write(root, parent, name, data)
    except OSError as error:
        engine.discard(root, [staging])
        raise from_os_error(error, "write", where) from error
    ((digest, _, _, _, fault),) = engine.prove(root, [staging], cold=True)
    if fault is None and digest != engine.blake3(data):
        engine.discard(root, [staging])
        raise ManifestError(
            "it does not read back as written", path=where, operation="verify",
            advice="The disk or its cable damages data: do not use it for an archive",
        )  # fmt: skip
    if fault is None:
        fault = engine.publish(root, [staging], [path])[1].get(0)
    if fault is None:
        return True
    engine.discard(root, [staging])
    failure = engine.failed(fault)
    if failure.errno == errno.EEXIST:
        return False
    raise failure.error(path=where)


def _write(root: Root, parent: bytes, name: bytes, data: bytes) -> None:
    folder = open_folders(root, parent)
    try:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            os.fsync(file)
        finally:
            os.close(file)
    finally:
        os.close(folder)


def open_folders(root: Root, path: bytes) -> int:
    """A descriptor of a folder below the root, made with its parents where missing; the caller closes it.

    Raises:
        OSError: it cannot be made or opened.
    """
    ((fault),) = engine.make_folders(root, [path], [-1])
    if fault is not None:
        failure = engine.failed(fault)
        raise OSError(failure.errno, failure.detail, failure.path)
    return root.open_folder(path)
