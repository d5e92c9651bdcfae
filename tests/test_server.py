"""Our own main: exit codes, one plain line each, signals, the drain, the first sign-in."""

import logging
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx2
import pytest
import trio
from click.testing import CliRunner, Result
from trio.testing import wait_all_tasks_blocked

from app.cli import main
from app.directory import DATABASE, hold_directory, make_directory
from app.errors import StartError
from app.models import Order, StatusName
from app.queries import acceptance, topics, users
from app.server import load_config, serve, serve_until_signal
from app.settings import Settings, load_settings
from app.store import open_database
from tests.claude import Call, Ending, FakeClaude, Script
from tests.conftest import Start
from tests.process import ROOT, Server, serving, started
from tests.service import ADMIN_TOKEN, GRACE_SECONDS, Service, http_client, settings_for

SIGN_IN = re.compile(r"Sign in as 'admin' with this access token, shown only now: (\S+)\n")

Serve = Callable[..., Result]


@pytest.fixture
def serve_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Run `longhand serve`, which is expected to fail, in this process: `serve_here("--bind", …, NAME=value)`."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, **variables: str) -> Result:
        unset = {name: None for name in os.environ if name.startswith(("LONGHAND_", "ANTHROPIC_"))}
        return CliRunner().invoke(main, ["serve", *arguments], env={**unset, **variables})

    return invoke


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
async def server(tmp_path: Path, claude: FakeClaude) -> AsyncIterator[Server]:
    async with serving(tmp_path / "data", claude) as running:
        yield running


def in_one_line(result: Result) -> str:
    """Return the one line of standard error."""
    assert result.output == result.stderr
    (line,) = result.stderr.splitlines()
    return line


# What keeps it from starting


def test_a_wrong_setting_ends_it_with_2_and_names_the_variable_with_an_example(serve_here: Serve) -> None:
    result = serve_here(LONGHAND_MAX_CONCURRENT="many")

    assert result.exit_code == 2
    assert re.fullmatch(
        r"longhand: LONGHAND_MAX_CONCURRENT: .+ Example: LONGHAND_MAX_CONCURRENT=100", in_one_line(result)
    )


def test_an_env_file_that_is_not_text_ends_it_with_2(serve_here: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"LONGHAND_MODEL=\xff")

    result = serve_here()

    assert result.exit_code == 2
    assert in_one_line(result).startswith(f"longhand: The file .env in {tmp_path} cannot be read: ")


