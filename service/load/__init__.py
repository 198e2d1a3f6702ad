"""The load generator: it sends images to a service at a chosen rate or from a chosen number of clients.

This package knows the service only by its URL. It must not import the parts that serve.
"""
