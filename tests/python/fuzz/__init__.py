"""Requests nobody would send; see `tests/fuzz`."""
