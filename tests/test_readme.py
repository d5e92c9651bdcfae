"""The README says what is so: every route, setting, command and dependency stands in it, and its examples run."""

import re
import subprocess
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
import trio
from starlette.routing import Route

from app.cli import main
from app.errors import Failure, Problem
from app.main import create_app
from app.openapi.build import API
from app.settings import Settings
from app.terminal.codes import CODES
from tests.client.both import run_on
from tests.service import ADMIN_TOKEN, Service

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")


def commands(group: click.Group, names: str = "longhand") -> list[str]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        below = commands(command, f"{names} {name}") if isinstance(command, click.Group) else [f"{names} {name}"]
        found.extend(below)
    return found


def test_every_call_of_the_api_stands_in_the_readme() -> None:
    app = create_app(Settings(), None)

    missing = [
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, Route) and API.fullmatch(route.path)
        for method in sorted((route.methods or set()) - {"HEAD"})
        if not re.search(rf"`[A-Z`, ]*{method}[A-Z`, ]* {re.escape(re.sub(r':.*?}', '}', route.path))}`", README)
    ]

    assert not missing


def test_every_setting_stands_in_the_readme_with_its_default() -> None:
    for field in Settings.model_fields.values():
        row = re.search(rf"^\| `{field.alias}` \| (.*?) \| .+ \|$", README, re.MULTILINE)
        assert row, field.alias
        if isinstance(field.default, int | float):
            assert row[1] == f"{field.default:g}"


def test_every_command_stands_in_the_readme() -> None:
    missing = [
        name for name in commands(main) if name not in README and name.replace("longhand ", "scripts/") not in README
    ]

    assert not missing


def test_every_dependency_stands_in_the_readme_with_what_it_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]

    table = README[README.index("## What it is made of") :]

    assert not [name for line in needed if (name := re.split(r"[<>=]", line)[0]) not in table]


def test_every_error_code_stands_in_the_operators_page_with_what_to_do() -> None:
    classes = [*kinds(Problem), *kinds(Failure)]

    missing = {kind.code for kind in classes if f"`{kind.code}`" not in OPERATING}

    assert len(classes) > 20
    assert not missing


def test_every_finding_of_the_check_stands_in_the_operators_page() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app" / "keeping").glob("*.py"))
    codes = set(re.findall(r'Finding\("(\w+)"', source)) | set(re.findall(r'yield "(\w+)"', source))

    assert len(codes) > 8
    assert not {code for code in codes if f"`{code}`" not in OPERATING}


def kinds(of: type[Any]) -> list[type[Any]]:
    """Return every class below one."""
    return [kind for below in of.__subclasses__() for kind in (below, *kinds(below))]


def test_every_exit_code_stands_in_the_readme_as_the_help_says_it() -> None:
    section = README[README.index("## In a terminal") : README.index("## In a Python program")]

    rows = re.findall(r"^\| \d+ \| .+ \|$", section, re.MULTILINE)

    assert rows == [f"| {code} | {meaning} |" for code, meaning in CODES.items()]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
async def test_the_program_of_the_readme_runs(
    service: Service, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    section = README[README.index("## In a Python program") :]
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0], names)

    report = await run_on(backend, partial(names["report"], service.url, ADMIN_TOKEN))

    assert report.startswith("# A report")
    assert capsys.readouterr().out == report


async def test_the_first_report_with_curl_works_as_the_readme_says(service: Service) -> None:
    section = README[README.index("## The server") : README.index("### Users")]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    post_topic, generate, status, download = blocks[1].strip().split("\n\n")

    async def run(command: str) -> str:
        command = command.replace("localhost:8000", service.url.removeprefix("http://"))
        done = await trio.run_process(
            ["sh", "-c", command.replace("curl ", "curl -sS --fail-with-body ")],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            env={"TOKEN": ADMIN_TOKEN, "PATH": "/usr/bin:/bin"},
        )
        return done.stdout.decode()

    assert '"status":"idle"' in await run(post_topic)
    assert '"status":"generating"' in await run(generate)
    await service.ended(1)
    assert '"status":"completed"' in await run(status)
    assert (await run(download)).startswith("# A report")
