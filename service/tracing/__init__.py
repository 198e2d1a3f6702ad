"""Traces: the context of a request from its headers to the workers, and the spans that are sent to a receiver.

`context` and `tracer` import the standard library alone. `otlp` is imported only if traces are sent.
"""
