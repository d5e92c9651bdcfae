"""Where the server is: its address as a person writes it, and what went wrong on the way there."""

import ssl
from ipaddress import ip_address

import httpx2

from app.client.errors import BROKEN_GATEWAYS, ClientError, LonghandProblem, NotLonghand, Unreachable

SENTENCES: tuple[tuple[type[httpx2.TransportError], str], ...] = (
    (httpx2.ConnectTimeout, "Nothing answers at {url}. Check the address, and that the network lets you there."),
    (httpx2.ConnectError, "There is no connection to {url}. Check the address, and that the server runs."),
    (httpx2.TimeoutException, "{url} took too long to answer. Try again."),
    (httpx2.ProxyError, "The proxy on the way to {url} refused."),
)


def base_url(text: str) -> httpx2.URL:
    """Read the server's address: `https://reports.example.org`, or `localhost:8000`. Raises ValueError."""
    text = text.strip()
    if "://" not in text:
        text = f"{'http' if is_local(text.split('/')[0].rpartition(':')[0] or text) else 'https'}://{text}"
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as error:
        raise ValueError(f"'{text}' is not an address: {error}.") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"'{text}' is not an address such as https://reports.example.org.")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("The address holds more than scheme, host, port and path; the token goes apart from it.")
    return url


def checked_token(token: str) -> str:
    """Return a token without the spaces around it. Raises ValueError for what can be none."""
    token = token.strip()
    if not all("!" <= character <= "~" for character in token):
        raise ValueError("The token is not one: it holds more than printable ASCII characters.")
    return token


def is_local(host: str) -> bool:
    """Whether a host is this machine, which no proxy stands before."""
    host = host.strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def unreachable(error: httpx2.TransportError, url: httpx2.URL) -> Unreachable:
    """Say what a broken connection most likely means, and what to do."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unreachable(f"The certificate of {url} is not valid for it: {cause.verify_message}.")
    if isinstance(cause, ssl.SSLError):
        return Unreachable(f"There is no https at {url}. Try {url.copy_with(scheme='http')}.")
    for kind, sentence in SENTENCES:
        if isinstance(error, kind):
            return Unreachable(sentence.format(url=url))
    more = f" If it speaks https, write {url.copy_with(scheme='https')}." if url.scheme == "http" else ""
    return Unreachable(f"The connection to {url} broke off.{more}")


def refusal(answer: httpx2.Response, url: httpx2.URL) -> ClientError:
    """Make what an answer that is no success means; its body has been read."""
    document = _document(answer)
    if isinstance(document, dict) and "code" in document:
        return LonghandProblem(answer.status_code, document, _retry_after(answer))
    told = f"{answer.status_code} {answer.reason_phrase}".strip()
    if answer.status_code in BROKEN_GATEWAYS:
        return Unreachable(f"What stands before Longhand at {url} cannot reach it ({told}). Check that it runs.")
    return NotLonghand(f"What answers at {url} is not Longhand ({told}).{_advice(answer, url)}")


def _advice(answer: httpx2.Response, url: httpx2.URL) -> str:
    secure = url.copy_with(scheme="https")
    if answer.is_redirect:
        location = httpx2.URL(str(url)).join(answer.headers.get("location", ""))
        if (location.scheme, location.host) == ("https", url.host) and url.scheme == "http":
            return f" It asks for https: write {secure if location.port == url.port else f'https://{location.host}'}."
        return f" It points to {location.copy_with(query=None, fragment=None)}: perhaps that is the address."
    if answer.status_code == httpx2.codes.BAD_REQUEST and "HTTPS" in answer.text:
        return f" It speaks https: write {secure}."
    return " Check the address, and the path in it."


def _document(answer: httpx2.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def _retry_after(answer: httpx2.Response) -> float | None:
    """Return the seconds of `Retry-After`; Longhand gives no dates there."""
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() else None
