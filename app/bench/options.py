"""What the benchmark is asked to do."""

from dataclasses import dataclass, replace
from typing import Any

from app.bench.processes import BenchFailed

ADMIN_TOKEN = "the-token-of-the-benchmark"  # noqa: S105 - of a server that lives for the benchmark alone
SUBMITTERS = 16
"""How many connections submit at once."""


@dataclass(frozen=True, slots=True)
class Options:
    """The reports, the load, what the server is compared with, and which parts are measured."""

    reports: int = 200
    events: int = 200
    seconds: float = 10.0
    characters: int = 8000
    polls: float = 200.0
    readers: int = 20
    long_polls: int = 0
    submitters: int = SUBMITTERS
    tls: bool = True
    pin: bool = True
    baseline: bool = False
    claude_url: str | None = None
    hot: bool = False
    wakeups: bool = False
    streams: bool = False
    submits: bool = False
    topics: int = 0
    concurrent: int | None = None
    probe_seconds: float = 5.0
    short: bool = False

    @property
    def probes(self) -> tuple[str, ...]:
        """The further measurements that are asked for; without any, the reports are measured."""
        return tuple(name for name in ("hot", "wakeups", "streams", "submits", "topics") if getattr(self, name))

    @property
    def whole(self) -> bool:
        """Whether the burst of reports is measured."""
        return self.short or not self.probes

    @property
    def limit(self) -> float:
        """Seconds after which reports that are still not done are given up."""
        return 3600.0 if self.claude_url else 60.0 + 5 * self.seconds + self.reports / 10

    def with_readers(self, readers: int) -> "Options":
        return replace(self, readers=readers)

    def checked(self) -> "Options":
        """Return the options, complete. Raises BenchFailed where they do not go together."""
        if self.short:
            small: dict[str, Any] = {"reports": 200, "events": 60, "seconds": 3.0, "characters": 2400, "readers": 10}
            return replace(self, **small, baseline=True, hot=True, probe_seconds=1.0)
        if self.claude_url and (self.probes or self.baseline):
            raise BenchFailed("--claude-url measures the reports alone: leave --baseline and the parts out.")
        if self.readers + self.long_polls > self.reports and self.whole:
            raise BenchFailed("There are more --readers and --long-polls than --reports.")
        return self
