"""ingest: bring irreplaceable footage home, hashed in flight, proven on arrival, recorded, resumable.

The use cases are in :mod:`ingest.api`. This page imports nothing, so that a worker process starts fast.
"""
