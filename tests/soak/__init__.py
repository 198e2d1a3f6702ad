"""Faults, loads and long runs: what `make soak` measures, and tests run in a short form."""
