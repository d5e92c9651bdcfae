"""Our own main around Hypercorn: signals, drain, exit codes."""

import errno
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve
from starlette.applications import Starlette

from app import guard
from app.errors import StartError, expected
from app.loopwatch import LoopWatch
from app.main import create_app
from app.settings import Settings
from app.state import Announce

log = logging.getLogger("longhand.server")

CONFIG_FILE = Path(__file__).parent.parent / "hypercorn.toml"


def load_config(path: Path | None, bind: str | None) -> Config:
    """Read Hypercorn's configuration from a TOML file, by default the project's. Raises StartError."""
    try:
        config = Config.from_toml(path or CONFIG_FILE)
    except (OSError, ValueError, TypeError) as error:
        raise StartError(f"The configuration file {path or CONFIG_FILE} cannot be read: {error}.") from error
    if bind:
        config.bind = [bind]
    config.errorlog = log
    return config


async def serve(
    settings: Settings,
    config: Config,
    announce: Announce | None,
    wait_for_stop: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `wait_for_stop` returns, then drain and stop; when it is called again and returns, do not wait.

    `task_status` is started with the URLs that are listened on. Raises StartError when the service cannot start, and
    what crashed it otherwise.
    """
    app = create_app(settings, announce)
    remove_guard = guard.install()
    try:
        await hypercorn_serve(
            app,  # type: ignore[arg-type]  # Hypercorn's and Starlette's names for the same ASGI types
            config,
            shutdown_trigger=partial(_drain, app, wait_for_stop),
            task_status=task_status,
        )
    except Exception as error:  # noqa: BLE001 - it goes on, as what it really is
        raise expected(error) or _cannot_listen(error) or error from None
    finally:
        remove_guard()


async def serve_until_signal(settings: Settings, config: Config, announce: Announce | None) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the drain."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

        async def next_signal() -> None:
            number = await anext(signals)
            log.info("Stopping after %s", signal.Signals(number).name)

        await serve(settings, config, announce, next_signal)


async def _drain(app: Starlette, wait_for_stop: Callable[[], Awaitable[None]]) -> None:
    """Wait for the stop; then, while requests are still answered, let running work end or put it back."""
    watch = LoopWatch(lambda task, took: log.warning("The loop was blocked for %.0f ms by %s", took * 1000, task))
    trio.lowlevel.add_instrument(watch)
    try:
        await wait_for_stop()
    finally:
        trio.lowlevel.remove_instrument(watch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_hurry, app, wait_for_stop)
        await app.state.runner.drain()
        nursery.cancel_scope.cancel()


async def _hurry(app: Starlette, wait_for_stop: Callable[[], Awaitable[None]]) -> None:
    """When the stop is asked for once more, put back at once what still runs."""
    await wait_for_stop()
    await app.state.runner.stop()


def _cannot_listen(error: BaseException) -> StartError | None:
    """Tell a port that is taken, or an address that is not ours, in what Trio made of it."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _cannot_listen(error.exceptions[0])
    if isinstance(error, OSError) and error.errno in {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}:
        return StartError(f"Cannot listen: {os.strerror(error.errno)}.")
    return None
