"""Keeps secrets out of what is written down: exact ones that the settings hold, and whatever has the shape of one."""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "[redacted]"

SHORTEST = 6
"""A value shorter than this is no secret; to look for it would blot out words."""

SHAPES = re.compile(
    r"""
    sk-ant-[\w-]+ | lh_[\w-]{20,}                               # a key for Claude, an access token of ours
    | (?<=://)[^\s/@'"\\]+(?=@)                                 # the user and the password in an address
    | \b(?:set-)?cookie\b\\?['"]?\s*[:=,]\s*(?:b(?=\\?['"]))?\\?['"]?[^'"\\\r\n]+
    | \b(?:authorization|x-api-key)\b\\?['"]?\s*[:=,]\s*(?:b(?=\\?['"]))?\\?['"]?(?:(?:bearer|basic)\s+)?[^\s'"\\,\])}]+
    | \b(?:bearer|basic)\s+[^\s'"\\,\])}]+
    | (?<=[\w/%.~-])\?[\w%.~+-]+=[^\s'"\\<>)]*                  # the query of an address
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What is a secret by its shape alone. No quote and no backslash is taken along: what is left of JSON stays JSON."""

MARKS = ("sk-ant-", "lh_", "://", "cookie", "authorization", "x-api-key", "bearer", "basic", "?")
"""One of these stands in whatever SHAPES matches; to look for them costs a tenth."""


class Redactor:
    """Replaces secrets in text.

    Promises: no value that was handed in comes through, be it as it is or as JSON, `repr` or a URL writes it; nor does
    a key for Claude, an access token of ours, a header with credentials, or the query of an address. A line of JSON
    stays one.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
        self._exact = sorted(forms, key=len, reverse=True)  # the longest first, so that no half of one is left

    def __call__(self, text: str) -> str:
        """Return the text without the secrets in it."""
        for secret in self._exact:
            text = text.replace(secret, MASK)
        lowered = text.lower()
        return SHAPES.sub(MASK, text) if any(mark in lowered for mark in MARKS) else text


def _forms(secret: str) -> set[str]:
    """Return a secret in the forms in which it may be quoted."""
    return {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")}
