"""What servers are forked from: all that they import, kept from the collector, whose passes would copy it each time."""

import gc

import anyio._backends._trio
import httpcore2

import tests.forked

__all__ = ["anyio", "httpcore2", "tests"]

gc.collect()
gc.freeze()
