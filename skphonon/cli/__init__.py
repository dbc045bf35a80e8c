"""The command line: from a file to a report."""

from skphonon.cli.main import app, main

__all__ = ["app", "main"]
