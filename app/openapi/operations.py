"""What operators and programmers ask: described."""

from app.errors import NotFound, NotReady
from app.openapi import documents
from app.openapi.describe import IF_NONE_MATCH, JSON, Answer, Operation

TAG = "operations"

METRICS = {media: {"type": "string"} for media in ("text/plain", "application/openmetrics-text")}

OPERATIONS = {
    "GET /healthz": Operation(
        "healthz", TAG, "Is the process up?", (Answer(200, "It is.", documents.Up),), public=True
    ),
    "GET /readyz": Operation(
        "readyz",
        TAG,
        "Can the service work?",
        (Answer(200, "It can.", documents.Ready),),
        "It cannot while the database cannot be written, or the server is about to stop.",
        problems=(NotReady,),
        public=True,
    ),
    "GET /metrics": Operation(
        "get_metrics",
        TAG,
        "Read what Prometheus reads",
        (Answer(200, "Every metric.", media=METRICS, headers=("Cache-Control",)),),
        "For admins; for everybody where `LONGHAND_METRICS_PUBLIC` is 1.",
        problems=(NotFound,),
    ),
    "GET /openapi.json": Operation(
        "get_description",
        TAG,
        "Read this description",
        (
            Answer(200, "OpenAPI 3.1.", media={JSON: {"type": "object"}}, headers=("ETag", "Cache-Control")),
            Answer(304, "It is what `If-None-Match` says.", headers=("ETag", "Cache-Control")),
        ),
        parameters=(IF_NONE_MATCH,),
        public=True,
    ),
    "GET /docs": Operation(
        "get_docs",
        TAG,
        "Read and try this description in a browser",
        (Answer(200, "A page.", media={"text/html": {"type": "string"}}, headers=("Cache-Control",)),),
        public=True,
    ),
}
