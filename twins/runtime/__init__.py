"""Run models on a device.

This package holds the backends, execution plans and reductions. It must not read checkpoint formats.
"""
