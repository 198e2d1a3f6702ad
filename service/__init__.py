"""The service: Twins models over HTTP and gRPC.

This package holds the processes, the protocols and the command line. Image and model code belongs to `twins`.
"""
