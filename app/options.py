"""What all commands take: where the data directory is, and the settings with it."""

from pathlib import Path

import click

from app.environment import environment
from app.settings import Settings, load_settings

DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where everything is kept, instead of LONGHAND_DATA_DIR or ./data.",
)


def settings_of(data_dir: Path | None) -> Settings:
    """Load the settings from the environment; an option goes before its variable."""
    chosen = {"LONGHAND_DATA_DIR": str(data_dir)} if data_dir else {}
    return load_settings(environment() | chosen)
