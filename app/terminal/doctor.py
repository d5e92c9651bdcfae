"""`longhand doctor`: what is wrong, here and with the server, and what to do about it."""

import sys
from collections import Counter
from pathlib import Path

import anyio
import click
from rich.console import Console
from rich.text import Text

from app.errors import SettingsError
from app.options import DATA_DIR, settings_of
from app.terminal.call import JSON, TOKEN, URL
from app.terminal.checks import Finding, Level, found, of_claude, of_directory
from app.terminal.codes import FAILED
from app.terminal.login import named
from app.terminal.reach import of_login, of_server
from app.terminal.words import clean, counted, encoded, plain

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


@click.command()
@URL
@TOKEN
@JSON
@DATA_DIR
def doctor(url: str | None, token: str | None, *, as_json: bool, data_dir: Path | None) -> None:
    """Look for what is wrong, here and with the server.

    Here: the settings, the data directory, the database, the disk, the key and the models. With the server that is
    named: whether it answers, is ready, takes the token, and whether event streams come through at once. Nothing is
    changed, and no tokens are spent. Exit codes: 0 when there is no problem, 1 when there is one.
    """
    findings = examined(url, token, data_dir)
    if as_json:
        print(encoded({"ok": _well(findings), "checks": plain(findings)}))
    else:
        _print(findings)
    sys.exit(0 if _well(findings) else FAILED)


def examined(url: str | None, token: str | None, data_dir: Path | None) -> list[Finding]:
    """Look at everything and return what was found, in order."""
    findings = []
    try:
        settings = settings_of(data_dir)
        findings.append(found("settings", f"They hold. The model is {settings.model}."))
        findings += [*of_directory(settings.data_dir), *anyio.run(of_claude, settings)]
    except SettingsError as error:
        findings.append(found("settings", str(error), Level.PROBLEM, "The server does not start like this."))
    try:
        findings += filter(None, [of_login()])
        login = named(url, token)
    except SettingsError as error:
        return [*findings, found("login", str(error), Level.PROBLEM, "Name the server with --url.")]
    if login is None:
        return [*findings, found("server", "None is named: --url, LONGHAND_URL or 'longhand login'.")]
    return findings + anyio.run(of_server, login)


def _well(findings: list[Finding]) -> bool:
    return all(finding.level is not Level.PROBLEM for finding in findings)


def _print(findings: list[Finding]) -> None:
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        line = Text(f"{finding.level:<7}", STYLES[finding.level])
        line.append(f"  {clean(finding.check):<{width}}  {clean(finding.told)}", "")
        if finding.advice:
            line.append(f" {clean(finding.advice)}", "dim")
        console.print(line)
    counts = Counter(finding.level for finding in findings)
    problems, warnings = counted(counts[Level.PROBLEM], "problem"), counted(counts[Level.WARNING], "warning")
    console.print(f"{problems}, {warnings}.")
