"""Our own main around Hypercorn: signals, drain, exit codes."""

import gc
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.trio.run import worker_serve
from hypercorn.utils import repr_socket_addr
from starlette.applications import Starlette
from trio.lowlevel import checkpoint

from app import connections, guard, protocols
from app.addresses import Trusted
from app.causes import expected
from app.errors import StartError
from app.main import create_app
from app.settings import Settings
from app.state import Announce

log = logging.getLogger("longhand.server")
hypercorn_log = logging.getLogger("longhand.hypercorn")
hypercorn_log.setLevel(logging.WARNING)  # it says that it runs even where the application did not start
FILES = 128
"""How many files the process may have open besides connections: the database, reports, the log."""

CONFIG_FILE = Path(__file__).parent.parent / "hypercorn.toml"


def load_config(path: Path | None, bind: str | None) -> Config:
    """Read Hypercorn's configuration from a TOML file, by default the project's. Raises StartError."""
    file = path or CONFIG_FILE
    try:
        config = Config.from_toml(file)
    except OSError as error:
        raise StartError(f"The configuration file {file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise StartError(f"The configuration file {file} is not TOML: {error}.") from error
    if config.read_timeout is not None:
        raise StartError(
            f"The configuration file {file} cannot be used: read_timeout would cut event streams. Leave it out."
        )
    if bind:
        config.bind = [bind]
    config.errorlog = hypercorn_log
    return config


async def serve(
    settings: Settings,
    config: Config,
    announce: Announce | None,
    wait_for_stop: Callable[[], Awaitable[object]],
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `wait_for_stop` returns, then drain and stop; when it is called again and returns, do not wait.

    `task_status` is started with the URLs that are listened on. Raises StartError when the service cannot start, and
    what crashed it otherwise.
    """
    with _listening(config) as sockets:  # first of all: where the port is taken, nothing else is begun
        app = create_app(settings, announce, url=_browsed(_urls(sockets)))

        async def run_until_stop() -> None:
            await checkpoint()  # where the application did not start, we are cancelled here
            log.info("Running on %s (CTRL + C to quit)", ", ".join(_urls(sockets)))
            task_status.started(_urls(sockets))
            await _drain(app, wait_for_stop)

        undo = _install_guards(settings)
        try:
            await worker_serve(
                ASGIWrapper(app),  # type: ignore[arg-type]  # Hypercorn's and Starlette's names for the same ASGI types
                config,
                sockets=sockets,
                shutdown_trigger=run_until_stop,
            )
        except Exception as error:  # noqa: BLE001 - it goes on, as what it really is
            raise expected(error) or error from None
        finally:
            undo()


async def serve_until_signal(settings: Settings, config: Config, announce: Announce | None) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the drain, and further ones change nothing."""
    gc.collect()
    gc.freeze()  # a pass of the collector over the heap of all imports would hold up the loop for up to 100 ms
    gc.set_threshold(20_000, 20, 100)  # most of what a report leaves goes without the collector
    asked, wait_for_stop = trio.open_memory_channel[signal.Signals](2)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, signals, asked)
            await serve(settings, config, announce, wait_for_stop.receive)
            nursery.cancel_scope.cancel()


async def _pass_on(signals: AsyncIterator[int], asked: trio.MemorySendChannel[signal.Signals]) -> None:
    """Take every signal until the very end: one that is left over would kill the process after its clean stop."""
    async for number in signals:
        log.info("Stopping after %s", signal.Signals(number).name)
        with suppress(trio.WouldBlock):
            asked.send_nowait(signal.Signals(number))


def _install_guards(settings: Settings) -> Callable[[], None]:
    """Put our own parts in the place of Hypercorn's; return what puts those back."""
    calls_to_claude = settings.max_concurrent * settings.section_concurrency
    most = connections.room(settings.max_connections, calls_to_claude + FILES)
    trusted = Trusted(settings.trusted_proxies)
    counted = connections.Connections(most, settings.max_connections_per_address, trusted)
    stack = ExitStack()
    stack.callback(guard.install(partial(connections.CountedTCPServer, counted)))
    stack.callback(protocols.install())
    accepting, once = logging.getLogger("trio.serve_listeners"), connections.Once()
    accepting.addFilter(once)
    stack.callback(accepting.removeFilter, once)
    return stack.close


@contextmanager
def _listening(config: Config) -> Iterator[Sockets]:
    """Open the sockets that the configuration names, and close them at the end. Raises StartError."""
    with ExitStack() as stack:
        try:
            sockets = config.create_sockets()
            for listener in (*sockets.secure_sockets, *sockets.insecure_sockets):
                stack.enter_context(listener)
                listener.listen(config.backlog)
        except (OSError, ValueError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error).rstrip(".")
            raise StartError(
                f"Cannot listen on {', '.join(config.bind)}: {reason}. Choose another address with --bind HOST:PORT."
            ) from error
        yield sockets


def _urls(sockets: Sockets) -> list[str]:
    schemes = [("https", sockets.secure_sockets), ("http", sockets.insecure_sockets)]
    return [
        f"{scheme}://{repr_socket_addr(listener.family, listener.getsockname())}"
        for scheme, listeners in schemes
        for listener in listeners
    ]


def _browsed(urls: list[str]) -> str | None:
    """Return the address for a browser on this machine; None where the service listens on no port."""
    for url in urls:
        if "//unix:" not in url:
            return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    return None


async def _drain(app: Starlette, wait_for_stop: Callable[[], Awaitable[object]]) -> None:
    """Wait for the stop; then, while requests are still answered, let running work end or put it back."""
    await wait_for_stop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_hurry, app, wait_for_stop)
        await app.state.runner.drain()
        nursery.cancel_scope.cancel()


async def _hurry(app: Starlette, wait_for_stop: Callable[[], Awaitable[object]]) -> None:
    """When the stop is asked for once more, put back at once what still runs."""
    await wait_for_stop()
    await app.state.runner.stop()
