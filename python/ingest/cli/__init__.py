"""The command line. The only layer that prints, and the one place where an error becomes an exit code."""
