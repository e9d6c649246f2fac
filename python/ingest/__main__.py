"""``python -m ingest`` is the command line."""

from ingest.cli.app import main

if __name__ == "__main__":
    main()
