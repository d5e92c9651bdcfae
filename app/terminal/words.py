"""Text that is safe to show, and values as a person reads them. Pure functions."""

import json
import re
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

from app.client import Status

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What a terminal would act on, or would turn the reading of what follows: all but newline and tab."""


def clean(text: str) -> str:
    """Return a text whose control characters can be seen and do nothing."""
    return UNSAFE.sub(_picture, text)


def one_line(text: str) -> str:
    """Return a text that is safe, on one line."""
    return clean(" ".join(text.split()))


def encoded(value: Any) -> str:
    """Write JSON as the API does, with times in RFC 3339; what is not safe to show is escaped."""
    text = json.dumps(plain(value), ensure_ascii=False, default=_time)
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def plain(value: Any) -> Any:
    """Turn a noun, or a list of nouns, into what JSON can hold."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def sentence(status: Status, moment: datetime) -> str:
    """Say in one line where a report stands."""
    parts = [step(status), f"{status.progress_percent} %"]
    if status.characters:
        parts.append(counted(status.characters, "character"))
    parts += details(status, moment)
    if status.error_message:
        parts.append(one_line(status.error_message))
    return ", ".join(parts)


def step(status: Status) -> str:
    """Return what is being done, or how it ended."""
    return clean((status.phase or status.status) if status.unfinished else status.status)


def details(status: Status, moment: datetime) -> list[str]:
    """Return what else there is to tell: sections, tokens, and the time that is left."""
    found = []
    if status.sections_total:
        found.append(f"{status.sections_done}/{status.sections_total} sections")
    tokens = (status.usage.input_tokens or 0) + (status.usage.output_tokens or 0)
    if tokens:
        found.append(counted(tokens, "token"))
    until = status.retry_at or status.estimated_completion
    if status.unfinished and until is not None:
        word = "until Claude takes more" if status.retry_at else "left"
        found.append(f"{duration((until - moment).total_seconds())} {word}")
    return found


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def now() -> datetime:
    return datetime.now(UTC)


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z"
    raise TypeError(f"{value!r} is no JSON")


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
