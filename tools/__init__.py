"""Generate the tables of the documents, the dashboard and its panels.

This package holds development tools. The service and `twins` must not import it, and it is not installed.
"""
