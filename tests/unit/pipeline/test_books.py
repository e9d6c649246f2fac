"""Whatever happens, in whatever order: the books close, and a later run brings everything to its end."""

from __future__ import annotations

import errno
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.model.states import ItemState
from ingest.workers.messages import Adopt, Discard, Prove, Publish, Stage

ROOT_FAULTS = [
    ("mismatch", 0, "verify"), ("io", errno.EIO, "syncfs"), ("io", errno.EIO, "write"), ("io", errno.EACCES, "open"),
    ("io", errno.ENAMETOOLONG, "open"), ("io", errno.ESTALE, "write"), ("changed", 0, "read"),
]  # fmt: skip
DISK_FAULTS = [("io", errno.ENOSPC, "write"), ("io", errno.EROFS, "open")]
SOURCE_FAULTS = [
    ("io", errno.EIO, "read"), ("io", errno.ENOENT, "open"), ("changed", 0, "read"), ("unstable", 0, "read"),
    ("io", errno.EACCES, "open"), ("io", errno.EIO, "syncfs"),
]  # fmt: skip
PUBLISH_FAULTS = [("io", errno.EEXIST, "rename"), ("io", errno.EIO, "rename"), ("io", errno.EIO, "fsync_folder")]
# Beyond so many events of every kind everything goes well: no item may be kept from its end by bad luck alone.
LUCK = 60


class Chance:
    """Answers what workers are asked, as chance has it."""

    def __init__(self, desk, draw, wrong, away, *, calm: bool) -> None:
        self.desk, self.draw, self.wrong, self.away = desk, draw, wrong, away
        self.left = LUCK
        self.calm = calm  # nothing that takes a whole root or source out of the run

    def often(self) -> bool:
        return self.left > 0 and self.draw(st.integers(0, 3)) == 0

    def one_of(self, faults):
        kind, number, operation = self.draw(st.sampled_from(faults))
        return self.wrong(kind, number, operation)

    def lost(self, request):
        """Whether something the request needs is gone, and what."""
        if self.calm or self.left <= 0 or self.draw(st.integers(0, 15)):
            return ()
        roots = getattr(request, "roots", None) or [r for r in [getattr(request, "root", None)] if r is not None]
        source = getattr(request, "source", None)
        if source is not None and (not roots or self.draw(st.booleans())):
            return self.away(source=source)
        return self.away(root=self.draw(st.sampled_from(list(roots))))

    def go(self) -> None:
        desk, crew = self.desk, self.desk.crew
        for _ in range(3000):
            if not crew.pending:
                if not desk.board.busy:
                    return
                # What doubt there was is over by the time that something is taken up.
                self.left -= 1
                desk.guard.doubt = {0} if self.often() else set()
                desk.later()
                continue
            self.left -= 1
            if not self.calm and self.left > 0 and not self.draw(st.integers(0, 30)):
                desk.board.stopping = True
            request = self.draw(st.sampled_from(crew.pending)) if self.left > 0 else crew.pending[0]
            if self.often() and self.draw(st.booleans()):
                self.kill(request)
            elif self.often() and self.draw(st.booleans()) and not isinstance(request, Discard):
                gone = self.lost(request)
                desk.answer(request, error=(errno.EIO, "refused"), gone=gone)
            else:
                self.answer(request)
        raise AssertionError("it never ends")

    def kill(self, request) -> None:
        others = [r for r in self.desk.crew.pending if r is not request]
        hands = [request, *(self.draw(st.lists(st.sampled_from(others), max_size=2, unique_by=id)) if others else [])]
        items = [item for r in hands for item in getattr(r, "items", [])]
        item = self.draw(st.sampled_from([None, *items]))
        # Who stands still over names takes the root out of the run, as a disk does that leaves.
        leaves = isinstance(request, (Publish, Discard))
        stalled = self.draw(st.booleans()) and not (self.calm and leaves)
        self.desk.die(*hands, item=item, exit_code=self.draw(st.sampled_from([-9, -7, 70])), stalled=stalled)

    def faults(self, request, faults):
        stop = [("cancelled", 0, "read")] if self.desk.board.stopping else []
        return {item: self.one_of([*faults, *stop]) for item in request.items if self.often()}

    def answer(self, request) -> None:
        desk = self.desk
        disks = [] if self.calm else DISK_FAULTS
        match request:
            case Stage():
                source = self.faults(request, SOURCE_FAULTS)
                copies = {
                    (item, root): self.one_of([*ROOT_FAULTS, *disks])
                    for item in request.items
                    for root in request.roots
                    if self.often()
                }
                desk.staged(request, source=source, copies=copies, gone=self.lost(request) if source or copies else ())
            case Publish():
                faults = self.faults(request, PUBLISH_FAULTS)
                desk.published(request, faults=faults, gone=self.lost(request) if faults else ())
            case Prove():
                faults = self.faults(request, SOURCE_FAULTS if request.root is None else ROOT_FAULTS[1:5])
                other = {item: b"\xee" * 32 for item in request.items if request.root is not None and self.often()}
                desk.proved(request, other, faults=faults, gone=self.lost(request) if faults else ())
            case Adopt():
                outcome = (
                    self.draw(st.sampled_from(["adopted", "published", "taken", "lost", "failed"]))
                    if self.often()
                    else "adopted"
                )
                fault = (
                    self.one_of([*ROOT_FAULTS[1:5], ("io", errno.EIO, "fsync_folder")]) if outcome == "failed" else None
                )
                desk.adopted(request, outcome, fault, gone=self.lost(request) if fault else ())
            case Discard():
                desk.answer(request, faults=[None for _ in request.paths])


