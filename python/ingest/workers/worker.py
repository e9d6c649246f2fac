"""A worker process: it moves bytes when told to, and knows nothing else.

It ignores Ctrl-C (the supervisor decides), dies with its supervisor, never opens the database, and imports
nothing heavy. Two threads: one takes messages and gives names, so that a finished batch is published while the
next one is copied; the other copies and proves. Both live inside engine calls, without the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn

from ingest import engine
from ingest.workers.messages import (
    Adopt,
    Adopted,
    Discard,
    Folders,
    Gone,
    LastWords,
    Place,
    Prove,
    Publish,
    Reply,
    Request,
    Setup,
    Stage,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# How a worker ends that met a bug: EX_SOFTWARE of sysexits.h.
BUG = 70
# What reading says where a name stands for something that is no file: it is somebody else's.
_NO_FILE = (errno.ELOOP, errno.EINVAL, errno.EISDIR)


def main(pipe: Connection, words: Any, setup: Setup) -> None:
    """Serve one supervisor until it says stop (None) or goes away.

    Args:
        pipe: duplex, to the supervisor. words: the shared page.
    """
    # A batch keeps a descriptor per file and destination open; the usual soft limit of 1024 is for shells.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(
        ValueError, OSError
    ):  # a container may forbid it: batches then stay within the engine's own bound
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 16) if hard > 0 else soft, hard))
    # ctypes describes its arrays without strides; a cast view has them.
    Worker(pipe, engine.Page(memoryview(words).cast("B").cast("Q")), setup).serve()


class Worker:
    """The process's one object: pinned folders, the page, the pipe."""

    def __init__(self, pipe: Connection, page: engine.Page, setup: Setup) -> None:
        self._pipe = pipe
        self._page = page
        self._setup = setup
        self._sources: dict[int, engine.Root] = {}
        self._roots: dict[int, engine.Root] = {}
        self._opening = threading.Lock()
        self._sending = threading.Lock()
        self._copying: SimpleQueue[Request | None] = SimpleQueue()

    def serve(self) -> None:
        """Take requests until told to stop."""
        copier = threading.Thread(target=self._copy_loop, name="copier", daemon=True)
        copier.start()
        try:
            while (request := self._pipe.recv()) is not None:
                if isinstance(request, (Stage, Prove, Adopt)):
                    self._copying.put(request)
                else:
                    self._answer(request)
        except (EOFError, OSError):
            pass  # the supervisor is gone: nothing is left to be told
        except BaseException as error:  # noqa: BLE001 - as in the copier
            self._die(error)
        self._copying.put(None)
        copier.join()

    def _copy_loop(self) -> None:
        try:
            while (request := self._copying.get()) is not None:
                self._answer(request)
        except OSError:
            return  # as above: the pipe is gone with the supervisor
        except BaseException as error:  # noqa: BLE001 - a bug ends the process, so that the supervisor sees it
            self._die(error)

    def _die(self, error: BaseException) -> NoReturn:
        with contextlib.suppress(OSError), self._sending:
            self._pipe.send(LastWords(f"{type(error).__name__}: {error}"))
        os._exit(BUG)

    def _answer(self, request: Request) -> None:
        began = time.monotonic()
        try:
            fields = self._do(request)
        except OSError as error:
            fields = {"error": (error.errno or errno.EIO, str(error.strerror or error))}
            fields["gone"] = self._gone(request)
        reply = Reply(request.id, seconds=time.monotonic() - began, **fields)
        with self._sending:
            self._pipe.send(reply)

    def _do(self, request: Request) -> dict[str, Any]:
        page = self._page
        match request:
            case Stage():
                setup = self._setup
                staged = engine.stage(
                    self._source(request.source), [self._root(r) for r in request.roots], request.items, request.paths,
                    request.sizes, request.mtimes, request.staging, mode=request.mode, buffer=setup.buffer,
                    threads=setup.threads, disks=[setup.disks[r] for r in request.roots] if setup.disks else (),
                    together=not (request.single or setup.together.isdisjoint(request.roots)),
                    keep_cache=setup.keep_cache, hashes=setup.hashes, strategy=setup.strategy,
                    verify_source=setup.verify_source, page=page,
                    **self._partial(request),
                )  # fmt: skip
                faulty = staged[4] or any(faults for *_, faults in staged[5])
                return {"staged": staged, "gone": self._gone(request) if faulty else ()}
            case Publish():
                # The last look before a name is given: is this still the disk that was pinned?
                self._root(request.root).check()
                published = engine.publish(self._root(request.root), request.staging, request.paths, page=page)
                return {"published": published, "gone": self._gone(request) if published[1] else ()}
            case Prove():
                root = self._source(request.source) if request.source is not None else self._root(request.root or 0)
                proofs = engine.prove(
                    root, request.paths, cold=request.source is None, items=request.items, buffer=self._setup.buffer,
                    page=page,
                )  # fmt: skip
                clean = all(proof[4] is None for proof in proofs)
                return {"proofs": proofs, "gone": () if clean else self._gone(request)}
            case Adopt():
                root = self._root(request.root)
                root.check()
                return {"adopted": self._adopt(root, request), "gone": self._gone(request)}
            case Folders():
                self._root(request.root).check()
                faults = engine.make_folders(self._root(request.root), request.paths, request.mtimes)
                return {"faults": faults, "gone": () if not any(faults) else self._gone(request)}
            case Discard():
                return {"faults": engine.discard(self._root(request.root), request.paths)}

    def _partial(self, request: Stage) -> dict[str, Any]:
        """Where the trails of big files are, and by what their roots and source are known there."""
        setup = self._setup
        if setup.trails is None:
            return {}
        keys = [setup.keys[root] for root in request.roots]
        return {"trails": setup.trails, "keys": keys, "volume": setup.volumes[request.source]}

    def _adopt(self, root: engine.Root, request: Adopt) -> list[Adopted]:
        """What became of each file, as columns: the names that are there first, then the staging files of the rest."""
        answers: dict[int, Adopted] = {}
        named, missing = [], []
        for at, (found, _, _, method, fault) in enumerate(self._prove(root, request.items, request.paths)):
            if fault is None and found == request.digests[at]:
                named.append((at, method))
            elif fault is None:
                answers[at] = ("taken", None, None, None)
            elif fault[2] == errno.ENOENT:
                missing.append(at)
            else:
                taken = fault[0] == "io" and fault[2] in _NO_FILE
                answers[at] = ("taken" if taken else "failed", None, None, fault)
        settled = engine.settle(root, [request.paths[at] for at, _ in named]) if named else []
        for (at, method), unsettled in zip(named, settled, strict=True):
            answers[at] = ("failed", None, None, unsettled) if unsettled else ("adopted", method, None, None)
        answers |= self._adopt_staged(root, request, missing)
        return [answers[at] for at in range(len(request.items))]

    def _adopt_staged(self, root: engine.Root, request: Adopt, missing: list[int]) -> dict[int, Adopted]:
        """The same for those whose names are not there: what still holds the bytes gets its name now."""
        if not missing:
            return {}
        answers: dict[int, Adopted] = {}
        proven = []
        proofs = self._prove(root, [request.items[at] for at in missing], [request.staging[at] for at in missing])
        for at, (found, _, _, method, fault) in zip(missing, proofs, strict=True):
            if fault is not None and fault[0] == "cancelled":
                # Nobody has looked: what a later run may still find is not given up.
                answers[at] = ("failed", None, None, fault)
            elif fault is not None or found != request.digests[at]:
                answers[at] = ("lost", None, None, fault)
            else:
                proven.append((at, method))
        if proven:
            staging, paths = [request.staging[at] for at, _ in proven], [request.paths[at] for at, _ in proven]
            methods, faults = engine.publish(root, staging, paths, page=self._page)
            for place, ((at, method), publish_method) in enumerate(zip(proven, methods, strict=True)):
                if fault := faults.get(place):
                    answers[at] = ("taken" if fault[2] == errno.EEXIST else "failed", None, None, fault)
                else:
                    answers[at] = ("published", method, publish_method, None)
        return answers

    def _prove(self, root: engine.Root, items: list[int], paths: list[bytes]) -> list[engine.Proof]:
        return engine.prove(root, paths, cold=True, items=items, buffer=self._setup.buffer, page=self._page)

    def _gone(self, request: Request) -> tuple[Gone, ...]:
        """Which of the folders that a request needs no longer are where they were."""
        gone = []
        source = getattr(request, "source", None)
        roots = request.roots if isinstance(request, Stage) else (getattr(request, "root", None),)
        if source is not None:
            gone += self._look(source, None)
        for root in roots:
            if root is not None:
                gone += self._look(None, root)
        return tuple(gone)

    def _look(self, source: int | None, root: int | None) -> list[Gone]:
        try:
            (self._source(source) if source is not None else self._root(root or 0)).check()
        except OSError as error:
            return [Gone(source, root, error.errno or errno.EIO, str(error.strerror or error))]
        return []

    def _source(self, number: int) -> engine.Root:
        return self._open(self._sources, number, self._setup.sources[number], cross=True)

    def _root(self, number: int) -> engine.Root:
        return self._open(self._roots, number, self._setup.roots[number], cross=False)

    def _open(self, opened: dict[int, engine.Root], number: int, place: Place, *, cross: bool) -> engine.Root:
        with self._opening:
            if number not in opened:
                root = engine.Root(place.path, cross=cross, served=place.served)
                if (root.dev, root.ino) != (place.device, place.inode):
                    raise OSError(errno.ESTALE, "another folder has taken its place", place.path)
                opened[number] = root
            return opened[number]
