"""What `/metrics` shows that is not counted but found: how much there is of everything at this moment."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from app import __version__
from app.logs import dropped_lines
from app.models import Phase
from app.state import State

UNFINISHED = [phase for phase in Phase if phase is not Phase.DONE]


async def exposition(state: State, accept: str) -> tuple[bytes, str]:
    """Return all metrics as Prometheus reads them, with their media type. They are written down in a thread."""
    looked_at = list(look(state))
    return await state["threads"].files(state["metrics"].exposition, looked_at, accept)


def look(state: State) -> Iterable[Metric]:
    """Look at what there is, in one step."""
    slots, phases = state["runner"].slots, state["statuses"].phases()
    yield InfoMetricFamily("longhand_build", "The version that runs.", {"version": __version__})
    yield _labelled("generations", "Unfinished generations.", "phase", {phase: phases[phase] for phase in UNFINISHED})
    yield _gauge("slots_busy", "Places to run that are taken.", slots.busy)
    yield _gauge("slots_limit", "Places to run there are.", slots.total)
    yield _gauge("queue_length", "Generations that wait for a place to run.", slots.waiting)
    yield _gauge("queue_limit", "How many may wait.", state["settings"].max_queued)
    yield _gauge("claude_limited_seconds", "For how long calls are held back still.", state["gate"].seconds)
    use = state["threads"].use()
    for name, what in (("busy", "in use"), ("limit", "there may be"), ("waiting", "that are waited for")):
        values = {lane: getattr(found, name) for lane, found in use.items()}
        yield _labelled(f"threads_{name}", f"Threads {what}.", "lane", values)
    yield _gauge("writes_waiting", "Writes that wait for their transaction.", state["store"].waiting)
    yield _gauge("loop_worst_step_seconds", "The longest step of late.", state["watch"].worst_of_late())
    yield _counter("loop_blocked_steps", "Steps that took over 50 ms.", state["watch"].blocked)
    yield _counter("log_lines_dropped", "Log lines that were not written.", dropped_lines())
    yield _gauge("draining", "1 while the server is about to stop.", state["runner"].draining)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"longhand_{name}", what, value)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"longhand_{name}", what, value)


def _labelled(name: str, what: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(f"longhand_{name}", what, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
