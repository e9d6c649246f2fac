"""Which relative path a file gets in an archive."""
