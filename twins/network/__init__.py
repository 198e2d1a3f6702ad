"""The networks as PyTorch modules.

This package holds the variants, layers, backbone and heads. It must not read weights or run a model on a device.
"""
