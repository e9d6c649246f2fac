"""Survey: the two questions that need the whole scan, asked in one pass over it, before the first byte moves.

Which folder is this card's? With a defaulted label, a different media file at any planned path means that this
is another card of the same name: the whole card goes to ``<label>_2``. Names, sizes and mtimes decide; where
they leave a doubt, both files are hashed. And: how much of it is not there yet, for the space preflight, and how much
has to be read to know that it is, so that progress is told of all there is to do.
"""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.catalog.holdings import managed_at
from ingest.errors import from_os_error
from ingest.layouts.naming import card_folder, mirrored
from ingest.model.states import ItemState
from ingest.pipeline.plan import known_digest, same_mtime
from ingest.storage.marker import names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ingest.catalog.holdings import Location
    from ingest.db.engine import Database
    from ingest.engine import Identity, Root
    from ingest.model.item import Item


# How often a request to stop is looked for while a file is hashed, seconds.
HEARTBEAT: Final = 0.2


@dataclass(slots=True)
class Absent:
    """What of a source is not on a root yet, and what there may be it.

    Attributes:
        shared: of its bytes, those that need no room of their own there.
        twins: files of the right size stand there. compared: bytes that have to be read there to know what they are.
    """

    files: int = 0
    size: int = 0
    shared: int = 0
    twins: int = 0
    compared: int = 0

    def add(self, other: Absent, *, shared: bool) -> None:
        """What of another source is not there, either; it may be shared with that source."""
        self.files += other.files
        self.size += other.size
        self.shared += other.size if shared else 0
        self.twins += other.twins
        self.compared += other.compared


@dataclass(slots=True)
class Outlook:
    """What a run has before it.

    Attributes:
        absent: by the number of the root. asked: bytes of the sources that are read to be compared.
    """

    absent: dict[int, Absent]
    asked: int = 0

    @property
    def amount(self) -> tuple[int, int]:
        """How many copies are to be made or compared, and the bytes to be read for that."""
        every = self.absent.values()
        return (
            sum(one.files + one.twins for one in every),
            sum(one.size + one.compared for one in every) + self.asked,
        )


@dataclass(frozen=True, slots=True)
class Survey:
    """Where a source goes; what is missing there, per root; how many of its bytes are read to be compared."""

    folder: bytes
    absent: list[Absent]
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """With what eyes a survey looks.

    Attributes:
        roots, keys: the destinations, and their keys in the database.
        heed: called often; raises when the user wants to stop.
        note: told the digests of items that had to be hashed, ``(item, blake3)``, so that none is read for it again.
        claim: takes a folder for the card, on every root; False where another card is being brought there just now.
        show: told what is being hashed; its bytes are counted on the `page`.
        anew: what stands there is no reason not to copy (`--duplicates copy`).
        past: how the copies of items stand after earlier runs, by item and the root's place here; None if there are none.
    """

    roots: Sequence[Root]
    keys: Sequence[int | None]
    database: Database | None
    heed: Callable[[], None] = lambda: None
    note: Callable[[list[tuple[Item, bytes]]], None] = lambda _: None
    claim: Callable[[bytes], bool] = lambda _: True
    show: Callable[[bytes], None] = lambda _: None
    page: engine.Page = field(default_factory=engine.Page)
    anew: bool = False
    past: Callable[[list[Item]], Mapping[tuple[int, int], ItemState]] | None = None


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
        return Survey(folder, fit.absent, fit.asked)
    for folder, fit in _fitting(card, source, look, label):
        if not look.claim(folder):
            continue
        if not fit.alike:
            # Since it was looked at, another session may have filled it, and let go of it.
            again = _compare(card, source, look, folder, strict=True)
            if again is None:
                continue
            return Survey(folder, again.absent, again.asked)
        return Survey(folder, fit.absent, fit.asked)
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
    """A folder that may be the card's: what is absent there.

    Attributes:
        alike: media files that are there already. asked: bytes of the card that are read to be compared.
    """

    absent: list[Absent]
    alike: int = 0
    asked: int = 0


