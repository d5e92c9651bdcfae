"""Percentiles: what many measured times come to. Times go in as seconds and come out as milliseconds."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TypedDict

BUCKET_SECONDS = 0.1


class Summary(TypedDict):
    """How many times were measured, and how they are spread, in milliseconds."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


class Bucket(TypedDict):
    """What was measured within 100 ms: from when on (seconds), how many, and how they are spread (milliseconds)."""

    at: float
    count: int
    p50: float
    p99: float
    max: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the ordered values do not exceed; 0 where there is none."""
    if not ordered:
        return 0.0
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def summarise(seconds: Iterable[float]) -> Summary:
    ordered = sorted(second * 1000 for second in seconds)
    p50, p90, p99 = (round(percentile(ordered, share), 3) for share in (0.5, 0.9, 0.99))
    return Summary(count=len(ordered), p50=p50, p90=p90, p99=p99, max=round(ordered[-1], 3) if ordered else 0.0)


def summarise_counts(counts: Sequence[int], step: float) -> Summary:
    """Summarise a histogram whose boxes are `step` seconds wide; a box counts as its upper edge."""
    total = list(accumulate(counts))
    if not total or not total[-1]:
        return summarise(())
    edges = [round((bisect_left(total, max(share * total[-1], 1)) + 1) * step * 1000, 3) for share in (0.5, 0.9, 0.99)]
    last = max(number for number, count in enumerate(counts) if count)
    return Summary(count=total[-1], p50=edges[0], p90=edges[1], p99=edges[2], max=round((last + 1) * step * 1000, 3))


def timeline(measured: Iterable[tuple[float, float]]) -> list[Bucket]:
    """Sort times (when, how long) into buckets of 100 ms."""
    buckets: dict[int, list[float]] = {}
    for at, took in measured:
        buckets.setdefault(int(at / BUCKET_SECONDS), []).append(took)
    found = []
    for number, times in sorted(buckets.items()):
        spread = summarise(times)
        at = round(number * BUCKET_SECONDS, 1)
        found.append(Bucket(at=at, count=len(times), p50=spread["p50"], p99=spread["p99"], max=spread["max"]))
    return found
