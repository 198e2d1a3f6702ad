"""Train small Twins networks on folders of images.

This package holds the training recipe and its command line; see README.md. The service must not import it.
"""
