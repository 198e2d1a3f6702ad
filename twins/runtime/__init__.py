"""Models on a device.

Devices, precision, batches and reductions live here. Checkpoints and tasks do not.
"""
