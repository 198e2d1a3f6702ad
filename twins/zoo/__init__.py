"""Find, download and load models by name.

This package holds the zoo entries, labels, downloads and loading. It must not contain networks or checkpoint formats.
"""
