"""What is counted: one registry for each application, in Prometheus's own objects, each named once."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5)
FIRST_TEXT_BUCKETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)
REPORT_BUCKETS = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0, 10800.0)
QUEUE_BUCKETS = (0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
SPEED_BUCKETS = (10.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0)

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
"""The methods that are counted by name; a client may send any word."""


class Metrics:
    """The counters and histograms of one application: whoever knows of something that happened counts it here.

    Promises: no label names a topic, a user or anything else that a caller chooses, so that the number of series is
    bounded; each may be counted from any thread.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.ended = Counter(
            "longhand_generations_ended", "Generations that have ended.", ["status", "error_code"], registry=registry
        )
        self.report_seconds = Histogram(
            "longhand_generation_seconds", "From the first start of a generation to its end.", ["status"],
            buckets=REPORT_BUCKETS, registry=registry,
        )  # fmt: skip
        self.queue_seconds = Histogram(
            "longhand_queue_seconds", "How long a generation waited for a place to run, in this process.",
            buckets=QUEUE_BUCKETS, registry=registry,
        )  # fmt: skip
        self.calls = Counter(
            "longhand_claude_calls", "Calls to Claude that have ended.", ["model", "state"], registry=registry
        )
        self.tokens = Counter(
            "longhand_claude_tokens", "Tokens of calls that ended.", ["model", "kind"], registry=registry
        )
        self.first_text_seconds = Histogram(
            "longhand_claude_first_text_seconds", "From a call to Claude to its first text.", ["model"],
            buckets=FIRST_TEXT_BUCKETS, registry=registry,
        )  # fmt: skip
        self.speed = Histogram(
            "longhand_claude_characters_per_second", "How fast the text of a call came, from its first piece on.",
            ["model"], buckets=SPEED_BUCKETS, registry=registry,
        )  # fmt: skip
        self.retries = Counter(
            "longhand_claude_retries", "Further calls after one that went wrong.", ["error_code"], registry=registry
        )
        self.resumes = Counter("longhand_claude_resumes", "Those of them that went on from text.", registry=registry)
        self.limited = Counter("longhand_claude_limited", "Calls that Claude turned away: 429, 529.", registry=registry)
        self.commit_seconds = Histogram(
            "longhand_commit_seconds", "How long a transaction took, commit included.",
            buckets=COMMIT_BUCKETS, registry=registry,
        )  # fmt: skip
        self.writes = Counter("longhand_writes", "Writes; those of one transaction count singly.", registry=registry)
        self.blocks = Counter(
            "longhand_blocks_rendered", "Blocks of growing reports that were rendered.", registry=registry
        )
        self.readers = Gauge("longhand_event_stream_readers", "Open event streams.", registry=registry)
        self._requests = Histogram(
            "longhand_http_request_seconds", "How long requests took; held: on purpose, as a stream or a long poll.",
            ["route", "method", "status", "held"], buckets=REQUEST_BUCKETS, registry=registry,
        )  # fmt: skip
        self._of_requests: dict[tuple[str, str, int, bool], Histogram] = {}

    def request(self, route: str, method: str, status: int, seconds: float, *, held: bool) -> None:
        """Count a request: by the pattern of its route, `-` where it had none, and the class of its status."""
        key = route, method, status // 100, held
        histogram = self._of_requests.get(key)
        if histogram is None:
            known = method if method in METHODS else "other"
            histogram = self._requests.labels(route, known, f"{key[2]}xx", "yes" if held else "no")
            if known == method:
                self._of_requests[key] = histogram
        histogram.observe(seconds)

    def exposition(self, looked_at: Sequence[Metric], accept: str) -> tuple[bytes, str]:
        """Write everything down as Prometheus reads it, and return it with its media type.

        `looked_at` is what was not counted, but found at this moment. Takes some 10 ms: in a thread.
        """
        encode, media_type = choose_encoder(accept)
        return encode(_Both(self.registry, looked_at)), media_type


class _Both(Collector):
    """What was counted, and what was looked at."""

    def __init__(self, registry: CollectorRegistry, looked_at: Sequence[Metric]) -> None:
        self._registry = registry
        self._looked_at = looked_at

    def collect(self) -> Iterable[Metric]:
        yield from self._registry.collect()
        yield from self._looked_at
