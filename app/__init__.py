"""Longhand: writes long reports with Claude in the background."""

__version__ = "0.1.0"
