"""Copies at a root that is another disk now: what they came to was proven on the old one, and of this one nothing is.

They are put back to where the next run of their session looks at each afresh: a file that stands under its name there is
read back and compared like any file that a copy finds, one that is missing or holds other bytes is copied again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select, update

from ingest.db.schema import copies, items, parts
from ingest.model.states import ItemState

if TYPE_CHECKING:
    from sqlalchemy import Connection

# What did not arrive stays as it is: nothing is claimed to be there.
_CLAIMED: Final = tuple(
    str(state)
    for state in (
        ItemState.FINALIZED, ItemState.DUPLICATE, ItemState.VALIDATED, ItemState.COPIED, ItemState.COPYING,
    )
)  # fmt: skip


def put_back(connection: Connection, session: int, root: int) -> int:
    """Know no more what a session's copies at a root (its number in the session) came to; how many were put back.

    Their sequence numbers may be given again if no part has them: what a part lists stays listed, and a later row of the
    same path counts.
    """
    own = (copies.c.session == session) & (copies.c.root == root) & copies.c.state.in_(_CLAIMED)
    # Their items have not ended, whatever they came to with their other copies; else nothing more would be done there.
    again = (items.c.session == session) & items.c.item.in_(select(copies.c.item).where(own))
    connection.execute(update(items).where(again).values(state=ItemState.DISCOVERED, reason=None, errno=0, blake3=None))
    number = int(connection.scalar(select(func.count()).select_from(copies).where(own)) or 0)
    connection.execute(delete(copies).where(own))
    return number


def forget_parts(connection: Connection, session: int, root: int, last: int) -> None:
    """Know no more of the manifest parts of a session at a root beyond a number: they are not on this disk.

    What they listed, and what of it was not put back, comes into the parts that take their numbers.
    """
    beyond = (parts.c.session == session) & (parts.c.root == root) & (parts.c.part > last)
    connection.execute(delete(parts).where(beyond))
