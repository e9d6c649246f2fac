"""The database: its schema, how it is opened, how it is migrated."""
