"""Every expected failure: its code, its public sentence, its HTTP status. This module is the table.

Two families: `Problem` is an answer to a request, `Failure` is the end of a generation. What is in neither is a bug
and ends as `internal`.
"""

from collections.abc import Mapping
from typing import ClassVar


class LonghandError(Exception):
    """An expected failure; its text is fit for the public."""


class StartError(LonghandError):
    """The service cannot start; the text says why in one line. `exit_code` is what the process ends with."""

    exit_code: ClassVar[int] = 1


class SettingsError(StartError):
    """A setting is wrong; the text names the variable, the fault and an example."""

    exit_code = 2


class Problem(LonghandError):
    """An answer to a request that could not be met.

    `extensions` are further members of the problem document, `headers` further headers of the answer.
    """

    code: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]
    detail: str = ""
    retry_after: ClassVar[int | None] = None

    def __init__(self, detail: str | None = None, **extensions: object) -> None:
        self.detail = detail or self.detail
        self.extensions = extensions
        super().__init__(self.detail)

    @property
    def headers(self) -> Mapping[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class MalformedJson(Problem):
    code, title, status = "malformed_json", "Malformed JSON", 400
    detail = "The body is not valid JSON in UTF-8. Send one JSON object."


class MalformedRequest(Problem):
    code, title, status = "malformed_request", "Malformed request", 400
    detail = "The request is not valid HTTP for this server. Check its headers and its body."


class Unauthorized(Problem):
    code, title, status = "unauthorized", "Not signed in", 401
    detail = "The access token is missing or wrong. Send it as 'Authorization: Bearer <token>'."

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class NotFound(Problem):
    code, title, status = "not_found", "Not found", 404
    detail = "There is nothing at this address, or it is not yours. Check the path and the id."


class MethodNotAllowed(Problem):
    code, title, status = "method_not_allowed", "Method not allowed", 405
    detail = "This address does not take this method. The Allow header lists those it takes."


class RequestTimeout(Problem):
    code, title, status = "request_timeout", "Request took too long", 408
    detail = "The body did not arrive in time. Send the request again, on a faster connection."


class GenerationInProgress(Problem):
    code, title, status = "generation_in_progress", "A generation is in progress", 409
    detail = "This topic has an unfinished generation. Wait for its end, or cancel it first."

    @classmethod
    def of(cls, topic_id: int, generation_id: int) -> "GenerationInProgress":
        return cls(generation_id=generation_id, status_url=f"/api/topics/{topic_id}/status")


class NothingToCancel(Problem):
    code, title, status = "nothing_to_cancel", "Nothing to cancel", 409
    detail = "Nothing was ever generated for this topic, so there is nothing to cancel."


class NothingToResume(Problem):
    code, title, status = "nothing_to_resume", "Nothing to resume", 409
    detail = "Only a failed or cancelled generation can be resumed, and this topic's latest is neither."


class ArtifactLost(Problem):
    """The row of a report is there, its file is not: something outside of Longhand has taken it away."""

    code, title, status = "artifact_lost", "The report's file is lost", 410
    detail = "The file of this report is gone from the server. Ask its operator to restore it, or generate it again."


class BodyTooLarge(Problem):
    code, title, status = "body_too_large", "Body too large", 413
    detail = "The body is larger than 1 MiB. Send less."


class UnsupportedMediaType(Problem):
    code, title, status = "unsupported_media_type", "Unsupported media type", 415
    detail = "The body must be JSON. Send it with 'Content-Type: application/json'."


class RangeNotSatisfiable(Problem):
    code, title, status = "range_not_satisfiable", "Range not satisfiable", 416
    detail = "The range lies outside the file. Ask for a range within its size."

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Content-Range": f"bytes */{self._size}"}


class Invalid(Problem):
    """The body or a parameter does not fit; `errors` is a list of (JSON pointer, sentence)."""

    code, title, status = "invalid_request", "Invalid request", 422
    detail = "The request does not fit what this address takes. See 'errors' for each fault."

    def __init__(self, *errors: tuple[str, str]) -> None:
        super().__init__(errors=[{"pointer": pointer, "detail": detail} for pointer, detail in errors])


class IdempotencyKeyReused(Problem):
    code, title, status = "idempotency_key_reused", "Idempotency key reused", 422
    detail = "This Idempotency-Key was sent with another request. Use a new key for a new request."


class TooManyGenerations(Problem):
    code, title, status = "too_many_generations", "Too many generations", 429
    detail = "You have as many unfinished generations as you may. Try again when one has ended."
    retry_after = 10


class QueueFull(Problem):
    code, title, status = "queue_full", "The queue is full", 503
    detail = "The queue is full. Try again a little later."
    retry_after = 30


class ShuttingDown(Problem):
    code, title, status = "shutting_down", "Shutting down", 503
    detail = "The server is about to stop and takes no new work. Try again in a moment."
    retry_after = 10


class NotReady(Problem):
    code, title, status = "not_ready", "Not ready", 503
    retry_after = 5


class InternalError(Problem):
    code, title, status = "internal", "Internal error", 500
    detail = "Something unexpected went wrong. Try again; if it repeats, report the request_id."


class Superseded(Exception):
    """Somebody else owns this generation now: its attempt has moved on, or it has ended. Its job stops quietly."""


class Failure(LonghandError):
    """The end of a generation that could not be completed. `retryable`: whether the same call may succeed later.

    `request_id` is Claude's name of a call that it turned away. The text can be stored and sent, whatever the message
    came from: a half of a character becomes `?`.
    """

    code: ClassVar[str]
    message: ClassVar[str]
    retryable: ClassVar[bool] = True
    request_id: str | None = None

    def __init__(self, message: str | None = None) -> None:
        super().__init__((message or self.message).encode(errors="replace").decode())


class ClaudeTimeout(Failure):
    code, message = "claude_timeout", "Claude API timeout"


class ClaudeUnavailable(Failure):
    """429, 529 or 5xx, or no connection.

    `limiting`: Claude is limiting or overloaded, for everybody. `retry_after`: the seconds that it asked for.
    """

    code, message = "claude_unavailable", "Claude API unavailable"

    def __init__(self, reason: str, *, limiting: bool = False, retry_after: float | None = None) -> None:
        super().__init__(f"{self.message}: {reason}")
        self.limiting = limiting
        self.retry_after = retry_after


class ClaudeLimited(ClaudeUnavailable):
    """Claude was limiting for longer than a generation waits in all."""

    def __init__(self) -> None:
        super().__init__("it limited new requests for too long", limiting=True)


class ClaudeAuth(Failure):
    code, message, retryable = "claude_auth", "Claude API key rejected", False


class ClaudeRequest(Failure):
    """Any other 4xx: the request itself is not accepted."""

    code, message, retryable = "claude_request", "Claude API refused the request", False

    def __init__(self, reason: str) -> None:
        super().__init__(f"{self.message}: {reason}")


class Refused(Failure):
    code, message, retryable = "refused", "Claude declined to write this report", False


class ClaudeStream(Failure):
    """The stream broke off, was malformed, or ended short of the whole."""

    code, message = "claude_stream", "Claude API stream broke off"


class DatabaseFailed(Failure, Problem):
    """SQLite could not read or write: locked, read-only, full. Answers requests as well as it ends generations."""

    code, message = "database", "Database save failed"
    title, status, retry_after = "Database unavailable", 503, 5
    detail = "The database cannot be used right now; nothing was changed. Try again in a moment."

    def __init__(self) -> None:
        Exception.__init__(self, self.message)
        self.extensions = {}


class FileSystemFailed(Failure, Problem):
    """A report file could not be read or written. Answers requests as well as it ends generations."""

    code, message = "file_system", "File system error"
    title, status, retry_after = "Report files unavailable", 503, 5
    detail = "The report files cannot be used right now. Try again in a moment."

    def __init__(self) -> None:
        Exception.__init__(self, self.message)
        self.extensions = {}


class Internal(Failure):
    code, message = "internal", "Internal error"
