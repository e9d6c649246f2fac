"""What a column may hold, looked at whenever it is read: a flipped bit leaves rows that SQLite takes for sound.

Each type of a column says what was never written there (`sound`). Whoever reads such a value is told so
(:class:`ImpossibleValueError`, which `db.engine` turns into a damaged journal), and :func:`impossible` looks for one in all
rows. Not noticed: a value that was changed into another that may stand there.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Float, Integer, LargeBinary, MetaData, Text, type_coerce
from sqlalchemy.types import NullType

from ingest.model.options import CopyOptions

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column, ColumnElement, Dialect

# As much of a value is told.
_LONGEST: Final = 60
# `read`, or `read 4096-8192 16384-20480`: an operation, and the bytes that it failed at.
_OPERATION: Final = re.compile(r"[^ ]*( \d{1,20}-\d{1,20})*")


class ImpossibleValueError(ValueError):
    """A row of the journal holds what was never written there."""


class _Checked:
    """A type that looks at what it reads; one of SQLAlchemy's is its other base.

    That copies types by the names of their arguments, and leaves out those that can be given by keyword alone.

    Attributes:
        optional: a column may be without a value. what: a value is. usual: whatever has this class is sound; None if
            that takes a closer look.
    """

    optional: bool
    what: str = "number"
    usual: type | None = int

    def sound(self, value: Any) -> bool:
        """Whether this may stand in the column; None is not asked about."""
        return type(value) is int

    def suspect(self, name: str) -> str:
        """An SQL condition on a column that holds for all that is not sound, and seldom for what is."""
        return f"typeof({name}) <> 'integer'"

    def may_hold(self, value: Any) -> bool:
        """Whether this may stand in the column, or be missing there."""
        return self.optional if value is None else self.sound(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:  # noqa: ARG002 - SQLAlchemy's
        """What SQLAlchemy has every value go through that it reads."""
        # Millions are read: what nearly all of them are is let through first, with as few calls as can be.
        usual, look_at = self.usual, self.look_at

        def looked_at(value: Any) -> Any:
            return value if value.__class__ is usual else look_at(value)

        def looked_at_if_there(value: Any) -> Any:
            return value if value is None or value.__class__ is usual else look_at(value)

        return looked_at_if_there if self.optional else looked_at

    def look_at_all(self, values: Sequence[Any]) -> None:
        """Look at many values.

        Raises:
            ImpossibleValueError: one may not stand in the column.
        """
        kinds = set(map(type, values))
        if self.optional:
            kinds.discard(type(None))
        if kinds and (kinds != {self.usual}):
            for value in values:
                self.look_at(value)

    def look_at(self, value: Any) -> Any:
        """The value, if it may stand in the column.

        Raises:
            ImpossibleValueError: it may not.
        """
        if not self.may_hold(value):
            raise ImpossibleValueError(f"a row holds {_shown(value)}, which is no {self.what}")
        return value


class Whole(_Checked, Integer):
    """A whole number."""

    def __init__(self, optional: bool = False) -> None:
        super().__init__()
        self.optional = optional


class Big(_Checked, BigInteger):
    """A whole number that may need 64 bits."""

    def __init__(self, optional: bool = False) -> None:
        super().__init__()
        self.optional = optional


class Seconds(_Checked, Float[float]):
    """A number of seconds."""

    usual = float

    def __init__(self, optional: bool = False) -> None:
        super().__init__()
        self.optional = optional

    def sound(self, value: Any) -> bool:
        """A number, whole or not."""
        return type(value) in (float, int)

    def suspect(self, name: str) -> str:
        """Not a number."""
        return f"typeof({name}) NOT IN ('real', 'integer')"


class Words(_Checked, Text):
    """Text; one of these words, if there are any."""

    what = "text"
    usual = str

    def __init__(self, words: frozenset[str] = frozenset(), what: str = "text", optional: bool = False) -> None:
        super().__init__()
        self.words = words
        self.what = what
        self.optional = optional

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Words are looked up."""
        if not self.words:
            return super().result_processor(dialect, coltype)
        return _Known(self, {word: word for word in self.words}).__getitem__

    def sound(self, value: Any) -> bool:
        """Text; one of the words, if there are any."""
        return value in self.words if self.words else type(value) is str

    def suspect(self, name: str) -> str:
        """No text, none of the words, or text that may not be UTF-8."""
        if self.words:
            listed = ", ".join(f"'{word}'" for word in sorted(self.words))
            return f"{name} NOT IN ({listed})"
        return f"typeof({name}) <> 'text' OR {name} GLOB '*[^ -~]*'"

    def look_at_all(self, values: Sequence[Any]) -> None:
        """Words are looked up, all at once."""
        if not self.words:
            super().look_at_all(values)
        elif not self.words.issuperset(values):
            for value in values:
                self.look_at(value)


