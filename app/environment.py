"""The environment: the one place where it is read."""

import os
from pathlib import Path

from dotenv import dotenv_values

from app.errors import SettingsError


def environment() -> dict[str, str]:
    """Return the environment variables, over those of a `.env` file in the current directory. Raises SettingsError."""
    try:
        from_file = dotenv_values(".env")
    except (OSError, ValueError) as error:
        raise SettingsError(f"The file .env in {Path.cwd()} cannot be read: {error}.") from error
    return {name: value for name, value in from_file.items() if value is not None} | dict(os.environ)
