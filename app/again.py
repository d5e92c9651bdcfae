"""The same request again: what a keep-alive connection answers to it without going the whole way."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

Header = tuple[bytes, bytes]


class Reply(NamedTuple):
    """A whole response: its status, its headers but for those that the server adds, its body."""

    status: int
    headers: Sequence[Header]
    body: bytes


Again = Callable[[], Reply | None]
"""Answers a request once more, as of now and without waiting; None: it has to go the whole way."""

OFFER = "longhand.again"
"""The key of an offer in the `extensions` of a scope."""

MOST_BYTES = 4096
"""How long a request may be that a connection remembers."""

ONE_REQUEST = re.compile(rb"GET (?:(?!\n\r?\n).)*\n\r?\n", re.DOTALL)


def offer(scope: Any, again: Again) -> None:
    """Offer to answer the request of this scope once more, should the same bytes come again on its connection.

    Only for a GET whose answer depends on nothing but the request and what `again` looks at. Offer it before the
    response begins. Who stands between handler and server, and counts, refuses or adds something, puts an offer of its
    own in the place of that one as the response passes.
    """
    scope.setdefault("extensions", {})[OFFER] = again


def withdraw(scope: Any) -> None:
    """Take back an offer: what it would answer is not what the whole way does."""
    scope.get("extensions", {}).pop(OFFER, None)


def offered(scope: Any) -> Again | None:
    found: Again | None = scope.get("extensions", {}).get(OFFER)
    return found


@dataclass(slots=True)
class LastRequest:
    """The last request of an HTTP/1.1 connection, byte for byte, and the offer to answer it again.

    Promise: bytes are answered again only when they are, from the first to the last, those of one whole request without
    a body that this connection has had answered in the usual way: what they mean is known, nothing is parsed here.
    """

    request: bytes = b""
    again: Again | None = None

    def remember(self, data: bytes, again: Again | None) -> None:
        """Take what came in at once, from the first byte of a request on, and the offer made for its answer."""
        known = again is not None and len(data) <= MOST_BYTES and ONE_REQUEST.fullmatch(data)
        self.request, self.again = (data, again) if known else (b"", None)

    def answer(self) -> Reply | None:
        """Return the answer to it, if it is known without going the whole way."""
        return self.again and self.again()


def encode(reply: Reply, added: Sequence[Header]) -> bytes:
    """Write a response as h11 would; `added` are the server's own headers."""
    lines = [b"%s: %s\r\n" % header for header in (*reply.headers, *added)]
    return b"".join((_status_line(reply.status), *lines, b"\r\n", reply.body))


@lru_cache(maxsize=16)
def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d \r\n" % status
