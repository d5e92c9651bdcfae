"""What a completed generation leaves behind: described."""

from app.errors import ArtifactLost, FileSystemFailed, Invalid, RangeNotSatisfiable
from app.openapi import documents
from app.openapi.describe import IF_NONE_MATCH, Answer, Operation, header, query
from app.openapi.topics import PAGE

TAG = "artifacts"
FILE = {"text/markdown": {"type": "string"}}
FILE_HEADERS = ("ETag", "Accept-Ranges", "Cache-Control", "Content-Disposition")

OPERATIONS = {
    "GET /api/topics/{id}/messages": Operation(
        "list_messages",
        TAG,
        "Read what was asked and answered",
        (Answer(200, "One page.", documents.Message, list=True),),
        parameters=PAGE,
    ),
    "GET /api/topics/{id}/artifacts": Operation(
        "list_artifacts",
        TAG,
        "List the versions of the report, newest first",
        (Answer(200, "One page.", documents.Artifact, list=True),),
        parameters=PAGE,
    ),
    "GET /api/artifacts/{id}": Operation(
        "get_artifact", TAG, "Read about one version", (Answer(200, "The artifact.", documents.Artifact),)
    ),
    "GET /api/artifacts/{id}/download": Operation(
        "download",
        TAG,
        "Download one version",
        (
            Answer(200, "The file.", media=FILE, headers=(*FILE_HEADERS, "Content-Digest")),
            Answer(206, "The range that was asked for.", media=FILE, headers=(*FILE_HEADERS, "Content-Range")),
            Answer(304, "It is what `If-None-Match` says.", headers=FILE_HEADERS),
        ),
        parameters=(
            query("format", "What to make of it.", type="string", enum=["md"], default="md"),
            IF_NONE_MATCH,
            header("Range", "One range of bytes; any other is answered whole.", examples=["bytes=0-99"]),
            header("If-Range", "The `ETag` that the range belongs to."),
        ),
        problems=(ArtifactLost, FileSystemFailed, Invalid, RangeNotSatisfiable),
    ),
}
