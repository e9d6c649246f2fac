"""Without an index of locations by digest.

Nothing asks for locations by digest yet, and digests come in no order: each insert touched another page of the
index, which cost 13 microseconds a row at 100,000 rows and 25 at 400,000, more than everything else together.
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_locations_blake3", table_name="locations")
