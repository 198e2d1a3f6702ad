"""The gRPC interface.

This package parses requests and renders answers. Limits and rules belong to `service.core`.
"""
