"""Passwords: hashed with Argon2id, compared in a time that does not tell whether there is such a user."""

import re
import unicodedata
from typing import NamedTuple

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

FEWEST, MOST = 10, 200
"""Characters of a password, after normalising to NFC."""

HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1, hash_len=32, salt_len=16, type=Type.ID)
"""More than OWASP asks for (Password Storage Cheat Sheet): 64 MiB and three passes, in one thread."""

NOBODYS = "$argon2id$v=19$m=65536,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""What is compared where a user has no password, or there is no such user: it costs the same, and nothing fits."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class PasswordUnfit(ValueError):
    """Raised for what cannot be a password; `fault` is `short`, `long` or `characters`."""

    def __init__(self, fault: str, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = fault


class Verdict(NamedTuple):
    """Whether a password is right; `fresh` is its hash made anew, where the one that is kept should be replaced."""

    right: bool
    fresh: str | None = None


def normalised(password: str) -> str:
    """Return a password as it is hashed. Raises PasswordUnfit."""
    text = password if len(password) > MOST * 4 else unicodedata.normalize("NFC", password)
    if len(text) > MOST:
        raise PasswordUnfit("long", f"a password has at most {MOST} characters")
    if len(text) < FEWEST:
        raise PasswordUnfit("short", f"a password has at least {FEWEST} characters")
    if CONTROL.search(text):
        raise PasswordUnfit("characters", "a password holds no control characters")
    return text


def hashed(password: str, hasher: PasswordHasher = HASHER) -> str:
    """Hash a password; blocks for some 100 ms. Raises PasswordUnfit."""
    return hasher.hash(normalised(password))


def verified(password: str, kept: str | None, hasher: PasswordHasher = HASHER) -> Verdict:
    """Compare a password with the hash that is kept; blocks for some 100 ms.

    Promise: where there is none, or the password cannot be one, the same work is done.
    """
    try:
        text = normalised(password)
    except PasswordUnfit:
        text, kept = "", None
    try:
        hasher.verify(kept or NOBODYS, text)
    except (VerificationError, InvalidHashError):
        return Verdict(right=False)
    return Verdict(right=True, fresh=hasher.hash(text) if hasher.check_needs_rehash(kept or NOBODYS) else None)
