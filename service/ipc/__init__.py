"""Exchange messages between processes.

This package holds the ZeroMQ transport and the pool of worker processes. It must not contain rules about requests.
"""
