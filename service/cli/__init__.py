"""The command line `twins`.

This package holds one file per group of commands. It must not contain limits or rules that the service needs as well.
"""

from service.cli.main import main

__all__ = ["main"]
