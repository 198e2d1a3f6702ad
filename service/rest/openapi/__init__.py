"""Describe the HTTP interface: the parts of the OpenAPI document that FastAPI cannot derive from types.

`service.examples` has the examples in it.
"""
