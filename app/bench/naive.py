"""The same service as it is first written: what the figures of the real one are compared with.

Every generation streams through the SDK's helper with its default client, nothing paces the starts, each event is one
commit in a thread, and each status is encoded anew for each request. It takes what the load asks, and nothing else.

    python -m app.bench.naive DATABASE
"""

import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import anyio
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.bench.bare import serve_stock
from app.models import now

TABLE = "CREATE TABLE reports (id INTEGER PRIMARY KEY, title TEXT, status TEXT, text TEXT, completed_at TEXT)"


class Naive:
    """The database, the SDK's client and the task group, shared by all requests."""

    def __init__(self, path: str, tasks: anyio.abc.TaskGroup) -> None:
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute(TABLE)
        self.lock = anyio.Lock()
        self.tasks = tasks
        self.client = anthropic.AsyncAnthropic()

    async def run(self, sql: str, *values: object) -> list[Any]:
        async with self.lock:
            return await anyio.to_thread.run_sync(lambda: self.db.execute(sql, values).fetchall())

    async def generate(self, number: int, title: str) -> None:
        content = f"<topic>\n{title}\n</topic>\n\nWrite the report."
        try:
            async with self.client.messages.stream(
                model="claude-bench", max_tokens=32_000, messages=[{"role": "user", "content": content}]
            ) as stream:
                async for text in stream.text_stream:
                    await self.run("UPDATE reports SET text = text || ? WHERE id = ?", text, number)
            status = "completed"
        except Exception:  # noqa: BLE001 - the job's boundary, as anybody would write it
            status = "failed"
        await self.run("UPDATE reports SET status = ?, completed_at = ? WHERE id = ?", status, now(), number)


async def add_topic(request: Request) -> JSONResponse:
    title = (await request.json())["topic"]
    ((number,),) = await request.state.naive.run(
        "INSERT INTO reports (title, status, text) VALUES (?, 'idle', '') RETURNING id", title
    )
    return JSONResponse({"data": {"id": number}}, 201)


async def generate(request: Request) -> JSONResponse:
    number, naive = request.path_params["id"], request.state.naive
    ((title,),) = await naive.run("UPDATE reports SET status = 'generating' WHERE id = ? RETURNING title", number)
    naive.tasks.start_soon(naive.generate, number, title)
    return JSONResponse({"data": {"topic_id": number, "status": "generating"}}, 202)


async def list_topics(request: Request) -> JSONResponse:
    status = request.query_params["status"]
    found = await request.state.naive.run("SELECT id FROM reports WHERE status = ? LIMIT 1", status)
    return JSONResponse({"data": [{"id": number} for (number,) in found]})


async def get_status(request: Request) -> JSONResponse:
    number = request.path_params["id"]
    sql = "SELECT status, length(text), completed_at FROM reports WHERE id = ?"
    ((status, characters, completed_at),) = await request.state.naive.run(sql, number)
    data = {"topic_id": number, "status": status, "characters": characters, "completed_at": completed_at}
    return JSONResponse({"data": {**data, "error_message": None}})


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with anyio.create_task_group() as tasks:
        yield {"naive": Naive(sys.argv[1], tasks)}
        tasks.cancel_scope.cancel()


ROUTES = [
    Route("/api/topics", add_topic, methods=["POST"]),
    Route("/api/topics", list_topics),
    Route("/api/topics/{id:int}/generate", generate, methods=["POST"]),
    Route("/api/topics/{id:int}/status", get_status),
]

if __name__ == "__main__":
    trio.run(serve_stock, Starlette(routes=ROUTES, lifespan=lifespan))
