"""Survey: the two questions that need the whole scan, asked in one pass over it, before the first byte moves.

Which folder is this card's? With a defaulted label, a different media file at any planned path means that this
is another card of the same name: the whole card goes to ``<label>_2``. Names, sizes and mtimes decide; where
they leave a doubt, both files are hashed. And: how much of it is not there yet, for the space preflight.
"""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.catalog.holdings import managed_at
from ingest.errors import from_os_error
from ingest.layouts.naming import card_folder, mirrored
from ingest.model.states import ItemState
from ingest.pipeline.plan import same_mtime
from ingest.storage.marker import names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ingest.db.engine import Database
    from ingest.engine import Identity, Root
    from ingest.model.item import Item


# How often a request to stop is looked for while a file is hashed, seconds.
HEARTBEAT: Final = 0.2


@dataclass(slots=True)
class Absent:
    """What of a source is not on a root yet.

    Attributes:
        shared: of its bytes, those that need no room of their own there.
    """

    files: int = 0
    size: int = 0
    shared: int = 0

    def add(self, other: Absent, *, shared: bool) -> None:
        """What of another source is not there, either; it may be shared with that source."""
        self.files += other.files
        self.size += other.size
        self.shared += other.size if shared else 0


@dataclass(frozen=True, slots=True)
class Survey:
    """Where a source goes, and what is missing there, per root."""

    folder: bytes
    absent: list[Absent]


