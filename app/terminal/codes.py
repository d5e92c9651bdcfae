"""The exit codes that scripts can rely on."""

FAILED, WRONG_CALL, NO_SERVER, NOT_ALLOWED, NOT_FOUND, CONFLICT, LATER, INTERRUPTED = 1, 2, 3, 4, 5, 6, 7, 130

CODES = {
    0: "it worked",
    FAILED: "the report failed or was cancelled, or anything else went wrong",
    WRONG_CALL: "a wrong call or a wrong setting",
    NO_SERVER: "the server cannot be reached, or is not Longhand",
    NOT_ALLOWED: "not signed in, or not allowed",
    NOT_FOUND: "there is no such topic or report, or it is not yours",
    CONFLICT: "not now: a report is in progress, or there is nothing to cancel or to resume",
    LATER: "the server is full, limits you, or is about to stop: try again later",
    INTERRUPTED: "Ctrl-C (143: SIGTERM)",
}
"""What each exit code means; the help and the README say the same."""


def exit_codes() -> str:
    """Return the table for the help."""
    lines = [f"  {code:<3}  {meaning}" for code, meaning in CODES.items()]
    return "\b\n" + "\n".join(["Exit codes:", *lines])
