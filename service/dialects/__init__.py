"""The HTTP interfaces of other servers, so that their clients only change the address.

This package holds one file per interface. Each reads images and options from a request, and chooses the form of the
answer.
"""
