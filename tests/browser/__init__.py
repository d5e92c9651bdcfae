"""Tests and tools that need a real browser."""
