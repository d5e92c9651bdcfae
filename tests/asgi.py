"""ASGI without a server: a request's scope, its other side, and small applications."""

from collections.abc import Iterator

import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def request(method: str = "POST", http_version: str = "1.1", **headers: str) -> Scope:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    path = {"path": "/a b", "raw_path": b"/a%20b", "query_string": b"", "scheme": "http"}
    client = ("192.0.2.1", 50000)
    return {"type": "http", "method": method, "http_version": http_version, "headers": raw, "client": client, **path}


class Client:
    """The other side of an application: what it sends, one message after the other, and what it is answered."""

    def __init__(self, *pieces: bytes, more: bool = False) -> None:
        self.messages = self.sending(pieces, more=more)
        self.answer: list[Message] = []
        self.received = 0

    def sending(self, pieces: tuple[bytes, ...], *, more: bool) -> Iterator[Message]:
        for number, piece in enumerate(pieces, 1):
            yield {"type": "http.request", "body": piece, "more_body": more or number < len(pieces)}
        if not pieces and not more:
            yield {"type": "http.request", "body": b"", "more_body": False}

    async def receive(self) -> Message:
        self.received += 1
        message = next(self.messages, None)
        if message is None:
            await trio.sleep_forever()
        assert message is not None
        return message

    async def send(self, message: Message) -> None:
        self.answer.append(message)

    async def ask(self, app: ASGIApp, scope: Scope) -> dict[bytes, bytes]:
        """Let the application answer, and return the headers of the answer."""
        await app(scope, self.receive, self.send)
        return dict(self.answer[0]["headers"]) if self.answer else {}


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads nothing."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def read_then_answer(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await answer(scope, receive, send)
