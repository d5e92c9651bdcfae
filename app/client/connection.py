"""Requests that are made again where that is safe, within a bound."""

import ssl
from collections.abc import Iterator, Mapping
from random import SystemRandom
from typing import Any, Self

import httpx2
from anyio import current_time, sleep

from app.client.address import base_url, checked_token, is_local, refusal, unreachable
from app.client.errors import ClientError, LonghandProblem, NotLonghand, heals

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
LONGEST_PAUSE = 30.0

NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""After these, the server knows nothing of the request."""

_random = SystemRandom()


class Connection:
    """The way to one server.

    Promises:
    - A request that is safe to repeat (`again`) is repeated where that may help, for `patience` seconds; every other
      one only where the server has never seen it.
    - An address that has never answered is told at once: that is a mistake more often than an outage.
    - No proxy is asked for what stays on this machine; no redirect carries the token away.
    """

    def __init__(self, url: str, token: str, patience: float) -> None:
        self.url = base_url(url)
        self.patience = patience
        self.reached = False
        local = is_local(self.url.host)
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {checked_token(token)}"} if token else {},
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=not local,
            verify=_no_certificates() if self.url.scheme == "http" and local else True,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()

    async def ask(
        self, method: str, path: str, body: Any = None, *,
        params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None,
        again: bool = True, patience: float | None = None, seconds: float = ANSWER_SECONDS,
    ) -> httpx2.Response:  # fmt: skip
        """Make a request and return its answer, a success or a 304. Raises ClientError."""
        timeout = httpx2.Timeout(seconds, connect=CONNECT_SECONDS)
        request = self._http.build_request(
            method, path, json=body, params=params, headers=dict(headers or {}), timeout=timeout
        )
        give_up_at = current_time() + (self.patience if patience is None else patience)
        for number, pause in enumerate(pauses()):
            try:
                return await self.send(request)
            except ClientError as error:
                error.repeated = number > 0
                wait = max(pause, getattr(error, "retry_after", None) or 0.0)
                if not self._may_repeat(error, again=again) or current_time() + wait > give_up_at:
                    raise
            await sleep(wait)
        raise AssertionError("the pauses never end")

    async def send(self, request: httpx2.Request, *, stream: bool = False) -> httpx2.Response:
        """Make a request once. Raises ClientError for everything but a success and a 304."""
        try:
            answer = await self._http.send(request, stream=stream)
            self.reached = True
            if answer.is_success or answer.status_code == httpx2.codes.NOT_MODIFIED:
                return answer
            await answer.aread()
        except httpx2.TransportError as error:
            raise unreachable(error, self.url) from error
        raise refusal(answer, self.url)

    def stream_request(self, path: str, params: Mapping[str, Any], last_id: str | None, quiet: float) -> httpx2.Request:
        """Make the request for an event stream that is dead after `quiet` seconds without a byte."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        timeout = httpx2.Timeout(quiet, connect=CONNECT_SECONDS)
        return self._http.build_request("GET", path, params=params, headers=headers, timeout=timeout)

    def _may_repeat(self, error: ClientError, *, again: bool) -> bool:
        if not self.reached or not heals(error):
            return False
        if isinstance(error, LonghandProblem):
            return again and error.retry_after is not None
        return again or isinstance(error.__cause__, NEVER_SENT)

    def data(self, answer: httpx2.Response) -> Any:
        """Return the document of a successful answer. Raises NotLonghand."""
        return self.document(answer)["data"]

    def document(self, answer: httpx2.Response) -> dict[str, Any]:
        """Return the whole of a successful answer. Raises NotLonghand."""
        try:
            document = answer.json()
        except ValueError:
            document = None
        if isinstance(document, dict) and "data" in document:
            return document
        raise NotLonghand(f"What answers at {self.url} is not Longhand. Check the address, and the path in it.")


def pauses(first: float = 0.5) -> Iterator[float]:
    """Give pauses that grow, each with jitter, so that not all clients come back together."""
    while True:
        yield first * _random.uniform(1.0, 1.5)
        first = min(first * 2, LONGEST_PAUSE)


def _no_certificates() -> ssl.SSLContext:
    """Return a context that trusts nobody: to load certificates takes 20 ms, and there is no TLS here."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
