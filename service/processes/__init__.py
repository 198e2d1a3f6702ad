"""The processes of a service.

The supervisor, its process slots, and what runs in frontends and workers live here. No request handling does.
"""
