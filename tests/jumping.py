"""Longhand on a machine whose wall clock jumps when a test says so: `python -m tests.jumping serve …`.

The file that the variable CLOCK names holds how many seconds the clock is wrong.
"""

import datetime as dt
import os
import runpy
import time
from pathlib import Path

CLOCK = Path(os.environ["CLOCK"])
true_time = time.time


def wrong_by() -> float:
    return float(CLOCK.read_text(encoding="utf-8"))


class Jumping(dt.datetime):
    """The standard library's own, on this machine."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> "Jumping":
        return super().now(tz) + dt.timedelta(seconds=wrong_by())


if __name__ == "__main__":
    dt.datetime = Jumping  # type: ignore[misc]
    time.time = lambda: true_time() + wrong_by()
    runpy.run_module("app", run_name="__main__")
