"""The service beside other servers of models, on the same machine: `python -m bench.rivals`."""
