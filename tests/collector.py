"""A collector of spans: what takes them at the other end of OTLP, on 127.0.0.1."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import Framework
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.claude.exchange import Receive, Send
from tests.claude.server import lifespan, read_body


@dataclass(frozen=True, slots=True)
class Span:
    """One span as it was sent; ids in hex, `parent` empty at the root."""

    name: str
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    failed: bool
    message: str


@dataclass(eq=False)
class Collector:
    """What was sent. Where `hold` is set, nothing is ever answered."""

    url: str = ""
    hold: bool = False
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    content: bytes = b""

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        self.content += (content := await read_body(receive))
        self.paths.append(scope["path"])
        self.headers.append({name.decode().lower(): value.decode() for name, value in scope["headers"]})
        self.take(ExportTraceServiceRequest.FromString(content))
        if self.hold:
            await trio.sleep_forever()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def take(self, request: ExportTraceServiceRequest) -> None:
        for of_resource in request.resource_spans:
            self.resource |= values(of_resource.resource.attributes)
            self.spans += [
                Span(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    values(span.attributes),
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    span.status.message + "".join(event.name for event in span.events),
                )
                for of_scope in of_resource.scope_spans
                for span in of_scope.spans
            ]


def values(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector for as long as the block lasts."""
    collector, config = Collector(), Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = None
    config.errorlog = None
    config.graceful_timeout = 0.1
    async with trio.open_nursery() as nursery:
        (collector.url,) = await nursery.start(partial(serve, cast("Framework", collector), config))
        yield collector
        nursery.cancel_scope.cancel()
