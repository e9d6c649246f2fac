"""Reading files for their digests, by somebody who can be stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ingest import engine

if TYPE_CHECKING:
    from collections.abc import Sequence


def read(root: engine.Root, paths: Sequence[bytes], *, cold: bool, page: engine.Page) -> list[engine.Proof]:
    """As :func:`ingest.engine.prove`, in a thread: Ctrl-C ends it within one buffer, not at the end of a big file."""
    if not paths:
        return []
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
        try:
            return pool.submit(engine.prove, root, paths, cold=cold, page=page).result()
        except BaseException:
            page.cancel()
            raise
