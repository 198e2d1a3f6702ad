"""Decide who may call, and how much each client may use: keys and their file, addresses, quotas.

This package must not know calls, wire formats, sockets or processes.
"""
