"""Files for ``--events`` and ``--log-file``: no footage is ever written to, and nothing waits for a reader.

What is asked for is a word on a command line, and a slip of the finger may name a clip. So only a new file, an empty one
or one that holds such lines already is appended to, and none that lies in a source or in an archive. A pipe that
somebody reads and a terminal will do, a pipe without a reader is refused at once.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

from ingest.errors import IngestError, UsageError, from_os_error, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Every line that was ever written begins so.
_BEGIN: Final = b'{"'
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


def open_target(target: str, option: str, places: Sequence[bytes]) -> IO[str]:
    """A file to append lines to.

    Args:
        target: its path; symbolic links are followed. places: the sources, destinations and archives of the command, as they
            were named.

    Raises:
        UsageError: it is empty, or nothing that lines may be appended to. IngestError: it cannot be opened.
    """
    if not target:
        raise UsageError("the name of a file is empty", operation=option, advice="Name it")
    path = os.fsencode(target)
    try:
        real = os.path.realpath(path)
        if (place := _around(real, places)) is not None:
            raise _refused(real, option, f"it lies in {shown(place)}, where only footage is written")
        _look(path, real, option)
        descriptor = os.open(path, _FLAGS, 0o666)
    except OSError as error:
        raise from_os_error(error, option, path) from error
    os.set_blocking(descriptor, True)
    return open(descriptor, "a", buffering=1, encoding="utf-8")


def _refused(path: bytes, option: str, cause: str) -> IngestError:
    return UsageError(
        cause, path=path, operation=option, advice="Name another file, or a new one, outside of cards and archives"
    )


def _look(path: bytes, real: bytes, option: str) -> None:
    """Refuse what exists and is something else, before it is opened to be written to: a device would already notice.

    Raises:
        UsageError: it is something else. OSError: it cannot be looked at.
    """
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        return
    if stat.S_ISREG(facts.st_mode):
        if not facts.st_size:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            begins = os.read(descriptor, len(_BEGIN))
        finally:
            os.close(descriptor)
        if begins and begins != _BEGIN:
            raise _refused(real, option, "it holds something else than such lines")
    elif not (stat.S_ISCHR(facts.st_mode) or stat.S_ISFIFO(facts.st_mode)):
        raise _refused(real, option, "it is no file")


def _around(path: bytes, places: Sequence[bytes]) -> bytes | None:
    """The place, or the archive, that a path lies in; None if it is in none."""
    places = list(_meant(places))
    own = {_identity(place): place for place in _near(places)}
    lexical = {os.path.abspath(place): place for place in places}
    for above in _upwards(path):
        if above in lexical:
            return lexical[above]
        if (identity := _identity(above)) is not None and identity in own:
            return own[identity]
        if os.path.lexists(above + b"/.ingest/root.json"):
            return above
    return None


def _meant(places: Sequence[bytes]) -> Iterator[bytes]:
    """The paths of places. A share that is not mounted has none; its command says so."""
    from ingest.storage.urls import located

    for place in places:
        with suppress(IngestError, OSError):
            yield located(place)


def _near(places: Sequence[bytes]) -> Iterator[bytes]:
    """Those that can be looked at without waiting for a server. Of the others the name alone counts."""
    from ingest.storage.reach import obstacle

    for place in places:
        with suppress(OSError):
            if obstacle(place) is None:
                yield place


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


def _upwards(path: bytes) -> Iterator[bytes]:
    """A path and all that it lies in."""
    while True:
        yield path
        above = os.path.dirname(path)
        if above == path:
            return
        path = above
