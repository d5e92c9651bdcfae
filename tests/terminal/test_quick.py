"""What a command does not need, it does not import; what its help says, it says of itself."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from app.cli import LATER, main
from app.terminal.codes import CODES
from tests.process import environment

HEAVY = {"anthropic", "hypercorn", "starlette", "jinja2"}

IMPORTED = """
import sys
from app.cli import main
try:
    main({arguments!r}, prog_name="longhand")
except SystemExit:
    pass
print(sorted(name for name in sys.modules if name in {heavy!r} or name in ("app.server", "app.main")), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list"], ["status", "1"], ["watch", "1"], ["cancel", "1"], ["write", "A topic"], ["login"]],
)
def test_neither_the_sdk_nor_the_server_is_imported_for_what_a_server_does(
    tmp_path: Path, arguments: list[str]
) -> None:
    variables = {"LONGHAND_URL": "http://127.0.0.1:9", "LONGHAND_TOKEN": "token"}

    done = subprocess.run(
        [sys.executable, "-c", IMPORTED.format(arguments=arguments, heavy=HEAVY)],
        cwd=tmp_path, env=environment(variables), capture_output=True, text=True, timeout=60, check=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip

    assert done.stderr.splitlines()[-1] == "[]"


def test_the_client_imports_nothing_else_of_longhand(tmp_path: Path) -> None:
    code = "import sys, app.client; print(sorted(n for n in sys.modules if n.startswith('app')))"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment({}), capture_output=True, text=True, check=True
    )

    assert all(name.startswith("'app.client") for name in done.stdout.strip("[]\n").split(", ")[1:])


@pytest.mark.parametrize("name", LATER)
def test_the_line_of_help_is_the_commands_own(name: str) -> None:
    module, attribute, told = LATER[name]
    command: click.Command = getattr(import_module(module), attribute)

    assert command.get_short_help_str(200).startswith(told.rstrip("."))
    assert command.name == name


def test_the_help_tells_every_exit_code() -> None:
    epilog = main.epilog or ""

    assert all(f"  {code:<3}  {meaning}" in epilog for code, meaning in CODES.items())
