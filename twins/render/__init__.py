"""A result as a file or a document.

One file per format lives here. Computing the result and HTTP do not.
"""
