"""What a test on the host has done in its guest, with the suite's own code: `python errand.py WHAT FILE`.

FILE holds the arguments, as JSON; the last line on stdout is what came of it. The guest is killed afterwards: nothing
is cleaned up.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
import traceback
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faults.bench import Bench

sys.path[0] = str(Path(__file__).resolve().parents[1])  # as pytest has it, instead of this folder
LOOK = 0.005  # seconds between two looks at the journal


def bench(folder: str) -> Bench:
    """A bench whose journal lies in this folder."""
    from conftest import Ingest
    from faults.bench import Bench

    home = Path(folder, "home")
    home.mkdir(parents=True, exist_ok=True)
    return Bench(Path(folder), Ingest(home))


def lose(given: dict[str, Any]) -> dict[str, Any]:
    """Lose a share in the middle of a session, as test_network.py does."""
    from faults import shares
    from faults import test_network as network

    times: defaultdict[str, list[float]] = defaultdict(list)
    place = bench(given["folder"])
    case = network.Case(**given["case"])
    network.Loss.LOOK, network.Loss.PATIENCE = 0.02, 180.0  # a guest has one slow processor
    network.PAUSE, network.RETURN = 60.0, 30.0  # and its host others: how soon is for the tests of the host to say
    broken = None
    loss = network.Loss(case, shares.share, place, times)
    try:
        (network.wait_and_go_on if case.wait else network.pause_and_resume)(loss)
    except BaseException:  # noqa: BLE001 - it is told, whatever it was
        broken = traceback.format_exc()
    if loss.share.outage is not None:
        times["until the kernel found its server again"].append(loss.share.outage)
    told = Path(place.folder, "events").read_text().splitlines()[-8:] if broken else []
    return {"broken": broken, "told": told, "tally": place.tally, "times": times}


def work(given: dict[str, Any]) -> dict[str, Any]:
    """Run a command, and tell at once of each copy that the journal calls finalized."""
    place = bench(given["folder"])
    running = place.shell.start(*given["arguments"])
    query, seen = "SELECT count(*) FROM copies WHERE state = 'finalized'", 0
    while running.process.poll() is None:
        found = place.journal.live(query)
        if found and found[0][0] != seen:
            seen = found[0][0]
            print(json.dumps({"finalized": seen}), flush=True)
        time.sleep(LOOK)
    ended = running.end()
    return {"code": ended.code, "document": ended.document, "errors": ended.errors}


def check(given: dict[str, Any]) -> dict[str, Any]:
    """Compare what was acknowledged with what is there."""
    from faults.cards import Card

    place = bench(given["folder"])
    card = Card(Path(given["card"]), {path: set(digests) for path, digests in given["versions"].items()})
    broken = None
    try:
        place.check(card, *map(Path, given["roots"]), complete=given["complete"])
    except AssertionError as error:
        broken = str(error)
    finalized = place.journal.rows("SELECT count(*) FROM copies WHERE state = 'finalized'")
    return {"broken": broken, "tally": place.tally, "finalized": finalized[0][0] if finalized else 0}


# A kernel that flushes nothing, for whoever is started from here

FLUSHES = {"fsync": 74, "fdatasync": 75, "msync": 26, "sync_file_range": 277, "syncfs": 306, "sync": 162}  # on x86-64
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: a word of the call, a comparison, the verdict
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # the second with errno 0: the call is not made, and was successful
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2


def unflushed(command: list[str]) -> None:
    """Become a command for which every flush succeeds, and does nothing."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    numbers = list(FLUSHES.values())
    steps = [(_LOAD, 0, 0, 0)]  # the number of the call
    steps += [(_EQUAL, len(numbers) - nth, 0, number) for nth, number in enumerate(numbers)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO)]
    code = b"".join(
        operation.to_bytes(2, "little") + bytes((yes, no)) + value.to_bytes(4, "little")
        for operation, yes, no, value in steps
    )
    held = ctypes.create_string_buffer(code, len(code))
    program = Program(len(steps), ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_NO_NEW_PRIVS, 1, 0, 0, 0), (_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "prctl")
    os.execvp(command[0], command)


if __name__ == "__main__":
    if sys.argv[1] == "unflushed":
        unflushed(sys.argv[2:])
    errand = {"lose": lose, "work": work, "check": check}[sys.argv[1]]
    came = errand(json.loads(Path(sys.argv[2]).read_text()))
    print(json.dumps(came), flush=True)
    os._exit(0)  # whatever hangs in a share would be waited for
