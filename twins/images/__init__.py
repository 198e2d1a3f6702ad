"""Decode image files to pixels.

This package holds all checks of untrusted images. It must not know models or what they do with the pixels.
"""
