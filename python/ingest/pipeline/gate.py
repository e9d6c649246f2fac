"""The gate: may a file of a source be erased? Nothing that deletes sources gets past it.

A file passes only if as many copies of its bytes as are required

- are told of by the latest row of their path, in a part of a manifest that was read back from that archive now and can
  be believed (`pipeline.archives`): rows of the journal alone count for nothing;
- were read back from the device when they were made (`evicted`, `direct`; `reread` where the user accepts that);
- are there now, as regular files, with the recorded size and time, the manifest's or the journal's;
- leave no doubt that the one is the other, or are read back now and compared by BLAKE3: what a session found there already
  (`duplicate`); what was proven of another archive that this one is a clone of, or on another file system than the archive
  is on now; what the journal knows to be other bytes, or damaged, by now; a time that is only as near as some file systems
  keep it (2 s, or off by whole quarter hours);
- are on archives of their own, and, unless the user allows it, on file systems of their own, none of them a source's;
- are files of their own: no hard links, nothing that lies in any of the sources that are asked about, no clones that
  this program made on a source's own disk (`pipeline.witness`);

and if the source is, opened right now, the file that was read, by device, inode, size and times as far as whoever asks
knows them. A group of files that belong together passes as a whole or not at all.

Promises: each file gets a verdict, in pages, whatever their number; what is not certain is read, and what stays doubtful
keeps the file. Not promised: that the copies that were proven when they were made still are what they were (`ingest verify`
reads them), nor that two file systems are two disks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ingest import engine
from ingest.errors import ABSENT, from_os_error, shown
from ingest.pipeline.plan import same_mtime
from ingest.pipeline.proof import Deletable, Held, Kept, Proof, pages, whole
from ingest.pipeline.reading import read
from ingest.pipeline.witness import one_volume, refusal
from ingest.storage.erase import sight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ingest.catalog.holdings import Location
    from ingest.manifest.evidence import Holding, Wanted
    from ingest.pipeline.archives import Archive
    from ingest.pipeline.proof import Terms, Verdict
    from ingest.pipeline.witness import Origin
    from ingest.storage.erase import Sighting

# More obstacles of one file are not told: all copies of it seldom have different ones.
_TOLD: Final = 3
_COLD: Final = frozenset({"evicted", "direct"})


@dataclass(slots=True)
class _Candidate:
    """A copy that may count: as a row tells it, and as it stands there."""

    holding: Holding
    stands: engine.Identity
    held: Held


@dataclass(slots=True)
class _Case:
    """One file while it is judged: what may count, what would have to be read first, and what does not count, and why."""

    wanted: Wanted
    sure: list[_Candidate] = field(default_factory=list)
    unread: list[_Candidate] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)


class Gate:
    """Judges files by what archives hold.

    Attributes:
        read_back: how many copies were read back for the verdicts so far, and how many bytes.
    """

    def __init__(
        self,
        archives: Sequence[Archive],
        origins: Sequence[Origin],
        terms: Terms,
        known: Callable[[int, list[bytes]], dict[bytes, Location]],
        page: engine.Page | None = None,
    ) -> None:
        """Over archives that are here.

        Args:
            known: of an archive (its index) and paths below it, what the journal last knew to be there, if anything: file
                systems round times, and it knows to what. It vouches for nothing else.
            page: told to stop, it ends the reading back.
        """
        self._archives = archives
        self._origins = origins
        self._terms = terms
        self._known = known
        self._page = page or engine.Page()
        self.read_back = (0, 0)

    def judge(self, asked: Iterable[tuple[Wanted, list[Holding]]], *, groups: bool) -> Iterator[list[Verdict]]:
        """The verdicts, in pages, in the order of the questions, which come by source and kin.

        Args:
            groups: a file stays if one that belongs to it stays.

        Raises:
            IngestError: an archive or a source went away.
        """
        for page in pages(asked):
            verdicts = self._judge(page)
            yield whole(page, verdicts) if groups else verdicts

    def _judge(self, page: Sequence[tuple[Wanted, list[Holding]]]) -> list[Verdict]:
        cases = [_Case(wanted) for wanted, _ in page]
        for index, archive in enumerate(self._archives):
            concerned = [
                (case, holding)
                for case, (_, holdings) in zip(cases, page, strict=True)
                for holding in holdings
                if holding.root == index
            ]
            if concerned:
                self._look(index, archive, concerned)
        self._read(cases)
        for origin in self._origins:
            _require(origin.root)
        return [self._verdict(case) for case in cases]

    def _look(self, index: int, archive: Archive, concerned: Sequence[tuple[_Case, Holding]]) -> None:
        """Sort the copies that an archive should have into those that count, those that may, and obstacles."""
        paths = [holding.path for _, holding in concerned]
        known = self._known(index, paths)
        _require(archive.root)
        for (case, holding), stands in zip(concerned, archive.root.lstat(paths), strict=True):
            where = shown(archive.root.path.rstrip(b"/") + b"/" + holding.path)
            if isinstance(stands, OSError) and stands.errno not in ABSENT:
                case.obstacles.append(f"{where} cannot be looked at ({stands.strerror})")
            elif stands is None or isinstance(stands, OSError):
                case.obstacles.append(f"{where} is not there any more")
            elif why := self._sort(case, archive, holding, stands, known.get(holding.path)):
                case.obstacles.append(f"{where} {why}")

    def _sort(
        self, case: _Case, archive: Archive, holding: Holding, stands: engine.Identity, known: Location | None
    ) -> str | None:
        """Let a copy count, or let it be read first; or say why it does not count, as far as that shows without reading."""
        wanted = case.wanted
        why = refusal(wanted, self._origins, archive, holding, stands, same_volume=self._terms.same_volume)
        if why is not None:
            return why
        same = known is not None and known.blake3 == wanted.blake3
        times = [holding.mtime_ns, known.mtime_ns] if known is not None and same else [holding.mtime_ns]
        if not any(same_mtime(time, stands[2]) for time in times):
            return "was changed after it was proven: its time is another one"
        sure = (
            not holding.duplicate
            # What was proven elsewhere was not proven of the file that is here.
            and not archive.carried
            and holding.home == archive.uuid
            # A session that ended before it had recorded what it did may have put something else there.
            and (known is None or same)
            # File systems that round times, or shift them, show others than were given; so does a file that was exchanged.
            and stands[2] in times
        )
        if sure and holding.verify_method not in _COLD and not self._terms.accept_reread:
            return "could only be read back from memory (reread)"
        held = Held(archive.uuid, holding.path, holding.verify_method or "")
        (case.sure if sure else case.unread).append(_Candidate(holding, stands, held))
        return None

    def _read(self, cases: Sequence[_Case]) -> None:
        """Read doubtful copies back from the device, those that are needed."""
        for index, archive in enumerate(self._archives):
            while needed := [(case, one) for case in cases if (one := self._next_unread(case, index)) is not None]:
                paths = list(dict.fromkeys(candidate.holding.path for _, candidate in needed))
                proofs = dict(zip(paths, read(archive.root, paths, cold=True, page=self._page), strict=True))
                files, size = self.read_back
                self.read_back = files + len(proofs), size + sum(proof[1] for proof in proofs.values())
                for case, candidate in needed:
                    case.unread.remove(candidate)
                    where = shown(archive.root.path.rstrip(b"/") + b"/" + candidate.holding.path)
                    why = self._reread(case, candidate, proofs[candidate.holding.path])
                    if why is not None:
                        case.obstacles.append(f"{where} {why}")

    def _next_unread(self, case: _Case, archive: int) -> _Candidate | None:
        """The next copy of an archive that would have to be read back for a file; None if none would help."""
        if len(self._chosen(case)) >= self._terms.copies or any(one.holding.root == archive for one in case.sure):
            return None
        return next((one for one in case.unread if one.holding.root == archive), None)

    def _reread(self, case: _Case, candidate: _Candidate, proof: engine.Proof) -> str | None:
        """Let a copy that was read back count, or say why it does not."""
        digest, _, _, method, fault = proof
        if fault is not None:
            failure = engine.failed(fault)
            if failure.kind == "cancelled":
                raise failure.error("check")
            return f"cannot be read back ({failure.detail})"
        if digest != case.wanted.blake3:
            return "holds other bytes than were recorded"
        if method not in _COLD and not self._terms.accept_reread:
            return "can only be read back from memory (reread)"
        held = replace(candidate.held, verify_method=method or "reread", read_now=True)
        case.sure.append(replace(candidate, held=held))
        return None

    def _chosen(self, case: _Case, obstacles: list[str] | None = None) -> list[_Candidate]:
        """Copies that count together: each an archive's only one, on a volume of its own, a file of its own."""
        chosen: list[_Candidate] = []
        # Clones last: they may share blocks with whatever else is on their file system.
        for candidate in sorted(case.sure, key=lambda one: one.holding.strategy == "reflink"):
            why = next((why for one in chosen if (why := self._not_both(one, candidate))), None)
            if why is None:
                chosen.append(candidate)
            elif obstacles is not None:
                obstacles.append(why)
        return chosen

    def _not_both(self, one: _Candidate, other: _Candidate) -> str | None:
        first, second = (self._archives[each.holding.root] for each in (one, other))
        if first.uuid == second.uuid:
            if first is second:
                return f"{shown(first.root.path)} has it more than once, which counts once"
            return f"{shown(second.root.path)} is a clone of {shown(first.root.path)}"
        if one_volume(first, second):
            if not self._terms.same_volume:
                return f"{shown(second.root.path)} is on the same volume as {shown(first.root.path)}"
            if one.stands[3:5] == other.stands[3:5]:
                return f"{shown(second.root.path)} has the same file under another name"
            if other.holding.strategy == "reflink":
                return f"{shown(second.root.path)} has a clone, which may share its blocks with another copy"
        return None

    def _verdict(self, case: _Case) -> Verdict:
        wanted = case.wanted
        if wanted.reason is not None:
            return self._kept(case, 0, wanted.reason, wanted.advice or "Look at the file, then check again")
        obstacles = list(case.obstacles)
        chosen = self._chosen(case, obstacles)
        if wanted.blake3 is None:
            return self._kept(case, 0, "no session recorded it with this size and time",
                              "Check without --fast, or bring it home: ingest copy")  # fmt: skip
        if len(chosen) < self._terms.copies:
            told = list(dict.fromkeys(each for each in obstacles if each))
            reason = (
                f"{len(chosen)} of {self._terms.copies} copies count" if told or chosen else "no archive here has it"
            )
            more = f" (and {len(told) - _TOLD} more)" if len(told) > _TOLD else ""
            return self._kept(case, len(chosen), "; ".join([reason, *told[:_TOLD]]) + more, _ADVICE_FEW)
        try:
            seen = sight(self._origins[wanted.source].root, wanted.path)
        except OSError as error:
            return self._kept(case, len(chosen), f"it cannot be opened now ({error.strerror})", _ADVICE_CHANGED)
        except ValueError as error:
            return self._kept(case, len(chosen), str(error), _ADVICE_CHANGED)
        if not _same(wanted, seen):
            return self._kept(case, len(chosen), "it is not as it was when it was read", _ADVICE_CHANGED)
        copies = tuple(candidate.held for candidate in chosen)
        return Deletable(wanted.source, wanted.number, wanted.path, Proof(seen, wanted.blake3, copies))

    @staticmethod
    def _kept(case: _Case, copies: int, reason: str, advice: str) -> Kept:
        return Kept(case.wanted.source, case.wanted.number, case.wanted.path, copies, reason, advice)


_ADVICE_FEW: Final = (
    "Keep it. Bring it home to another archive with ingest copy, or look after the copies with ingest verify"
)
_ADVICE_CHANGED: Final = "Keep it. Something changed it meanwhile: bring it home as it is now with ingest copy"


def _same(wanted: Wanted, seen: Sighting) -> bool:
    if (wanted.size, wanted.mtime_ns) != (seen.size, seen.mtime_ns):
        return False
    if wanted.ctime_ns and wanted.ctime_ns != seen.ctime_ns:
        return False
    return not (wanted.inode and seen.inode) or (wanted.device, wanted.inode) == (seen.device, seen.inode)


def _require(root: engine.Root) -> None:
    """A disk that went away must not be mistaken for files that did."""
    try:
        root.check()
    except OSError as error:
        raise from_os_error(error, "check", root.path, "Is the disk mounted? Mount it, and check again") from error
