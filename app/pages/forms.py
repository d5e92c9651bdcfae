"""Forms: what was sent, checked by the models of the API, and each fault in the words of the page."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from app.errors import Problem
from app.routes.body import Body
from app.words import Words

B = TypeVar("B", bound=Body)

Sent = Mapping[str, str]

LANGUAGES = {
    "ko": "한국어", "en": "English", "ja": "日本語", "zh": "中文", "de": "Deutsch", "fr": "Français", "es": "Español",
    "pt": "Português", "vi": "Tiếng Việt", "id": "Bahasa Indonesia",
}  # fmt: skip
"""The languages of a report that are offered by name, each in its own words."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a field, in the words of the page."""

    field: str
    sentence: str


class Faulty(Exception):
    """A form that does not fit; the page is shown again with what was sent."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults


def checked(model: type[B], given: Mapping[str, object], t: Words) -> B:
    """Check what a form sends by a model of the API. Raises Faulty."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise Faulty([_fault(fault, t) for fault in error.errors(include_url=False)]) from error


def _fault(fault: Any, t: Words) -> Fault:
    field = str(fault["loc"][0])
    match field, fault["type"]:
        case "topic", "string_too_short" | "too_short":
            return Fault(field, t("error_topic_missing"))
        case _, "string_too_long" | "too_long":
            return Fault(field, t(f"error_{field}_long", count=len(fault["input"])))
        case "language", _:
            return Fault(field, t("error_language"))
        case "mode" | "model", _:
            return Fault(field, t(f"error_{field}"))
        case _:
            return Fault(field, t("error_character"))


def answer_of(problem: Problem, t: Words) -> str | None:
    """Return what is said beside the button that was pressed; None where the page has no words of its own for it."""
    key = f"answer_{problem.code}"
    return t(key) if t.has(key) else None


def new_key() -> str:
    """Make the idempotency key of one form."""
    return secrets.token_urlsafe(18)


def language_choices(chosen: str) -> dict[str, str]:
    """Return the languages to choose from, by tag; a topic's own is always there."""
    return LANGUAGES if chosen in LANGUAGES else LANGUAGES | {chosen: chosen}
