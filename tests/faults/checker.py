"""The checker: compares what was acknowledged, and what is there, with what the card held.

It is the point of all fault tests. Whatever was done to a session, what it acknowledged (in the journal, in a manifest)
must be there byte for byte, and what is there under a final name must be something the card held. A check that found no
acknowledgement proves nothing, and is a failure.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from faults.cards import digest
from faults.journal import Journal

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

    from faults.cards import Card

ARRIVED = ("finalized", "duplicate")


class BrokenPromiseError(AssertionError):
    """A promise was broken."""


def names(root: Path) -> Iterator[str]:
    """Every file below a root but the product's own, relative."""
    for folder, folders, files in os.walk(root):
        if folder == str(root):
            folders[:] = [name for name in folders if name != ".ingest"]
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in files)


def manifest_rows(root: Path) -> list[dict[str, Any]]:
    """Every row of every part, read by pyarrow alone."""
    import pyarrow.parquet as pq

    columns = ["source_path", "path", "blake3_hex", "size", "state", "attempts"]
    parts = sorted(root.glob(".ingest/manifests/session=*/items-*.parquet"))
    return [row for part in parts for row in pq.ParquetFile(part).read(columns=columns).to_pylist()]


class Checker:
    """Compares what was acknowledged and what is there with what the card held."""

    def __init__(self, home: Path, tally: Counter[str]) -> None:
        self._home = home
        self._tally = tally

    def __call__(
        self, card: Card, *roots: Path, label: str | None = None, missing: frozenset[str] | set[str] = frozenset(),
        complete: bool = True, abandoned: bool = False, home: Path | None = None, truth: dict[Path, Path] | None = None,
        beside: frozenset[str] | set[str] = frozenset(), books: bool = True,
    ) -> int:  # fmt: skip
        """Check a card's copies below roots; how many acknowledgements were checked.

        Args:
            missing: paths on the card that rightly did not arrive. complete: the session is over: everything else
                must have arrived, be in a manifest, and no staging file may be left. abandoned: but for those of a
                session whose journal is lost, which nobody can tell from one that still runs elsewhere.
            truth: where a root's bytes lie: the folder that a server holds, which no cache stands before.
            beside: folders of a root that are another card's.
            books: the journal's word counts; else its disk damaged it, and manifests are all there is.
        """
        label = label or card.folder.name
        journal = Journal(home or self._home)
        session = journal.session(card) if books else None
        copies = journal.copies(session["key"]) if session else {}
        checked = 0
        for root in roots:
            held = (truth or {}).get(root, root)
            seen = self._look(card, held, label, beside)
            wanted = {f"{label}/{path}" for path in card.versions if path not in missing}
            told = {
                os.fsdecode(row["path"]): row["blake3"].hex()
                for row in copies.values() if row["state"] in ARRIVED and os.fsdecode(row["root_path"]) == str(root)
            }  # fmt: skip
            inside = f"{card.folder}/"
            listed = {
                row["path"]: row["blake3_hex"]
                for row in manifest_rows(held) if row["state"] in ARRIVED and row["source_path"].startswith(inside)
            }  # fmt: skip
            for source, acknowledged in (*([("journal", told)] if books else []), ("manifest", listed)):
                for path, blake in acknowledged.items():
                    checked += 1
                    if seen.get(path) != blake:
                        raise BrokenPromiseError(
                            f"{source}: {path} was acknowledged, and is {seen.get(path, 'not there')}"
                        )
                if complete and wanted - set(acknowledged):
                    raise BrokenPromiseError(f"{source}: not acknowledged: {sorted(wanted - set(acknowledged))[:5]}")
            if complete:
                if gone := wanted - set(seen):
                    raise BrokenPromiseError(f"lost: {sorted(gone)[:5]}")
                if not abandoned and (left := sorted((held / ".ingest/staging").rglob("*"))):
                    raise BrokenPromiseError(f"staging was not cleared: {left[:5]}")
        if complete and not checked:
            raise BrokenPromiseError("nothing was acknowledged: this proves nothing")
        self._tally["acknowledgements checked"] += checked
        return checked

    def _look(self, card: Card, root: Path, label: str, beside: frozenset[str] | set[str]) -> dict[str, str]:
        """What stands below a root, by name: only what the card held, whole, under its own name."""
        seen = {}
        for name in names(root):
            top, _, path = name.partition("/")
            if top in beside:
                continue
            if top != label or path not in card.versions:
                raise BrokenPromiseError(f"a name that nothing on the card explains: {name}")
            seen[name] = digest(root / name)
            self._tally["names compared"] += 1
            if seen[name] not in card.versions[path]:
                raise BrokenPromiseError(f"wrong bytes under a final name: {name}")
        return seen

    def nothing(self, root: Path) -> None:
        """No name was given at all."""
        if found := list(names(root)):
            raise BrokenPromiseError(f"names were given: {found[:5]}")
