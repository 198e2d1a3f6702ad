"""Models known by name.

Entries, labels, downloads and loading live here. Networks and checkpoint formats do not.
"""
