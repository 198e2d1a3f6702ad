"""Handle one call from admission to answer, in the same way for every protocol.

This package holds the engine, its limits and the batcher. It must not know wire formats, sockets or processes.
"""
