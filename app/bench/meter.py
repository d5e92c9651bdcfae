"""What a process costs, as Linux counts it, and what machine this is."""

import os
import platform
import re
from pathlib import Path
from time import monotonic
from typing import Any

import trio

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SAMPLE_SECONDS = 0.05


class Meter:
    """Reads the CPU time and the memory of another process; `peak` is the most memory that `watch` saw."""

    def __init__(self, pid: int) -> None:
        self._place = Path("/proc") / str(pid)
        self.peak = 0

    def cpu(self) -> float:
        """Return the CPU seconds used so far, user and system, all threads."""
        fields = (self._place / "stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> int:
        """Return the bytes that are resident now."""
        return int((self._place / "statm").read_text().split()[1]) * PAGE_BYTES

    async def watch(self) -> None:
        """Keep `peak` up to date until cancelled."""
        while True:
            self.peak = max(self.peak, self.memory())
            await trio.sleep(SAMPLE_SECONDS)

    async def rate(self, seconds: float) -> float:
        """Return the CPU seconds per second over the next so many seconds."""
        began, before = monotonic(), self.cpu()
        await trio.sleep(seconds)
        return (self.cpu() - before) / (monotonic() - began)


def machine() -> dict[str, Any]:
    """Say what figures from here are worth: the processor, its cores, what else ran, and the versions."""
    described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.+)$", described, re.MULTILINE)
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