def test_a_setting_in_an_env_file_counts_and_the_environment_goes_before_it(serve_here: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LONGHAND_DRAIN_SECONDS=soon\nLONGHAND_MAX_QUEUED=few\n")

    assert "LONGHAND_DRAIN_SECONDS: " in in_one_line(serve_here(LONGHAND_MAX_QUEUED="5"))
    assert "LONGHAND_MAX_QUEUED: " in in_one_line(serve_here(LONGHAND_DRAIN_SECONDS="5"))


def test_a_taken_port_ends_it_with_1_before_anything_else_is_begun(
    serve_here: Serve, tmp_path: Path, taken_port: int
) -> None:
    result = serve_here("--bind", f"127.0.0.1:{taken_port}")

    assert result.exit_code == 1
    assert in_one_line(result) == (
        f"longhand: Cannot listen on 127.0.0.1:{taken_port}: Address already in use. "
        "Choose another address with --bind HOST:PORT."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bind", ["nonsense:80:90", "127.0.0.1:99999", "fd://x", "unix:/no/such/place"])
def test_a_bind_that_makes_no_sense_ends_it_with_1_and_is_named(serve_here: Serve, bind: str) -> None:
    result = serve_here("--bind", bind)

    assert result.exit_code == 1
    assert re.fullmatch(
        rf"longhand: Cannot listen on {re.escape(bind)}: [^.]+\. Choose another address with --bind HOST:PORT\.",
        in_one_line(result).replace("0-65535", "").replace("bind(): ", ""),
    )


def test_a_data_directory_that_is_held_ends_it_with_1_and_is_named(
    serve_here: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with hold_directory(tmp_path / "data"):
        result = serve_here("--bind", "127.0.0.1:0")

    assert result.exit_code == 1
    assert in_one_line(result) == (
        "longhand: The data directory data is in use by another Longhand process. "
        "Stop that one, or name another directory with --data-dir or LONGHAND_DATA_DIR."
    )
    assert "Running on" not in caplog.text


def test_a_data_directory_that_is_a_file_ends_it_with_1_and_is_named(serve_here: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = serve_here("--bind", "127.0.0.1:0", LONGHAND_DATA_DIR="file")

    assert result.exit_code == 1
    assert in_one_line(result) == "longhand: The data directory file cannot be made: Not a directory."


def test_a_database_that_is_none_ends_it_with_1_and_is_named(serve_here: Serve, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / DATABASE).write_bytes(b"no database " * 500)

    result = serve_here("--bind", "127.0.0.1:0")

    assert result.exit_code == 1
    assert in_one_line(result) == (
        "longhand: The database in data cannot be opened for writing: file is not a database."
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"bind = [\n", "is not TOML: "),
        (b"\xff", "is not TOML: "),
        (b"read_timeout = 30\n", "cannot be used: read_timeout would cut event streams."),
    ],
)
def test_a_configuration_that_cannot_be_used_ends_it_with_1_and_is_named(
    serve_here: Serve, tmp_path: Path, content: bytes | None, fault: str
) -> None:
    if content is not None:
        (tmp_path / "my.toml").write_bytes(content)

    result = serve_here("--config", "my.toml")

    assert result.exit_code == 1
    assert in_one_line(result).startswith(f"longhand: The configuration file my.toml {fault}")


async def test_a_service_that_cannot_start_is_never_said_to_run(settings: Callable[..., Settings]) -> None:
    begun = partial(serve, settings(), load_config(None, "127.0.0.1:0"), None, trio.sleep_forever)

    with hold_directory(settings().data_dir), pytest.RaisesGroup(StartError):
        async with trio.open_nursery() as nursery:
            await nursery.start(begun)
            pytest.fail("it says that it serves")


# How it stops


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0_whoever_is_connected(server: Server, number: signal.Signals) -> None:
    status_url = f"/api/topics/{await server.topic()}/status"
    etag = (await server.http.get(status_url)).headers["etag"]
    answers: list[httpx2.Response] = []

    async def wait_for_a_change() -> None:
        answers.append(await server.http.get(status_url, params={"wait": 60}, headers={"If-None-Match": etag}))

    async with trio.open_nursery() as nursery, server.client(None) as idle:
        nursery.start_soon(wait_for_a_change)
        await wait_all_tasks_blocked()
        await idle.get("/healthz")  # comes after the long poll, so that one is being served as well
        began = trio.current_time()
        server.process.send(number)
        assert await server.process.wait() == 0

    assert trio.current_time() - began < GRACE_SECONDS
    assert [answer.status_code for answer in answers] == [304]
    assert f"Stopping after {number.name}" in server.process.errors
    assert "Traceback" not in server.process.errors


async def test_a_signal_in_the_middle_of_the_start_ends_it_cleanly(settings: Callable[..., Settings]) -> None:
    config = load_config(None, "127.0.0.1:0")

    with trio.fail_after(GRACE_SECONDS):
        await serve_until_signal(settings(admin_token=""), config, lambda _: signal.raise_signal(signal.SIGTERM))


async def held_generation(server: Service) -> tuple[int, Call, trio.Event]:
    """Start a generation whose call to Claude waits in mid-report for the event."""
    go_on = trio.Event()
    server.claude.script(Script(hold=go_on, hold_at=3))
    topic_id = await server.topic()
    await server.generate(topic_id)
    call = await server.claude.next_call()
    await call.held.wait()
    return topic_id, call, go_on


async def test_running_work_is_put_back_by_a_stop_and_ended_by_the_next_start(server: Server, start: Start) -> None:
    topic_id, call, _ = await held_generation(server)
    server.process.send(signal.SIGTERM)
    assert await server.process.wait() == 0
    await call.finished.wait()

    assert call.ending is Ending.GONE
    assert await server.rows("SELECT status FROM generations") == [{"status": "queued"}]
    assert "Traceback" not in server.process.errors

    async with start() as again:
        status = await again.ended(topic_id)

    assert (status["status"], status["attempt"]) == ("completed", 2)


async def test_a_drain_lets_work_end_and_refuses_more(tmp_path: Path, claude: FakeClaude) -> None:
    async with serving(tmp_path / "data", claude, LONGHAND_DRAIN_SECONDS="60") as server:
        _, _, go_on = await held_generation(server)
        other = await server.topic("Another topic")

        server.process.send(signal.SIGTERM)
        await server.process.line("Stopping after SIGTERM")
        refused = await server.http.post(f"/api/topics/{other}/generate")
        ready = await server.http.get("/readyz")
        go_on.set()
        exit_code = await server.process.wait()

        assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (
            503, "shutting_down", "10"
        )  # fmt: skip
        assert ready.status_code == 503
        assert exit_code == 0
        assert await server.rows("SELECT status FROM generations") == [{"status": "completed"}]


async def test_a_drain_takes_no_longer_than_the_setting_says(start: Start) -> None:
    async with start(drain_seconds=0.5) as service:
        await held_generation(service)

        began = trio.current_time()
        await service.shut_down()

        assert 0.5 <= trio.current_time() - began < 0.5 + GRACE_SECONDS
        assert await service.rows("SELECT status FROM generations") == [{"status": "queued"}]


async def test_a_second_signal_ends_the_drain_and_further_ones_change_nothing(
    tmp_path: Path, claude: FakeClaude
) -> None:
    (tmp_path / "my.toml").write_text('bind = ["127.0.0.1:1"]\ngraceful_timeout = 1\n')
    async with serving(
        tmp_path / "data", claude, "--config", str(tmp_path / "my.toml"), LONGHAND_DRAIN_SECONDS="3600"
    ) as server:
        await held_generation(server)
        async with await half_a_request(server):  # so that the stop takes its time
            server.process.send(signal.SIGTERM)
            await server.process.line("Stopping after SIGTERM")
            server.process.send(signal.SIGINT)
            await server.process.line("Stopping after SIGINT")
            server.process.send(signal.SIGTERM)
            exit_code = await server.process.wait()

        assert exit_code == 0
        assert "Traceback" not in server.process.errors
        assert await server.rows("SELECT status FROM generations") == [{"status": "queued"}]


async def half_a_request(server: Server) -> trio.SocketStream:
    """Send a request whose body never comes, and wait until the server waits for it."""
    url = httpx2.URL(server.url)
    stream = await trio.open_tcp_stream(url.host, url.port or 0)
    await stream.send_all(
        b"POST /api/topics HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
        b"Expect: 100-continue\r\nAuthorization: Bearer " + ADMIN_TOKEN.encode() + b"\r\n\r\n"
    )
    assert b" 100 " in await stream.receive_some()
    return stream


def test_a_crash_ends_it_with_1_and_one_plain_line_and_the_log_says_where(
    serve_here: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_directory(tmp_path / "data")
    with closing(open_database(tmp_path / "data" / DATABASE)) as db:
        user = users.add_user(db, "kim", is_admin=False)
        assert user is not None
        topic = topics.add_topic(db, user.id, "A topic", "", "en")
        acceptance.accept_generation(db, topic.id, Order(), "claude", StatusName.QUEUED, None)
        db.execute("UPDATE generations SET kind = 'poem'")  # what no Longhand has ever written

    result = serve_here(
        "--bind", "127.0.0.1:0", LONGHAND_ADMIN_TOKEN=ADMIN_TOKEN, ANTHROPIC_BASE_URL="http://127.0.0.1:9"
    )

    assert result.exit_code == 1
    assert in_one_line(result) == "longhand: The server crashed; the log says where."
    (record,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "'poem' is not a valid Kind" in caplog.text
    assert record.exc_info is not None
    assert "Running on" not in caplog.text


async def test_what_crashes_it_comes_out_of_serve_as_it_is(settings: Callable[..., Settings]) -> None:
    async def crash() -> None:
        raise RuntimeError("this is a bug")

    with pytest.RaisesGroup(RuntimeError, flatten_subgroups=True):
        await serve(settings(), load_config(None, "127.0.0.1:0"), None, crash)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_hypercorns_own_command_serves_it_as_well(
    tmp_path: Path, claude: FakeClaude, number: signal.Signals
) -> None:
    arguments = ("--config", str(ROOT / "hypercorn.toml"), "--bind", "127.0.0.1:0", "app.main:app")
    variables = {
        "ANTHROPIC_API_KEY": "test-key",
        "ANTHROPIC_BASE_URL": claude.url,
        "LONGHAND_ADMIN_TOKEN": ADMIN_TOKEN,
        "LONGHAND_DATA_DIR": "here",
        "LONGHAND_DRAIN_SECONDS": "0",
    }
    async with (
        started(*arguments, cwd=tmp_path, module="hypercorn", variables=variables) as process,
        http_client({"Authorization": f"Bearer {ADMIN_TOKEN}"}, await process.url()) as http,
    ):
        service = Service(str(http.base_url), settings_for(tmp_path / "here", claude.url), claude, http)
        topic_id = await service.topic()
        await service.generate(topic_id)
        assert (await service.ended(topic_id))["status"] == "completed"

        process.send(number)
        assert await process.wait() == 0
        assert "Traceback" not in process.errors


# Who may sign in


async def test_the_first_start_with_nothing_set_prints_a_sign_in_and_serves_offline_drafts(
    tmp_path: Path, claude: FakeClaude
) -> None:
    nothing = {"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": "", "LONGHAND_ADMIN_TOKEN": ""}
    async with serving(tmp_path / "data", claude, **nothing) as server:
        (token,) = SIGN_IN.findall(server.process.errors)
        assert f"Open this link to sign in with a browser: {server.url}/sign-in#{token}\n" in server.process.errors
        assert "No ANTHROPIC_API_KEY is set: the built-in offline writer serves" in server.process.errors
        async with server.client(token) as server.http:
            topic_id = await server.topic("Tides", plan="## One", language="en")
            await server.generate(topic_id)
            status = await server.ended(topic_id)
            report = await server.http.get(f"/api/artifacts/{status['artifact_id']}/download")
        server.process.send(signal.SIGTERM)
        assert await server.process.wait() == 0

    assert (status["status"], status["model"]) == ("completed", "offline")
    assert "**Offline draft**" in report.text
    assert "model=offline" in server.process.errors
    assert token.encode() not in b"".join(content_of(tmp_path))
    assert await announced(load_settings({"LONGHAND_DATA_DIR": str(tmp_path / "data")})) == [
        "No ANTHROPIC_API_KEY is set: the built-in offline writer serves, and makes practice drafts."
    ]


def content_of(directory: Path) -> Iterator[bytes]:
    return (path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def announced(settings: Settings) -> list[str]:
    """Start the service in this process, and return what it has to say to a person."""
    told: list[str] = []
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        await nursery.start(partial(serve, settings, load_config(None, "127.0.0.1:0"), told.append, stop.wait))
        stop.set()
    return told


async def test_the_environments_admin_token_works_until_it_is_another_one(start: Start) -> None:
    first, second = "the-first-token-of-all", "the-second-token-of-all"

    async with start(admin_token=first) as service, service.client(first) as http:
        assert (await http.get("/api/topics")).status_code == 200

    async with start(admin_token=second) as service, service.client(first) as old, service.client(second) as new:
        assert (await old.get("/api/topics")).status_code == 401
        assert (await new.get("/api/topics")).status_code == 200
