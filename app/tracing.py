"""Where spans go: to an OTLP endpoint, if one is configured. Nothing of OpenTelemetry's SDK is imported without."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyio import CancelScope
from opentelemetry.trace import Tracer

from app import __version__
from app.errors import SettingsError
from app.settings import Settings
from app.threads import Threads

FLUSH_SECONDS = 2.0
"""How long the end waits for the last spans to be sent: a collector that is away must not hold it up."""

MISSING = (
    "OTEL_EXPORTER_OTLP_ENDPOINT: the packages that traces need are not installed. "
    "Install them with: pip install 'longhand[otel]'."
)


@asynccontextmanager
async def open_tracing(settings: Settings, threads: Threads) -> AsyncIterator[Tracer | None]:
    """Give what makes the spans of one application; None where no endpoint is configured. Raises SettingsError.

    They are sent by a thread of OpenTelemetry's own; what is not sent `FLUSH_SECONDS` after the end is lost.
    """
    if not settings.traces_endpoint:
        yield None
        return
    tracer, close = await threads.files(_open, settings)
    try:
        yield tracer
    finally:
        with CancelScope(shield=True):
            await threads.leave(close, FLUSH_SECONDS)


def _open(settings: Settings) -> tuple[Tracer, Callable[[], None]]:
    """Set up the SDK, which blocks; return a tracer, and what sends the rest and ends it."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.util.re import parse_env_headers  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(MISSING) from error
    headers = parse_env_headers(settings.otlp_headers or "", liberal=True)  # which a .env file may hold as well
    resource = Resource.create({"service.version": __version__})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "longhand"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.traces_endpoint, headers=headers)))
    return provider.get_tracer("longhand", __version__), provider.shutdown
