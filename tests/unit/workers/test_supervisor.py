"""Requests are shared out among workers, and answered; faults and refusals are told, and where they come from."""

from __future__ import annotations

import os
from dataclasses import replace

from ingest import engine
from ingest.workers.messages import Discard, Folders, Prove, Publish
from ingest.workers.supervisor import DEPTH, Answer

BIG = 256 << 20


# Asking and hearing back


def test_files_are_staged_named_proven_and_found_again(floor):
    f = floor(roots=2)
    f.card.put(b"DCIM/a.mp4", b"aaa")
    f.card.put(b"b.mp4", b"")

    stage = f.stage(1, b"DCIM/a.mp4", b"b.mp4", roots=(0, 1))
    staged = f.ask(stage).staged
    digests, _, _, _, source_faults, copies, *_ = staged
    assert digests == engine.blake3(b"aaa") + engine.blake3(b"")
    assert source_faults == {}
    assert [faults for *_, faults in copies] == [{}, {}]

    for root in (0, 1):
        reply = f.ask(f.publish(2 + root, stage, root))
        methods, faults = reply.published
        assert set(methods) <= {"noreplace", "link"}
        assert (len(methods), faults) == (2, {})
        assert f.archives[root].get(b"CARD/DCIM/a.mp4") == b"aaa"

    proofs = f.ask(Prove(4, None, 0, [1, 2], [b"CARD/DCIM/a.mp4", b"CARD/b.mp4"])).proofs
    assert [proof[0] for proof in proofs] == [engine.blake3(b"aaa"), engine.blake3(b"")]
    (source,) = f.ask(Prove(5, 0, None, [1], [b"DCIM/a.mp4"])).proofs
    assert (source[0], source[3]) == (engine.blake3(b"aaa"), None)


def test_folders_are_made_and_get_their_times(floor):
    f = floor()

    reply = f.ask(Folders(1, 0, [b"CARD/a/b", b"CARD/a"], [1_000_000_000, 2_000_000_000]))

    assert reply.faults == [None, None]
    assert os.stat(f.archives[0].path / "CARD/a/b").st_mtime_ns == 1_000_000_000
    assert os.stat(f.archives[0].path / "CARD/a").st_mtime_ns == 2_000_000_000


def test_staging_files_are_discarded(floor):
    f = floor()
    f.archives[0].put(b".ingest/staging/x/1.part", b"x")

    assert f.ask(Discard(1, 0, [b".ingest/staging/x/1.part", b".ingest/staging/x/none"])).faults == [None, None]
    assert f.archives[0].get(b".ingest/staging/x/1.part") is None


def test_replies_tell_how_long_it_took_and_who_did_it(floor):
    f = floor()
    f.ask(f.discard(1))

    (answer,) = f.events
    assert isinstance(answer, Answer)
    assert answer.worker == 0
    assert answer.reply.seconds > 0


def test_requests_are_shared_out(floor, sparse):
    f = floor(2)
    for number in range(1, 5):
        sparse(f.card, b"%d" % number, 64 << 20)
    stages = [
        replace(f.stage(number, b"%d" % number), staging=[[b".ingest/staging/x/%d" % number]]) for number in range(1, 5)
    ]
    for stage in stages:
        f.supervisor.submit(stage)
    assert not f.supervisor.hungry
    f.until(lambda: len(f.events) == 4)

    assert {event.worker for event in f.events} == {0, 1}
    assert f.supervisor.hungry
    assert f.supervisor.idle
    assert f.supervisor.pending == 0


def test_a_worker_is_hungry_until_one_request_waits_behind_another(floor):
    f = floor()
    f.card.put(b"a", b"a")
    assert (f.supervisor.hungry, f.supervisor.idle, f.supervisor.count) == (True, True, 1)

    for number in range(DEPTH):
        assert f.supervisor.hungry
        f.supervisor.submit(replace(f.stage(number, b"a"), staging=[[b".ingest/staging/x/%d" % number]]))
    assert not f.supervisor.hungry
    f.until(lambda: len(f.events) == DEPTH)


def test_names_are_given_while_a_large_file_is_copied(floor, sparse):
    f = floor()
    f.card.put(b"small", b"x")
    sparse(f.card, b"large", 2 * BIG)
    small = f.stage(1, b"small")
    f.ask(small)
    large = replace(f.stage(2, b"large"), staging=[[b".ingest/staging/x/large"]])
    f.supervisor.submit(large)
    f.ask(f.publish(3, small))

    assert [e.request.id for e in f.events if isinstance(e, Answer)] == [1, 3]
    assert f.archives[0].get(b"CARD/small") == b"x"
    f.supervisor.cancel()


def test_bytes_are_counted_as_they_move(floor):
    f = floor(2)
    f.card.put(b"a", b"x" * 100_000)
    f.ask(f.stage(1, b"a"))

    assert f.supervisor.counters() == (100_000, 100_000, 100_000)
    assert f.supervisor.current() == []


# Faults and refusals


def test_a_fault_of_one_file_hides_no_other(floor):
    f = floor()
    f.card.put(b"good", b"x")
    f.card.put(b"gone", b"x")
    stage = f.stage(1, b"gone", b"good")
    os.unlink(f.card.path / "gone")

    *_, source_faults, copies = f.ask(stage).staged[:6]

    assert {at: (fault[0], fault[2]) for at, fault in source_faults.items()} == {0: ("io", 2)}
    assert [method is None for method in copies[0][0]] == [True, False]


def test_a_source_that_is_gone_is_told_with_its_faults(floor):
    f = floor()
    f.card.put(b"a", b"x")
    stage = f.stage(1, b"a")
    f.ask(stage)
    f.card.path.rename(f.card.path.with_name("pulled"))
    os.unlink(f.card.path.with_name("pulled") / "a")

    reply = f.ask(replace(stage, id=2))

    assert [(g.source, g.root) for g in reply.gone] == [(0, None)]


def test_a_root_that_is_another_one_refuses_everything(floor):
    f = floor()
    f.archives[0].path.rename(f.archives[0].path.with_name("moved"))
    f.archives[0].path.mkdir()

    for number, request in enumerate(
        [f.discard(1), Publish(2, 0, [1], [b"x"], [b"y"]), Folders(3, 0, [b"a"], [-1])], 1
    ):
        reply = f.ask(replace(request, id=number))
        assert reply.error is not None
        assert [(g.source, g.root) for g in reply.gone] == [(None, 0)]
    assert list(f.archives[0].path.iterdir()) == []


def test_a_name_is_never_given_on_a_disk_that_took_the_root_s_place(floor):
    f = floor()
    f.card.put(b"a", b"x")
    stage = f.stage(1, b"a")
    f.ask(stage)
    moved = f.archives[0].path.with_name("moved")
    f.archives[0].path.rename(moved)
    f.archives[0].path.mkdir()

    reply = f.ask(f.publish(2, stage))

    assert reply.error is not None
    assert not (moved / "CARD").exists()
    assert list(f.archives[0].path.iterdir()) == []