@dataclass(frozen=True, slots=True)
class Look:
    """With what eyes a survey looks.

    Attributes:
        roots, keys: the destinations, and their keys in the database.
        heed: called often; raises when the user wants to stop.
        note: told the digests of items that had to be hashed, ``(item, blake3)``, so that none is read for it again.
        claim: takes a folder for the card, on every root; False where another card is being brought there just now.
    """

    roots: Sequence[Root]
    keys: Sequence[int | None]
    database: Database | None
    heed: Callable[[], None] = lambda: None
    note: Callable[[list[tuple[Item, bytes]]], None] = lambda _: None
    claim: Callable[[bytes], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class Card:
    """The items of a source.

    Attributes:
        pages: all of them, afresh at each call. weighed: how many have not ended, and their bytes, where somebody
            knows that without a look at each.
    """

    pages: Callable[[], Iterable[list[Item]]]
    weighed: Callable[[], tuple[int, int]] | None = None

    def weigh(self) -> tuple[int, int]:
        """How many items have not ended, and their bytes."""
        if self.weighed is not None:
            return self.weighed()
        sizes = [item.size for page in self.pages() for item in page if item.state is ItemState.DISCOVERED]
        return len(sizes), sum(sizes)


def survey(
    card: Card,
    source: Root,
    look: Look,
    label: bytes,
    *,
    chosen: bytes | None,
    explicit: bool,
) -> Survey:
    """Choose a source's folder and count what is absent.

    Args:
        card: its items. chosen: the folder if it was decided earlier.
        explicit: the label was given by the user, who then gets exactly that folder.

    Raises:
        IngestError: a root or the source cannot be asked.
    """
    if chosen is not None or explicit:
        folder = chosen if chosen is not None else label
        fit = _compare(card, source, look, folder, strict=False)
        assert fit is not None  # noqa: S101 - only a strict look refuses
        return Survey(folder, fit.absent)
    for folder, fit in _fitting(card, source, look, label):
        if not look.claim(folder):
            continue
        if not fit.alike:
            # Since it was looked at, another session may have filled it, and let go of it.
            again = _compare(card, source, look, folder, strict=True)
            if again is None:
                continue
            return Survey(folder, again.absent)
        return Survey(folder, fit.absent)
    raise AssertionError  # there is always one more number


def _fitting(card: Card, source: Root, look: Look, label: bytes) -> Iterator[tuple[bytes, _Fit]]:
    """The folders that may be the card's, the likeliest first, and free ones without end."""
    # This card's own folder first, whatever its number is here: it may have come with others to another archive.
    taken = _numbers(look.roots, label)
    first_free = next(number for number in count(1) if number not in taken)
    others: list[tuple[bytes, _Fit]] = []
    for number in sorted({*taken, first_free}):
        folder = card_folder(label, number)
        fit = _compare(card, source, look, folder, strict=True)
        if fit is not None and fit.alike:
            yield folder, fit
        elif fit is not None:
            others.append((folder, fit))
    yield from others
    for number in count(first_free + 1):
        if number not in taken:
            files, size = card.weigh()
            yield card_folder(label, number), _Fit([Absent(files, size) for _ in look.roots])


def _numbers(roots: Sequence[Root], label: bytes) -> set[int]:
    """The numbers of the folders that cards with this label have on any of the roots."""
    found = set()
    for root in roots:
        for name in names_in(root, b""):
            digits = name.removeprefix(label + b"_")
            if name == label:
                found.add(1)
            elif name != digits and digits.isdigit() and card_folder(label, int(digits)) == name:
                found.add(int(digits))
    return found


@dataclass(slots=True)
class _Fit:
    """A folder that may be the card's: what is absent there, and how many of its media files are there already."""

    absent: list[Absent]
    alike: int = 0


def _compare(card: Card, source: Root, look: Look, folder: bytes, *, strict: bool) -> _Fit | None:
    """How a card fits a folder; None if another card lives there (only when strict)."""
    fit = _Fit([Absent() for _ in look.roots])
    present = [_lstat(root, [folder])[0] is not None for root in look.roots]
    if not any(present):
        files, size = card.weigh()
        return _Fit([Absent(files, size) for _ in look.roots])
    for page in card.pages():
        items = [item for item in page if item.state is ItemState.DISCOVERED]
        read: dict[int, bytes | None] = {item.number: item.blake3 for item in items if item.blake3 is not None}
        for number, root in enumerate(look.roots):
            paths = [mirrored(folder, item.path) for item in items]
            found = _lstat(root, paths) if present[number] else [None] * len(paths)
            doubtful = []
            for item, path, seen in zip(items, paths, found, strict=True):
                if seen is None or not _alike(item, seen):
                    fit.absent[number].files += 1
                    fit.absent[number].size += item.size
                if seen is None or not strict or not item.kind.media:
                    continue
                if not _alike(item, seen):
                    return None
                fit.alike += 1
                if not same_mtime(item.mtime_ns, seen[2]):
                    doubtful.append((item, path))
            equal = _equal(doubtful, source, root, look, look.keys[number], read)
            look.note([(item, digest) for item, _ in doubtful if (digest := read.get(item.number)) is not None])
            if not equal:
                return None
    return fit


def _alike(item: Item, seen: Identity) -> bool:
    return stat.S_ISREG(seen[0]) and seen[1] == item.size


def _equal(
    doubtful: list[tuple[Item, bytes]],
    source: Root,
    root: Root,
    look: Look,
    key: int | None,
    read: dict[int, bytes | None],
) -> bool:
    """Whether files of one size but another time hold the same bytes; `read` collects what the source holds.

    Unreadable ones do not speak against it: they will be reported when they are copied.
    """
    known: dict[bytes, bytes] = {}
    if look.database is not None and key is not None and doubtful:
        with look.database.read() as connection:
            found = managed_at(connection, key, [path for _, path in doubtful])
            known = {path: location.blake3 for path, location in found.items()}
    for item, path in doubtful:
        if item.number not in read:
            read[item.number] = _hash(source, item.path, look.heed, cold=False, seen=(item.size, item.mtime_ns))
        ours = read[item.number]
        theirs = known.get(path) or _hash(root, path, look.heed, cold=True)
        if ours is not None and theirs is not None and ours != theirs:
            return False
    return True


def _hash(
    root: Root, path: bytes, heed: Callable[[], None], *, cold: bool, seen: tuple[int, int] | None = None
) -> bytes | None:
    """The digest of a file, None if it cannot be read, or is not of the size and time it was seen with.

    In a thread, so that a request to stop is heeded meanwhile.
    """
    page = engine.Page()
    with ThreadPoolExecutor(1) as pool:
        proof = pool.submit(engine.prove, root, [path], cold=cold, page=page)
        while not wait([proof], HEARTBEAT).done:
            try:
                heed()
            except BaseException:
                page.cancel()
                raise
    ((digest, size, mtime, _, fault),) = proof.result()
    return digest if fault is None and seen in (None, (size, mtime)) else None


def _lstat(root: Root, paths: list[bytes]) -> list[Identity | None]:
    """As the root answers; a name that it cannot hold stands nowhere, any other trouble is raised."""
    answers: list[Identity | None] = []
    for seen in root.lstat(paths):
        if isinstance(seen, OSError):
            try:
                root.check()
            except OSError as error:
                raise from_os_error(error, "check", root.path, "Is the disk mounted?") from error
            answers.append(None)
        else:
            answers.append(seen)
    return answers
