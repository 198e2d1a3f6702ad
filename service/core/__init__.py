"""One call from admission to answer, the same for every protocol.

The engine, its limits and the batcher live here. No wire format, socket or process does.
"""
