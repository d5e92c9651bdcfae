"""Refusals of what is over a bound, or not meant for this server: the part of the table that stands at the door."""

from collections.abc import Mapping

from app.errors import Problem


class UriTooLong(Problem):
    code, title, status = "uri_too_long", "Address too long", 414
    detail = "The path and the query have more than 8,192 bytes. Ask for less, or send it in the body."


class CsrfMissing(Problem):
    code, title, status = "csrf", "Not sent by a page of ours", 403
    detail = "A cookie alone changes nothing. Reload the page, or send its csrf token as 'X-CSRF-Token'."


class WrongHost(Problem):
    code, title, status = "wrong_host", "Wrong host", 421
    detail = "This server does not answer for the host that the request names. Check the address."


class RateLimited(Problem):
    """More requests than a limit allows: `wait` is how many seconds until the next one.

    `policy` and `state` are the values of RateLimit-Policy and RateLimit, where there is a quota to tell of.
    """

    code, title, status = "rate_limited", "Too many requests", 429
    detail = "More requests came than are allowed. Wait as long as the Retry-After header says."

    def __init__(self, wait: int = 1, policy: str = "", state: str = "") -> None:
        super().__init__()
        self._headers = {"Retry-After": str(wait)}
        if policy:
            self._headers |= {"RateLimit-Policy": policy, "RateLimit": state}

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers


class HeadersTooLarge(Problem):
    code, title, status = "headers_too_large", "Headers too large", 431
    detail = "The request has more than 100 headers, or more than 16 KiB of them. Send fewer."


class TooManyConnections(Problem):
    code, title, status = "too_many_connections", "Too many connections", 503
    detail = "The server has as many connections as it may. Close some, or try again in a moment."
    retry_after = 5
