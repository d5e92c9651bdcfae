"""One path with its methods, and the answers' envelope."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Route

from app.again import Reply
from app.state import State

Request = StarletteRequest[State]
Handler = Callable[[Request], Awaitable[Response]]


class IdConvertor(Convertor[int]):
    """An id in a path, `{name:id}`: no more digits than SQLite's largest integer has; longer ones name nothing."""

    regex = "[0-9]{1,19}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("id", IdConvertor())


def resource(path: str, **handlers: Handler) -> Route:
    """Make the route of a path: each keyword is a method. GET answers HEAD as well; any other method is a 405."""

    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return Route(path, endpoint, methods=list(handlers))


def answer(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer `{"data": …}`."""
    return json_response({"data": data}, status, headers)


def respond(reply: Reply) -> Response:
    """Answer a reply as it is."""
    response = Response(reply.body, reply.status)
    response.raw_headers = list(reply.headers)
    return response


def listing(data: Sequence[object], next_cursor: str | None) -> Response:
    """Answer one page of a list."""
    return json_response({"data": data, "next_cursor": next_cursor})


def json_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, headers, media_type="application/json")
