"""The targets, a module each with a `TARGET`. `tests.fuzz.target.TARGETS` has their names."""
