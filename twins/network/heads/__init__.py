"""The heads that turn feature maps into logits.

This package holds one file per head and the table of heads. It must not contain backbone layers or post-processing.
"""
