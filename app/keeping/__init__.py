"""What is kept, looked after: `longhand backup`, `restore` and `check`.

`database` opens one from outside, `archive` is the format of a backup, `check` finds what is wrong and `mend` repairs
it; `command` is the command line. All of it blocks: it runs in a process of its own, beside the server or without one.
"""

from app.errors import LonghandError


class KeepingFailed(LonghandError):
    """What was asked for did not come about; the text says why. Nothing was changed."""
