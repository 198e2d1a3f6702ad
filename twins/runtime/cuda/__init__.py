"""Overlap the uploads, forwards and downloads of batches on a GPU, and replay their kernels as graphs.

Only `streams.py` calls CUDA, so that tests run the rest without a GPU. Only `model.py` knows tasks and networks.
"""
