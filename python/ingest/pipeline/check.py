"""Check: may a card be erased? Every file that is on it now is held against what archives hold.

Promises: nothing is written, neither to the card nor to an archive nor to the journal. Each file is covered or told,
with the reason; the card is read once (not at all with `fast`), and listed twice: nothing comes unnoticed. A card
without a file is not safe to erase: it may be one that is not mounted. What counts as a copy is for `pipeline.gate` to say.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.catalog.holdings import Location, known_at
from ingest.errors import ABSENT, CancelledError, from_os_error
from ingest.manifest.evidence import Evidence, Wanted
from ingest.manifest.sandbox import sandbox
from ingest.media.groups import kin
from ingest.model.states import ItemState
from ingest.model.times import BEYOND, IN_WORDS
from ingest.pipeline.gate import Gate
from ingest.pipeline.proof import Kept
from ingest.pipeline.reading import read
from ingest.pipeline.scan import Filter, scan_source
from ingest.pipeline.unseen import Listing, beneath_mounts
from ingest.pipeline.witness import origin_of
from ingest.session.advice import advice_of
from ingest.storage.erase import sight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ingest.db.engine import Database
    from ingest.engine import Root
    from ingest.model.item import Item
    from ingest.model.session import SourceFacts
    from ingest.pipeline.archives import Archive, Archives
    from ingest.pipeline.opening import Opened
    from ingest.pipeline.proof import Terms
    from ingest.pipeline.witness import Origin
    from ingest.storage.erase import Sighting

MEMORY: Final = "256MB"
# One call of the engine: as `pipeline.examination` has it.
_FILES: Final = 64
_BYTES: Final = 256 << 20
# Files that are asked for together.
_ASKED: Final = 1000
_LEFT_OUT: Final = frozenset({ItemState.EXCLUDED, ItemState.SKIPPED})


@dataclass(slots=True)
class Totals:
    """What a check came to; whole after the last verdict.

    Attributes:
        files: on the sources now, without what stays behind by rule. covered: those with as many copies as required.
        excluded, skipped: entries by rule (litter, --exclude); links and special files. left_out: both, by reason.
        unseen: places that may hold more than could be looked at (see `pipeline.unseen`).
        bytes: read from the sources. read_back: copies and bytes read from archives.
    """

    files: int = 0
    covered: int = 0
    bytes: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    excluded: int = 0
    skipped: int = 0
    unseen: int = 0
    read_back: tuple[int, int] = (0, 0)

    @property
    def safe(self) -> bool:
        """Every file is covered, there was one, and there is none that could not be seen."""
        return self.files > 0 and self.covered == self.files and not self.unseen


class Check:
    """The files that are not covered, one by one, and places that cannot be seen.

    `totals` is whole when they have been read to their end.
    """

    def __init__(
        self,
        sources: Sequence[Opened],
        archives: Archives,
        terms: Terms,
        chosen: Filter,
        database: Database | None,
        *,
        fast: bool,
        progress: Callable[[int, int], None] = lambda _files, _bytes: None,
    ) -> None:
        """Nothing is looked at yet.

        Args:
            chosen: what of the sources is asked about. database: the journal, for the times that copies were given.
            fast: believe what was recorded for a file's place, size and time, without reading it.
            progress: told files and bytes that were read so far.
        """
        self._sources = [(facts, root) for facts, root, _ in sources]
        self._origins = origins(sources)
        self.archives = archives
        self.terms = terms
        self._chosen = chosen
        self._database = database
        self._fast = fast
        self._progress = progress
        self._page = engine.Page()
        self._listing = Listing()
        self.totals = Totals()

    def origin(self, source: int) -> bytes:
        """The path of a source, absolute."""
        return self._sources[source][0].path

    def __iter__(self) -> Iterator[Kept]:
        """What mounts hide, then the verdicts on files that are not covered, in order of source and folder.

        Last come folders whose files are others by then.

        Raises:
            IngestError: a source or an archive cannot be read, or went away.
        """
        gate = Gate(
            self.archives.here, self._origins, self.terms, known_copies(self._database, self.archives.here), self._page
        )
        with sandbox(MEMORY) as connection:
            evidence = Evidence(connection, self.archives.manifests)
            for facts, root in self._sources:
                self._gather(evidence, facts, root)
            if self._fast:
                evidence.resolve()
            for source, origin in enumerate(self._origins):
                yield from self._unseen(beneath_mounts(source, origin, self._chosen))
            # A group would be erased as a whole, and so is a card: each file's own verdict says more here.
            for verdicts in gate.judge(evidence.answers(), groups=False):
                self.totals.read_back = gate.read_back
                for verdict in verdicts:
                    if isinstance(verdict, Kept):
                        yield verdict
                    else:
                        self.totals.covered += 1
        now = Listing()
        for facts, root in self._sources:
            self._list(now, facts, root)
        yield from self._unseen(self._listing.changed(now))

    def _unseen(self, places: Iterable[Kept]) -> Iterator[Kept]:
        for place in places:
            self.totals.unseen += 1
            yield place

    def _gather(self, evidence: Evidence, facts: SourceFacts, root: Root) -> None:
        """Ask for every file of a source."""
        asked: list[Wanted] = []
        try:
            for found in scan_source(root, facts, self.totals.files + 1, self._chosen):
                self._listing.note(_asked_about(found.items))
                for batch in batches(self._counted(found.items)):
                    asked += self._wanted(batch, facts, root)
                    if len(asked) >= _ASKED:
                        evidence.add(asked)
                        asked = []
        except OSError as error:
            raise from_os_error(error, "scan", facts.path) from error
        evidence.add(asked)

    def _list(self, now: Listing, facts: SourceFacts, root: Root) -> None:
        """Note what a source holds now."""
        try:
            for found in scan_source(root, facts, 1, self._chosen):
                now.note(_asked_about(found.items))
        except OSError as error:
            raise from_os_error(error, "scan", facts.path) from error

    def _counted(self, items: Sequence[Item]) -> Iterator[Item]:
        """The items that are asked about; the others are counted."""
        for item in items:
            if item.state in _LEFT_OUT:
                self.totals.left_out[item.reason or ""] += 1
                self.totals.excluded += item.state is ItemState.EXCLUDED
                self.totals.skipped += item.state is ItemState.SKIPPED
            else:
                self.totals.files += 1
                yield item

    def _wanted(self, batch: Sequence[Item], facts: SourceFacts, root: Root) -> list[Wanted]:
        """What is asked about these items: their content, if they can be read."""
        readable = [item for item in batch if item.state is ItemState.DISCOVERED]
        # Before they are read: what is written to one from now on shows in its ctime, which nobody can set back.
        seen = {item.number: _sighted(root, item.path) for item in readable}
        proofs: dict[int, engine.Proof] = {}
        if not self._fast:
            told = read(root, [item.path for item in readable], cold=False, page=self._page)
            proofs = dict(zip((item.number for item in readable), told, strict=True))
            self.totals.bytes += sum(proof[1] for proof in told)
        self._progress(self.totals.files, self.totals.bytes)
        return [_asked(item, facts, root, seen.get(item.number), proofs.get(item.number)) for item in batch]


def _asked(
    item: Item, facts: SourceFacts, root: Root, seen: Sighting | OSError | None, proof: engine.Proof | None
) -> Wanted:
    """One file as it is asked for; with a reason, if nothing can be said of it."""
    place = facts.path.rstrip(b"/") + b"/" + item.path
    wanted = Wanted(facts.number, kin(item.path), item.number, item.path, place, item.size, item.mtime_ns)

    def untold(reason: str, advice: str) -> Wanted:
        return replace(wanted, reason=reason, advice=advice)

    if item.state is not ItemState.DISCOVERED:
        why = IN_WORDS if item.reason == BEYOND else f"it cannot be read ({item.reason or item.state})"
        return untold(why, advice_of(item.state, item.reason, item.errno))
    if proof is not None and proof[4] is not None:
        failure = engine.failed(proof[4])
        if failure.kind == "cancelled":
            raise CancelledError("stopped while the card was read", path=root.path, operation="read",
                                 advice="Nothing was changed; check again at any time")  # fmt: skip
        state = ItemState.CHANGED if failure.kind == "changed" else ItemState.FAILED
        return untold(f"it cannot be read ({failure.detail})", advice_of(state, None, failure.errno))
    if isinstance(seen, OSError) and seen.errno not in ABSENT:
        return untold(f"it cannot be opened ({seen.strerror})", advice_of(ItemState.FAILED, None, seen.errno or 0))
    if seen is None or isinstance(seen, OSError):
        return untold("it went away while it was looked at", "Check again")
    stands = seen.size, seen.mtime_ns
    if (proof is not None and proof[1:3] != stands) or stands != (item.size, item.mtime_ns):
        return untold("it changed while it was looked at", "Check again when nobody writes to it")
    return replace(
        wanted, device=seen.device, inode=seen.inode, ctime_ns=seen.ctime_ns,
        blake3=proof[0] if proof is not None else None,
    )  # fmt: skip


def _sighted(root: Root, path: bytes) -> Sighting | OSError | None:
    """A file as it is now; None where something else has taken its place."""
    try:
        return sight(root, path)
    except OSError as error:
        return error
    except ValueError:
        return None


def _asked_about(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.state not in _LEFT_OUT]


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Items of a source that are read by one call of the engine."""
    batch: list[Item] = []
    size = 0
    for item in items:
        if batch and (len(batch) == _FILES or size + item.size > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


def origins(sources: Sequence[Opened]) -> list[Origin]:
    """What the gate has to know of sources.

    Raises:
        IngestError: one cannot be looked at.
    """
    found = []
    for facts, root, volume in sources:
        try:
            found.append(origin_of(root, volume, facts.single))
        except OSError as error:
            raise from_os_error(error, "open", facts.path) from error
    return found


def known_copies(
    database: Database | None, archives: Sequence[Archive]
) -> Callable[[int, list[bytes]], dict[bytes, Location]]:
    """What the journal knows to be on archives, by archive and path.

    Where it cannot be asked, that is an error: it may know of damage that no manifest tells of.
    """

    def known(index: int, paths: list[bytes]) -> dict[bytes, Location]:
        if database is None:
            return {}
        with database.read() as connection:
            return known_at(connection, archives[index].key, paths)

    return known