class _Known(dict[str, str]):
    """Words as they are, without a call of Python's; any other value is looked at."""

    def __init__(self, kind: Words, words: dict[str, str]) -> None:
        super().__init__(words)
        self._kind = kind

    def __missing__(self, value: Any) -> Any:
        return self._kind.look_at(value)


class Spoken(_Checked, Text):
    """Text of a form of its own: what a session was asked for (`options`), its id (`name`), an operation."""

    usual = None

    def __init__(self, what: str, optional: bool = False) -> None:
        super().__init__()
        self.what = what
        self.optional = optional

    def sound(self, value: Any) -> bool:
        """Text of that form."""
        return type(value) is str and _FORMS[self.what](value)

    def suspect(self, name: str) -> str:
        """All of them: there are few."""
        return f"{name} IS NOT NULL"


class Octets(_Checked, LargeBinary):
    """Bytes: a `path`, a `digest` (BLAKE3, or none), or any others."""

    def __init__(self, what: str = "bytes", optional: bool = False) -> None:
        super().__init__()
        self.what = what
        self.usual = bytes if what == "bytes" else None
        self.optional = optional

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """A path is looked through at once."""
        if self.what != "path":
            return super().result_processor(dialect, coltype)

        def looked_through(value: Any) -> Any:
            return value if value.__class__ is bytes and b"\0" not in value else self.look_at(value)

        return looked_through

    def look_at_all(self, values: Sequence[Any]) -> None:
        """Paths are looked through together."""
        if self.what != "path" or set(map(type, values)) != {bytes} or b"\0" in b"".join(values):
            super().look_at_all(values)

    def sound(self, value: Any) -> bool:
        """Bytes; a path has no zero byte, a digest 32 bytes or none."""
        if type(value) is not bytes:
            return False
        return (b"\0" not in value) if self.what == "path" else (len(value) in (0, 32) or self.what != "digest")

    def suspect(self, name: str) -> str:
        """No bytes, or not such."""
        more = {"path": f" OR instr({name}, x'00') > 0", "digest": f" OR length({name}) NOT IN (0, 32)"}
        return f"typeof({name}) <> 'blob'" + more.get(self.what, "")


def unlooked(column: Column[Any]) -> ColumnElement[Any]:
    """A column that is read without a look at each value, by who looks at whole pages (`look_through`)."""
    return type_coerce(column, NullType()).label(column.name)


def look_through(columns: Sequence[Column[Any]], rows: Sequence[Sequence[Any]]) -> None:
    """Look at the values of a page of rows, a column at a time: a tenth of what a look at each costs.

    Raises:
        ImpossibleValueError: one may not stand in its column.
    """
    for column, values in zip(columns, zip(*rows, strict=True), strict=bool(rows)):
        if isinstance(column.type, _Checked):
            column.type.look_at_all(values)


def impossible(connection: sqlite3.Connection, metadata: MetaData) -> str | None:
    """The first value in a database that was never written there; None if there is none.

    Tables and columns that the database does not have are passed over: it may be an older one.

    Raises:
        sqlite3.DatabaseError: it cannot be read.
    """
    for table in metadata.sorted_tables:
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table.name})")}
        columns = [column for column in table.columns if column.name in there and isinstance(column.type, _Checked)]
        if not columns:
            continue
        names = ", ".join(f'"{column.name}"' for column in columns)
        suspected = f"SELECT {names} FROM {table.name} WHERE {' OR '.join(map(_suspect, columns))}"  # noqa: S608 - the schema's names
        for row in connection.execute(suspected):
            for column, value in zip(columns, row, strict=True):
                if isinstance(column.type, _Checked) and not column.type.may_hold(value):
                    return f"a row of {table.name} holds {_shown(value)} as its {column.name}"
    return None


def _suspect(column: Column[Any]) -> str:
    assert isinstance(column.type, _Checked)  # noqa: S101
    name = f'"{column.name}"'
    told = f"({column.type.suspect(name)})"
    return f"({name} IS NOT NULL AND {told})" if column.type.optional else f"({name} IS NULL OR {told})"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    told = ascii(value)
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}…"


def _options(text: str) -> bool:
    try:
        CopyOptions.from_json(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    return isinstance(json.loads(text), dict)


_FORMS: Final[dict[str, Callable[[str], bool]]] = {
    "options of a session": _options,
    "name of a session": lambda text: bool(text) and "/" not in text and "\0" not in text,
    "operation": lambda text: _OPERATION.fullmatch(text) is not None,
}
