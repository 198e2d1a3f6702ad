"""The networks as PyTorch modules.

Variants, layers, backbones and heads live here. Reading weights and running on a device do not.
"""
