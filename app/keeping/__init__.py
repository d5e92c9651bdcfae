"""What is kept, looked after: `longhand backup`, `restore` and `check`.

`database` opens one from outside, `archive` is the format of a backup, `check` finds what is wrong and `mend` repairs
it; `command` is the command line. All of it blocks: it runs in a process of its own, beside the server or without one.
"""

from app.errors import LonghandError


class KeepingFailed(LonghandError):
    """What was asked for did not come about; the text says why. Nothing was changed."""


def one_line(text: object) -> str:
    """Return what came from a file as it may be shown: in one line, with nothing that a terminal obeys."""
    shown = "".join(letter if letter.isprintable() or letter.isspace() else "?" for letter in str(text))
    return " ".join(shown.split())
