"""The application: `create_app`, and `app` for `hypercorn --config hypercorn.toml app.main:app`."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from app.edge import layers
from app.environment import environment
from app.errors import Problem
from app.logs import open_logs
from app.openapi import serve
from app.pages import account, admin, confirm, health, preferences, show, signin, static, versions, writing
from app.pages import topics as topic_pages
from app.pages.faults import fault_page
from app.pages.visitor import SignInNeeded, on_sign_in_needed
from app.problems import on_http_exception, on_os_error, on_problem
from app.redact import Redactor
from app.routes import artifacts, blocks, events, generations, news, operations, status, topics
from app.settings import Settings, load_settings
from app.state import Announce, State, open_state


def create_app(
    settings: Callable[[], Settings] | Settings,
    announce: Announce | None,
    log: Callable[[Settings], AbstractContextManager[None]] | None = None,
    url: str | None = None,
) -> Starlette:
    """Make the application. Its state is opened by its lifespan, which owns every generation.

    `settings` may be a function, called when the lifespan starts. `announce` is told what a person has to see once.
    `log` opens the log; without it, whoever serves the application has done so. `url` is where it is served, if known.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
        chosen = settings if isinstance(settings, Settings) else settings()
        with log(chosen) if log else nullcontext():
            async with open_state(chosen, announce, url) as state:
                app.state.runner = state["runner"]
                await state["threads"].files(show.prepare)
                state["show_problem"] = fault_page
                app.user_middleware = layers(chosen)  # which they are, the settings say, that are known only now
                app.middleware_stack = app.build_middleware_stack()
                yield state

    application = Starlette(
        routes=all_routes(),
        exception_handlers={
            Problem: on_problem,
            HTTPException: on_http_exception,
            OSError: on_os_error,
            SignInNeeded: on_sign_in_needed,
        },
        lifespan=lifespan,
    )
    application.router.redirect_slashes = False  # a path with one slash too many is unknown: 404
    return application


def all_routes() -> list[BaseRoute]:
    """Return every route of the API, its description and the pages, in the order in which a path is compared."""
    return [
        *status.routes,  # first, as they are asked most: a path is compared with one route after the other
        *operations.routes,
        *events.routes,
        *blocks.routes,
        *news.routes,
        *topics.routes,
        *generations.routes,
        *artifacts.routes,
        *serve.routes(),
        *topic_pages.routes,
        *writing.routes,
        *confirm.routes,
        *versions.routes,
        *signin.routes,
        *account.routes,
        *admin.routes,
        *health.routes,
        *preferences.routes,
        *static.routes,
    ]


def log_of(settings: Settings) -> AbstractContextManager[None]:
    """Write the log to standard error, as the settings say; at the end the last lines are waited for, which blocks."""
    redact = Redactor(settings.secrets)
    return open_logs(2, settings.log_format, settings.log_level, redact, colors=sys.stderr.isatty())


app = create_app(
    lambda: load_settings(environment()),
    lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201
    log_of,
)
