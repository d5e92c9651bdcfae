"""Fixtures of the client's tests."""

from tests.routes.conftest import clock

__all__ = ["clock"]
