"""Read checkpoint files: safe reading, key names of other projects, recognition and metadata.

Nothing in this package runs code from a file. It must not contain networks, labels or downloads.
"""
