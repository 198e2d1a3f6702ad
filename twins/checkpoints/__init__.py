"""Checkpoint files: safe reading, the key names of other projects, recognition and metadata.

Networks, labels and downloads do not live here. Nothing in this package runs code from a file.
"""