def _compare(card: Card, source: Root, look: Look, folder: bytes, *, strict: bool) -> _Fit | None:
    """How a card fits a folder; None if another card lives there (only when strict)."""
    fit = _Fit([Absent() for _ in look.roots])
    present = [_lstat(root, [folder])[0] is not None for root in look.roots]
    if not any(present) and look.past is None:
        files, size = card.weigh()
        return _Fit([Absent(files, size) for _ in look.roots])
    for page in card.pages():
        items = [item for item in page if item.state is ItemState.DISCOVERED]
        if not items:
            continue
        past = look.past(items) if look.past is not None else {}
        read: dict[int, bytes | None] = {item.number: item.blake3 for item in items if item.blake3 is not None}
        asked: set[int] = set()
        paths = [mirrored(folder, item.path) for item in items]
        for number, root in enumerate(look.roots):
            found = _lstat(root, paths) if present[number] else [None] * len(paths)
            known = _known(look, number, [p for p, f in zip(paths, found, strict=True) if f is not None])
            doubtful = []
            for item, path, seen in zip(items, paths, found, strict=True):
                before = past.get((item.number, number))
                asked |= _expect(fit.absent[number], item, seen, known.get(path), before, look, root.magic)
                if seen is None or not strict or not item.kind.media:
                    continue
                if not _alike(item, seen):
                    return None
                fit.alike += 1
                if not same_mtime(item.mtime_ns, seen[2]):
                    doubtful.append((item, path))
            equal = _equal(doubtful, source, root, look, known, read)
            look.note([(item, digest) for item, _ in doubtful if (digest := read.get(item.number)) is not None])
            if not equal:
                return None
        fit.asked += sum(item.size for item in items if item.number in asked and item.number not in read)
    return fit


def _expect(
    absent: Absent,
    item: Item,
    seen: Identity | None,
    known: Location | None,
    past: ItemState | None,
    look: Look,
    magic: int,
) -> set[int]:
    """Add to what is to be done at a root what an item needs there; the item, if it will be compared."""
    if past is ItemState.VALIDATED:
        # It waits for its name, or has it: whichever it is, is read once more.
        absent.twins += 1
        absent.compared += item.size
        return set()
    if past is not None and past.ended:
        return set()
    digest = known_digest(known, seen, magic) if seen is not None else None
    other = None not in (digest, item.blake3) and digest != item.blake3
    if seen is None or not _alike(item, seen) or other or look.anew:
        absent.files += 1
        absent.size += item.size
        return set()
    absent.twins += 1
    absent.compared += item.size if digest is None else 0
    return {item.number}


def _alike(item: Item, seen: Identity) -> bool:
    return stat.S_ISREG(seen[0]) and seen[1] == item.size


def _known(look: Look, root: int, paths: list[bytes]) -> dict[bytes, Location]:
    """What a root is known to hold at these paths."""
    key = look.keys[root]
    if look.database is None or key is None or not paths:
        return {}
    with look.database.read() as connection:
        return managed_at(connection, key, paths)


def _equal(
    doubtful: list[tuple[Item, bytes]],
    source: Root,
    root: Root,
    look: Look,
    known: Mapping[bytes, Location],
    read: dict[int, bytes | None],
) -> bool:
    """Whether files of one size but another time hold the same bytes; `read` collects what the source holds.

    Unreadable ones do not speak against it: they will be reported when they are copied.
    """
    for item, path in doubtful:
        if item.number not in read:
            read[item.number] = _hash(source, item.path, look, cold=False, seen=(item.size, item.mtime_ns))
        ours = read[item.number]
        theirs = known[path].blake3 if path in known else _hash(root, path, look, cold=True)
        if ours is not None and theirs is not None and ours != theirs:
            return False
    return True


def _hash(root: Root, path: bytes, look: Look, *, cold: bool, seen: tuple[int, int] | None = None) -> bytes | None:
    """The digest of a file, None if it cannot be read, or is not of the size and time it was seen with.

    In a thread, so that a request to stop is heeded meanwhile.
    """
    look.show(path)
    with ThreadPoolExecutor(1) as pool:
        proof = pool.submit(engine.prove, root, [path], cold=cold, page=look.page)
        while not wait([proof], HEARTBEAT).done:
            try:
                look.heed()
            except BaseException:
                look.page.cancel()
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
