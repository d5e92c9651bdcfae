"""The service's state: everything that is opened at the start and closed at the end, in one place."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import fields
from typing import Any, TypedDict

from opentelemetry.trace import Tracer
from starlette.requests import Request
from starlette.responses import Response

from app.access import Access, Sessions
from app.causes import leaves
from app.claude import open_claude
from app.directory import DATABASE, REPORTS, hold_directory
from app.errors import DatabaseFailed, Problem, StartError
from app.files import Files
from app.gate import Gate
from app.generate import Tools
from app.limiter import Limiter
from app.loopwatch import LoopWatch, watching
from app.metrics import Metrics
from app.once import Once
from app.patience import Limits
from app.queries import sessions, users
from app.redact import Redactor
from app.renderings import Renderings
from app.runner import Runner, open_runner
from app.settings import Settings
from app.signins import SignIns
from app.status import StatusMap
from app.store import Store, open_store
from app.threads import Threads
from app.tracing import open_tracing

log = logging.getLogger("longhand.server")

Announce = Callable[[str], None]

ShowProblem = Callable[[Request[Any], Problem], Response | None]
"""Shows a problem as a page where a person asked for one; None: a program did."""


class State(TypedDict):
    """What handlers find in `request.state`."""

    settings: Settings
    threads: Threads
    store: Store
    files: Files
    statuses: StatusMap
    renderings: Renderings
    access: Access
    sessions: Sessions
    sign_ins: SignIns
    names: SignIns
    once: Once
    limiter: Limiter
    runner: Runner
    gate: Gate
    metrics: Metrics
    tracer: Tracer | None
    watch: LoopWatch
    show_problem: ShowProblem | None


@asynccontextmanager
async def open_state(settings: Settings, announce: Announce | None, url: str | None = None) -> AsyncIterator[State]:
    """Open the service; what a stopped process left unfinished goes on. Closed in reverse order, generations first.

    `announce` is told what a person has to see once: the first access token, which is made only then, and that no key
    is set. `url` is where a browser reaches the service. Raises StartError with one plain line.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(hold_directory(settings.data_dir))
        threads, metrics, gate = Threads(settings.max_threads), Metrics(), Gate()
        tracer = await stack.enter_async_context(open_tracing(settings, threads))
        with _start_errors(settings):
            store = await stack.enter_async_context(open_store(settings.data_dir / DATABASE, threads, metrics))
            await _prepare_users(store, settings, announce, url)
        if announce and settings.offline:
            announce("No ANTHROPIC_API_KEY is set: the built-in offline writer serves, and makes practice drafts.")
        statuses = StatusMap()
        files = Files(settings.data_dir / REPORTS, threads)
        claude = await stack.enter_async_context(open_claude(settings, threads))
        redact = Redactor(settings.secrets)
        tools = Tools(store, files, claude, gate, statuses, limits_of(settings), metrics, tracer, redact)
        with _start_errors(settings):
            runner = await stack.enter_async_context(open_runner(tools, settings))
        watch = stack.enter_context(watching(_report_blocked))
        yield State(
            settings=settings,
            threads=threads,
            store=store,
            files=files,
            statuses=statuses,
            renderings=Renderings(threads, metrics),
            access=Access(store),
            sessions=Sessions(store),
            sign_ins=SignIns(),
            names=SignIns(most_waiting=None),  # who guesses at a name must not lock its owner out
            once=Once(),
            limiter=Limiter("token", settings.rate_per_token),
            runner=runner,
            gate=gate,
            metrics=metrics,
            tracer=tracer,
            watch=watch,
            show_problem=None,
        )


def _report_blocked(task: str, took: float) -> None:
    log.warning("The loop was blocked for %.0f ms by %s", took * 1000, task)


def limits_of(settings: Settings) -> Limits:
    """Return the bounds of a generation."""
    return Limits(**{field.name: getattr(settings, field.name) for field in fields(Limits)})


async def _prepare_users(store: Store, settings: Settings, announce: Announce | None, url: str | None) -> None:
    await store.write(users.end_writing)
    await store.write(sessions.forget_ended)
    if settings.admin_token:
        await store.write(users.set_admin_token, settings.admin_token)
    elif announce and (token := await store.write(users.first_token)):
        # What follows a # stays in the browser: no server and no proxy sees it.
        link = f"\nOpen this link to sign in with a browser: {url}/sign-in#{token}" if url else ""
        announce(f"Sign in as 'admin' with this access token, shown only now: {token}{link}")


@contextmanager
def _start_errors(settings: Settings) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        cause = next(leaves(error))
        if isinstance(cause, DatabaseFailed):
            reason = f"database in {settings.data_dir} cannot be opened for writing: {cause.__cause__ or cause}"
        elif isinstance(cause, OSError):
            reason = f"report files in {settings.data_dir} cannot be used: {cause.strerror}"
        else:
            raise
        raise StartError(f"The {reason}.") from error