def begin(desk, item, draw, roots: int, sources: int):
    d = desk(roots=roots, sources=sources)
    count = draw(st.integers(1, 6))
    found = [
        item(n, source=draw(st.integers(0, sources - 1)), size=draw(st.sampled_from([3, 10, 1 << 30])))
        for n in range(1, count + 1)
    ]
    if draw(st.booleans()):
        found.append(item(count + 1, state=ItemState.EXCLUDED, reason="litter"))
    for root in range(roots):
        for each in found:
            standing = d.session.roots[root].path / "CARD" / each.path.decode()
            standing.unlink(missing_ok=True)
            if each.size < 100 and draw(st.integers(0, 3)) == 0:
                d.session.roots[root].put(b"CARD/" + each.path, b"0" * each.size)
    d.start(*found)
    return d


fuzz = settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


@given(data=st.data(), roots=st.integers(1, 2), sources=st.integers(1, 2))
@fuzz
def test_the_books_close_whatever_befalls_single_files(desk, item, wrong, away, data, roots, sources):
    d = begin(desk, item, data.draw, roots, sources)

    Chance(d, data.draw, wrong, away, calm=True).go()

    d.close_books()
    counted = d.session.journal.count_items()
    assert not counted.get(ItemState.DISCOVERED)
    assert sum(number for number, _ in counted.values()) == len(d.session.items())


@given(data=st.data(), roots=st.integers(1, 2), sources=st.integers(1, 2))
@fuzz
def test_the_books_close_whatever_befalls_disks_cards_and_users(desk, again, item, wrong, away, data, roots, sources):
    d = begin(desk, item, data.draw, roots, sources)

    Chance(d, data.draw, wrong, away, calm=False).go()
    d.close_books()
    ended = {number: found.state for number, found in d.session.items().items() if found.state.ended}
    arrived = {key for key, copy in d.session.copies().items() if copy.state.arrived}

    later = again(d)
    later.take_in()
    later.run()

    later.close_books()
    items = later.session.items()
    assert all(found.state.ended for found in items.values())
    assert all(items[number].state is state for number, state in ended.items())
    for number, root in arrived:
        assert later.session.copies()[number, root].state.arrived
    told = Counter((root, record.item) for root, _, record in [*d.records, *later.records])
    assert set(told.values()) <= {1}
    assert len(told) == len(items) * roots
