"""Alembic migrations, imported only when a database is not at the newest schema."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ingest.db import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection


def scripts() -> ScriptDirectory:
    """The migrations that come with this program."""
    config = Config()
    config.set_main_option("script_location", os.path.dirname(os.path.abspath(__file__)).replace("%", "%%"))
    return ScriptDirectory.from_config(config)


def upgrade(connection: Connection, version: str | None) -> bool:
    """Migrate to the newest schema in the connection's transaction; False if the database is newer than that."""
    directory = scripts()
    if version is not None and version not in {script.revision for script in directory.walk_revisions()}:
        return False

    def steps(revision: Any, _context: MigrationContext) -> Any:
        return directory._upgrade_revs(schema.HEAD, revision)  # noqa: SLF001 - what alembic.command.upgrade itself calls

    context = MigrationContext.configure(connection, opts={"fn": steps, "target_metadata": schema.metadata})
    with Operations.context(context):
        context.run_migrations()
    return True
