"""The way of the data: scan, plan, copy, validate, finalize. `run` reads top to bottom."""
