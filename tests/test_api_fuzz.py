"""The API against its own description: schemathesis makes requests of every kind, good and bad, with every check on.

`tests/schemathesis.toml` says how many, and which check does not apply to what.
"""

import re
import subprocess
import sys
from pathlib import Path

import trio

from tests.claude import FakeClaude, Script
from tests.process import serving
from tests.service import ADMIN_TOKEN

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("st")
PHASES = ("Examples", "Coverage", "Fuzzing", "Stateful")
PATIENCE_SECONDS = 420


async def test_the_api_does_what_its_description_says_whatever_is_sent(tmp_path: Path, claude: FakeClaude) -> None:
    async with serving(tmp_path / "data", claude) as server:
        written, being_written = await server.topic("Written"), await server.topic("Being written")
        await server.generate(written)
        assert (await server.ended(written))["artifact_id"] == 1
        claude.script(Script(hold=trio.Event(), hold_at=1))
        await server.generate(being_written)

        with trio.fail_after(PATIENCE_SECONDS):
            done = await trio.run_process(
                [
                    *(SCHEMATHESIS, "--config-file", CONFIG, "run", f"{server.url}/openapi.json"),
                    *("--checks", "all", "--phases", ",".join(PHASES).lower(), "--continue-on-failure"),
                    *("--header", f"Authorization: Bearer {ADMIN_TOKEN}", "--warnings", "off", "--no-color"),
                ],
                cwd=tmp_path,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )

        report = done.stdout.decode()
        assert done.returncode == 0, report
        assert all(f"✅ {phase}" in report for phase in PHASES), report
        assert re.search(r"Operations: +(\d+) selected / \1 total", report), report
        assert " 500 " not in server.process.errors
