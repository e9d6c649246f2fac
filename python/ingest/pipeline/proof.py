"""What the gate is asked, and what it answers: verdicts on files of a source, one by one or by groups that belong together.

A `Deletable` bears its proof: the file as it was seen last, and the copies that count. A `Kept` bears the reason, and what
the user can do. Both flow on as they are, to the report of `check` and to whatever deletes; nothing else decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from ingest.errors import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ingest.manifest.evidence import Holding, Wanted
    from ingest.storage.erase import Sighting

# Files that are judged together: enough for calls to pay, few enough that verdicts come while there is more to read.
PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Terms:
    """What has to be true. `copies`: how many; the others allow what is not allowed otherwise."""

    copies: int
    same_volume: bool = False
    accept_reread: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """A copy that counts. `read_now`: it was read back for this verdict, not only when it was made."""

    root: str
    path: bytes
    verify_method: str
    read_now: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """Why a file may be erased: what it is, and the copies that count."""

    seen: Sighting
    blake3: bytes
    copies: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Deletable:
    """This file may be erased, as long as it is as the proof has it."""

    source: int
    number: int
    path: bytes
    proof: Proof


@dataclass(frozen=True, slots=True)
class Kept:
    """This file must stay. `copies`: how many of it count. reason, advice: sentences.

    One with the number 0 is no file, but a place that may hold more than can be seen (`pipeline.unseen`).
    """

    source: int
    number: int
    path: bytes
    copies: int
    reason: str
    advice: str


Verdict: TypeAlias = Deletable | Kept


def pages(
    asked: Iterable[tuple[Wanted, list[Holding]]],
) -> Iterator[list[tuple[Wanted, list[Holding]]]]:
    """Pages that end where a group does."""
    page: list[tuple[Wanted, list[Holding]]] = []
    for wanted, holdings in asked:
        last = page[-1][0] if page else None
        if last is not None and len(page) >= PAGE and (last.source, last.kin) != (wanted.source, wanted.kin):
            yield page
            page = []
        page.append((wanted, holdings))
    if page:
        yield page


def whole(page: Sequence[tuple[Wanted, list[Holding]]], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, with those of groups of which a member stays turned into staying."""
    kins = [(wanted.source, wanted.kin) for wanted, _ in page]
    staying: dict[tuple[int, bytes], Kept] = {}
    for kin, verdict in zip(kins, verdicts, strict=True):
        if isinstance(verdict, Kept):
            staying.setdefault(kin, verdict)
    told: list[Verdict] = []
    for kin, verdict in zip(kins, verdicts, strict=True):
        why = staying.get(kin)
        if isinstance(verdict, Deletable) and why is not None:
            reason = f"{shown(why.path)}, which belongs to it, has to stay ({why.reason})"
            verdict = Kept(verdict.source, verdict.number, verdict.path, len(verdict.proof.copies), reason, why.advice)  # noqa: PLW2901 - turned
        told.append(verdict)
    return told
