"""Batches on their way at one time: one is read back while the next is copied."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root

BATCH = 10
FILES = {f"{number:03}.JPG": 5000 + number for number in range(30 * BATCH)}
# The card's first file: a card of one folder is numbered in the order of its names.
FIRST = "*/staging/????????/1-*.part"


def test_one_batch_is_read_back_while_others_are_copied(make_card, faulty_disk, shell, check, until):
    """The read-back of the first batch stands still as long as the test wants; whatever happens meanwhile overlaps it."""
    card, disk = make_card(FILES), faulty_disk()
    disk.rules({"path": FIRST, "op": "read", "act": "hang"})

    def named() -> set[str]:
        return {path.name for path in (disk.backing / "CARD").glob("*.JPG")}

    running = shell.start("copy", card.folder, disk.mount, "--workers", "2", "--batch", str(BATCH))
    until(lambda: disk.hits(op="read"), "that the first batch is read back")
    before = named()
    # What was on its way by then is one batch: the one after that was copied from its first byte to its last.
    after = until(lambda: found if len(found := named()) >= len(before) + 2 * BATCH else None, "that others are copied")
    assert not after & set(list(FILES)[:BATCH]), "the first batch is still being read back"
    disk.rules()

    assert running.end().code == 0
    check(card, disk.mount)
