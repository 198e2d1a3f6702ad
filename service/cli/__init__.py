"""The command line: `twins`."""

from service.cli.main import main

__all__ = ["main"]
