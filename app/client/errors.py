"""What a call can end with. The text of each is one sentence or two for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BROKEN_GATEWAYS = frozenset({502, 503, 504})
LATER = frozenset({408, 425, 429})


class ClientError(Exception):
    """A call did not succeed. `repeated`: it was made more than once, and an earlier time may have had its effect."""

    repeated = False


class Unreachable(ClientError):
    """The server cannot be reached, or what stands before it cannot reach it."""


class NotLonghand(Unreachable):
    """Something answers at this address, but not Longhand."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one part of a request; `pointer` names the part."""

    pointer: str
    detail: str


class LonghandProblem(ClientError):
    """Longhand refused a request: `status` of HTTP, and the `code`, which programs switch on.

    `errors` are the faults of an invalid request, `retry_after` the seconds that the server asks to wait, `document`
    the whole problem document.
    """

    def __init__(self, status: int, document: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.document = document
        self.code = str(document["code"])
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", ""))
        self.request_id = str(document.get("request_id", ""))
        self.retry_after = retry_after
        faults = document.get("errors") or ()
        self.errors = tuple(Fault(str(fault.get("pointer")), str(fault.get("detail"))) for fault in faults)
        told = "; ".join(f"{fault.pointer.lstrip('/')}: {fault.detail}" for fault in self.errors)
        super().__init__(told or self.detail or self.title)


def heals(error: ClientError) -> bool:
    """Whether the same call may succeed later without anybody's doing."""
    if isinstance(error, LonghandProblem):
        return error.status in LATER or error.status >= 500
    return isinstance(error, Unreachable) and not isinstance(error, NotLonghand)
