"""What the doctor looks at through a server's address: is it there, is it well, does it take the token, do its event
streams come through."""

from app import __version__
from app.client import Client, ClientError, LonghandProblem
from app.terminal.checks import Finding, Level, found
from app.terminal.login import Login, login_file, stored_login

STREAM_SECONDS = 5.0
SLOW_SECONDS = 2.0


def of_login() -> Finding | None:
    """Look at what `longhand login` has stored; None where that is nothing."""
    if stored_login() is None:
        return None
    path = login_file()
    if path.stat().st_mode & 0o077:
        return found("login", f"Others may read {path}.", Level.PROBLEM, f"chmod 600 {path}, and change the token.")
    return found("login", f"{path}, yours alone.")


async def of_server(login: Login) -> list[Finding]:
    """Look at a server from here; what cannot be looked at any more is left out."""
    async with Client(login.url, login.token, patience=0) as client:
        try:
            findings = [_version(await client.version())]
        except ClientError as error:
            return [found("server", str(error), Level.PROBLEM, "Without a server, nothing more can be looked at.")]
        findings.append(await _ready(client))
        token = await _token(client, login)
        findings.append(token)
        if token.level is Level.OK:
            findings.append(await _stream(client))
        return findings


def _version(version: str) -> Finding:
    if version != __version__:
        told = f"Longhand {version} answers; this is {__version__}."
        return found("server", told, Level.WARNING, "Use the same version on both sides.")
    return found("server", f"Longhand {version} answers.")


async def _ready(client: Client) -> Finding:
    try:
        await client.ready()
    except ClientError as error:
        return found("ready", str(error), Level.PROBLEM, "The server's log says why.")
    return found("ready", "It can work.")


async def _token(client: Client, login: Login) -> Finding:
    if not login.token:
        return found("token", "There is none.", Level.PROBLEM, "Run 'longhand login', or set LONGHAND_TOKEN.")
    try:
        await client.topics(most=1)
    except LonghandProblem as problem:
        if problem.status == 401:
            advice = "'longhand token add NAME' on the server makes another one."
            return found("token", "The server does not take it.", Level.PROBLEM, advice)
        return found("token", str(problem), Level.PROBLEM, "The server's log says more.")
    except ClientError as error:
        return found("token", str(error), Level.PROBLEM, "Try again.")
    return found("token", "The server takes it.")


async def _stream(client: Client) -> Finding:
    advice = (
        "Switch buffering off in the proxy for these answers (nginx: proxy_buffering off; it also heeds our "
        "X-Accel-Buffering: no), and compression of text/event-stream."
    )
    try:
        seconds = await client.first_byte(STREAM_SECONDS)
    except ClientError as error:
        return found("event stream", str(error), Level.PROBLEM, advice)
    if seconds is None:
        told = f"No byte in {STREAM_SECONDS:.0f} s: something between here and the server holds event streams back."
        return found("event stream", told, Level.PROBLEM, advice)
    told = f"The first byte came after {seconds * 1000:.0f} ms."
    return found("event stream", told, Level.WARNING if seconds > SLOW_SECONDS else Level.OK, advice * (seconds > 2))
