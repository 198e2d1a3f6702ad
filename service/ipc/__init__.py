"""Messages between processes.

The ZeroMQ transport and the pool of worker processes live here. No rule about requests does.
"""
