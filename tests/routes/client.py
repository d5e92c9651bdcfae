"""What a test of the API needs on the client's side: whole problems, raw bytes, another user."""

import re
from typing import Any

import httpx2
import trio

from app.directory import DATABASE
from app.queries import users
from app.store import open_database
from tests.service import Service

LEAKS = re.compile(
    r"Traceback|\.py\b|/site-packages|/tmp/|sqlite|pydantic|starlette|test-key|admin-token", re.IGNORECASE
)
"""What no answer that is a problem may show."""

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is this problem, whole and showing nothing of the server; return its document."""
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["type"] == f"/problems/{code}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"].endswith(".")
    assert document["instance"] == answer.request.url.raw_path.partition(b"?")[0].decode()
    assert document["request_id"] == answer.headers["x-request-id"]
    assert not LEAKS.search(answer.text), answer.text
    return document


def pointers(answer: httpx2.Response) -> list[str]:
    """Check that an answer is a 422 with a sentence for each fault, and return where the faults are."""
    errors = problem(answer, 422, "invalid_request")["errors"]
    assert all(re.fullmatch(r"[A-Z].*\.", error["detail"]) for error in errors), errors
    return [error["pointer"] for error in errors]


async def add_token(service: Service, name: str, expires_at: str | None = None) -> str:
    """Add a user beside the running service, as the command line does, and return an access token."""

    def add() -> str:
        db = open_database(service.settings.data_dir / DATABASE)
        try:
            user = users.add_user(db, name, is_admin=False)
            assert user is not None
            token = users.new_token()
            users.add_token(db, user.id, token, "", expires_at)
            return token
        finally:
            db.close()

    return await trio.to_thread.run_sync(add)


async def connect(service: Service) -> trio.SocketStream:
    """Open a connection on which a test speaks HTTP itself."""
    url = httpx2.URL(service.url)
    assert url.port is not None
    return await trio.open_tcp_stream(url.host, url.port)


async def exchange(service: Service, request: bytes) -> bytes:
    """Send these bytes, which ask for the connection's end, and return all that comes back."""
    async with await connect(service) as stream:
        await stream.send_all(request)
        with trio.fail_after(5):
            return b"".join([piece async for piece in stream])
