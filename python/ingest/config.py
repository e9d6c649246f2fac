"""Where this program keeps its own things, and what its user told it once for all. Read by the surfaces only.

``INGEST_HOME/config.toml``, if there is one::

    [[storage]]
    path = "/mnt/nas"       # this folder and all below it
    kind = "network"        # local, removable or network
    rotational = true       # a spinning disk
    buffer = "1MiB"         # a power of two from 4KiB to 64MiB
    workers = 1             # 1 to 64

Every key but `path` may be left out. Of several entries the deepest folder's holds; an option of a command wins.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ingest.errors import UsageError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.storage.rules import Rule

NAME: Final = "config.toml"
_ADVICE: Final = "Correct the file; ingest storage --help shows what it may say"


def home() -> Path:
    """The folder of the journal: ``INGEST_HOME``, else the platform's user data folder (not made here)."""
    chosen = os.environ.get("INGEST_HOME")
    if chosen:
        return Path(chosen).absolute()
    from platformdirs import user_data_path

    return user_data_path("ingest", appauthor=False)


def storage_rules(home: Path) -> tuple[Rule, ...]:
    """What the configuration says of places; empty without a file.

    Raises:
        UsageError: it is not understood; file, line and key are named. IngestError: it cannot be read.
    """
    file = home / NAME
    try:
        if stat.S_ISFIFO(file.stat().st_mode):
            raise UsageError("it is a pipe", path=os.fsencode(file), operation="read", advice="Put a file in its place")
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise from_os_error(error, "read", os.fsencode(file)) from error
    return _Reader(file, data).rules()


class _Reader:
    """One file. TOML's own reader keeps no lines: they are looked up when something is wrong."""

    def __init__(self, file: Path, data: bytes) -> None:
        self._file = file
        self._data = data

    def rules(self) -> tuple[Rule, ...]:
        import tomllib

        try:
            stored = tomllib.loads(self._data.decode())
        except (ValueError, OverflowError, RecursionError) as error:
            raise UsageError(f"it is not TOML: {error}", path=os.fsencode(self._file), operation="read",
                             advice=_ADVICE) from error  # fmt: skip
        for key in stored:
            if key != "storage":
                self._wrong(None, key, "no such key: there is storage")
        tables = stored.get("storage", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._wrong(None, "storage", "write it as [[storage]], once for each place")
        return tuple(self._rule(number, table) for number, table in enumerate(tables))

    def _rule(self, number: int, table: dict[str, Any]) -> Rule:
        from ingest.storage.rules import Rule

        for key in table:
            if key not in _READERS:
                self._wrong(number, key, f"no such key: there are {', '.join(_READERS)}")
        if "path" not in table:
            self._wrong(number, "path", "it is missing")
        said: dict[str, Any] = {}
        for key, value in table.items():
            try:
                said[key] = _READERS[key](value)
            except ValueError as error:
                self._wrong(number, key, str(error))
        return Rule(**said)

    def _wrong(self, number: int | None, key: str, why: str) -> NoReturn:
        where = f"line {self._line(number, key)}, {key}"
        raise UsageError(f"{where}: {why}", path=os.fsencode(self._file), operation="read", advice=_ADVICE)

    def _line(self, number: int | None, key: str) -> int:
        """Where a key of the file, or of its `number`-th table, stands; the table's own line if it is not there."""
        tables, within = -1, 1
        wanted = re.compile(rf"\s*(\[\[?\s*)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
        for line, text in enumerate(self._data.decode().splitlines(), start=1):
            if re.match(r"\s*\[\[", text):
                tables += 1
                within = line if tables == number else within
            if (number is None or tables == number) and wanted.match(text):
                return line
        return within


def _path(value: object) -> bytes:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("an absolute path, in quotes")
    return os.fsencode(os.path.normpath(value))


def _kind(value: object) -> object:
    from ingest.storage.volumes import Storage

    if value not in list(Storage):
        raise ValueError(f"one of {', '.join(Storage)}, in quotes")
    return Storage(str(value))


def _rotational(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - told with its line, as any wrong value
    return value


def _buffer(value: object) -> int:
    from ingest.model.options import BUFFER_MAX, BUFFER_MIN, byte_size

    try:
        size = value if isinstance(value, int) else byte_size(str(value))
    except ValueError:
        size = 0
    if isinstance(value, bool) or not BUFFER_MIN <= size <= BUFFER_MAX or size & (size - 1):
        raise ValueError('a power of two from "4KiB" to "64MiB"')
    return size


def _workers(value: object) -> int:
    from ingest.model.options import MOST_WORKERS

    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_WORKERS:
        raise ValueError(f"a number from 1 to {MOST_WORKERS}")
    return value


_READERS: Final[dict[str, Callable[[object], object]]] = {
    "path": _path, "kind": _kind, "rotational": _rotational, "buffer": _buffer, "workers": _workers,
}  # fmt: skip
