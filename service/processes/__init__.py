"""Start and supervise the processes of the service.

This package holds the supervisor, its process slots, the frontend and the worker. It must not handle requests.
"""
