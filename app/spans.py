"""Spans: what takes time within a request or a generation, for whoever traces it; nothing where nobody does."""

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Status, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Attributes = Mapping[str, str | int | float | bool]

_tracer: ContextVar[Tracer | None] = ContextVar("longhand_tracer", default=None)
W3C = TraceContextTextMapPropagator()
TRACE_HEADERS = {b"traceparent": "traceparent", b"tracestate": "tracestate"}


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None) -> Iterator[Span]:
    """Trace what is done inside, as a part of the request or generation that it is done for; without one: nothing.

    An exception that leaves marks the span as failed, by its class alone: its text may quote a secret.
    """
    tracer = _tracer.get()
    if tracer is None:
        yield INVALID_SPAN
        return
    with tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            fail(current, type(error).__name__)
            raise


@contextmanager
def request_span(tracer: Tracer, scope: MutableMapping[str, Any]) -> Iterator[Span]:
    """Trace a request, as a part of the trace that its `traceparent` names."""
    named = {name: value.decode("latin-1") for key, value in scope["headers"] if (name := TRACE_HEADERS.get(key))}
    attributes = {"http.request.method": scope["method"], "longhand.request_id": scope["request_id"]}
    _tracer.set(tracer)  # of this task alone, which ends with its request
    with tracer.start_as_current_span(
        scope["method"], W3C.extract(named, Context()), SpanKind.SERVER, attributes,
        record_exception=False, set_status_on_exception=False,
    ) as current:  # fmt: skip
        yield current


@contextmanager
def generation_span(tracer: Tracer | None, attributes: Attributes) -> Iterator[Span]:
    """Trace a generation: a trace of its own, for it outlives the request that started it, to which it is linked."""
    if tracer is None:
        yield INVALID_SPAN
        return
    request = get_current_span().get_span_context()
    links = [Link(request)] if request.is_valid else []
    _tracer.set(tracer)  # of this task alone, which ends with its generation
    with tracer.start_as_current_span(
        "generation", Context(), attributes=attributes, links=links,
        record_exception=False, set_status_on_exception=False,
    ) as current:  # fmt: skip
        yield current


def tell_end(status: str, error_code: str) -> None:
    """Say in the trace of a generation, in whose task this is called, how it ended."""
    current = get_current_span()
    current.set_attribute("longhand.status", status)
    if error_code:
        fail(current, error_code)


def fail(current: Span, code: str) -> None:
    """Mark a span as failed, by a code."""
    current.set_attribute("error.type", code)
    current.set_status(Status(StatusCode.ERROR))
