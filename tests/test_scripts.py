"""The scripts: what can be checked of them without setting anything up."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.process import NONE, ROOT, environment

SCRIPTS = (*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci" / "run")


def is_set_up() -> bool:
    """Tell whether `scripts/setup` has nothing to do: the last lines of its stamp say from what and for what."""
    stamp = ROOT / ".venv" / ".stamp"
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return stamp.exists() and digest in stamp.read_text().splitlines()


def test_there_is_a_script_for_each_thing_that_a_person_does() -> None:
    names = {"bench", "browser", "check", "mutate", "serve", "setup", "test", "write", "run"}
    assert {path.name for path in SCRIPTS} == names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_run_and_its_shell_understands_it(script: Path) -> None:
    shell = script.read_text().splitlines()[0].removeprefix("#!").removeprefix("/usr/bin/env ")

    assert os.access(script, os.X_OK)
    assert shell in {"/bin/sh", "bash"}
    assert subprocess.run([shell, "-n", script], check=True, capture_output=True).stderr == b""


@pytest.mark.skipif(not is_set_up(), reason="scripts/setup would build .venv")
@pytest.mark.parametrize("name", ["serve", "write", "bench"])
def test_a_script_runs_the_command_of_its_name_from_wherever_one_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(ROOT / "scripts" / name)

    done = subprocess.run(
        [tmp_path / "link", "--help"], cwd=tmp_path, env=environment(NONE), check=True, capture_output=True, text=True
    )

    assert done.stdout.startswith(f"Usage: longhand {name} [OPTIONS]")
    assert list(tmp_path.iterdir()) == [tmp_path / "link"]
