"""The words of the page, in Korean and English: pure, one dictionary a subject, each key in both languages."""

from functools import cache
from string import Formatter
from typing import Any

from markupsafe import Markup, escape

from app.words import common, live, people, topic, topics

LANGUAGES = ("ko", "en")
"""The languages of the page, in the order in which the dictionaries hold them."""

SUBJECTS = (common.WORDS, topics.WORDS, topic.WORDS, live.WORDS, people.WORDS)


class _Filler(Formatter):
    """Fills in values: whole numbers with separators, and a word by number: `{count:report|reports}`."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if "|" in format_spec:
            one, many = format_spec.split("|")
            return one if value == 1 else many
        return (
            f"{value:,}"
            if isinstance(value, int) and not format_spec
            else str(super().format_field(value, format_spec))
        )


class Words:
    """The words of one language: `words("ko")("kept", count=8123)`."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = {key: texts[LANGUAGES.index(language)] for subject in SUBJECTS for key, texts in subject.items()}

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of a key with its values filled in. Raises KeyError for one that is not there.

        Where a value is markup, such as a `<time>`, so is the text.
        """
        text = self._texts[key]
        if any(isinstance(value, Markup) for value in values.values()):
            return escape(text).format(**values)
        return _FILLER.vformat(text, (), values) if values else text

    def has(self, key: str) -> bool:
        """Say whether there is such a key."""
        return key in self._texts

    @property
    def live(self) -> dict[str, str]:
        """What the modules say by themselves, with the places of values left open."""
        return {key: self._texts[key] for key in live.WORDS}


_FILLER = _Filler()


@cache
def words(language: str) -> Words:
    """Return the words of `ko` or `en`."""
    return Words(language)
