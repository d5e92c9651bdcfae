"""A small Messages API server, true to the wire, that does what the test says.

    async with claude_server() as claude:
        claude.script(Script(hold=go, hold_at=1), Script.error(529, "overloaded_error", "Overloaded"))
        ...  # AsyncAnthropic(api_key="test", base_url=claude.url, max_retries=0)
        call = await claude.next_call()
        await call.held.wait()  # exactly one delta was sent
        go.set()

`python -m tests.claude --help` runs it as a process of its own.
"""

from tests.claude.call import Call, Ending
from tests.claude.script import (
    BEFORE_HEADERS,
    BEFORE_MESSAGE,
    Chooser,
    Fault,
    Script,
    continuing,
    numbered_text,
    sentence_numbers,
)
from tests.claude.server import FakeClaude, claude_server, serve_claude

__all__ = [
    "BEFORE_HEADERS",
    "BEFORE_MESSAGE",
    "Call",
    "Chooser",
    "Ending",
    "FakeClaude",
    "Fault",
    "Script",
    "claude_server",
    "continuing",
    "numbered_text",
    "sentence_numbers",
    "serve_claude",
]
