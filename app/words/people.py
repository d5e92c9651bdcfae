"""Words about people: signing in, the account, the administration."""

WORDS: dict[str, tuple[str, str]] = {}
