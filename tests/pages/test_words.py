"""The words of the page: both languages, the voice, no key too many and none too few."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

import app
from app.words import LANGUAGES, SUBJECTS, live, times, words

ROOT = Path(app.__file__).parent
TEMPLATES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "templates").iterdir()}
MODULES = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "static").glob("*.js"))
TEXTS = [(key, texts) for subject in SUBJECTS for key, texts in subject.items()]
ENDINGS = re.compile(r"니다(?![가-힣])")
PLACES = re.compile(r"\{(\w+)(?::[^}]*)?\}")
CALL = re.compile(r"""\bt\(\s*"([^"]+)"(\s*~)?""")


def test_every_key_has_both_languages_and_stands_once() -> None:
    keys = [key for key, _ in TEXTS]

    assert len(keys) == len(set(keys))
    for key, texts in TEXTS:
        assert len(texts) == len(LANGUAGES), key
        assert all(text.strip() == text and text.strip() for text in texts if key != "join"), key


def test_korean_is_polite_and_warm_throughout() -> None:
    assert [key for key, (korean, _) in TEXTS if ENDINGS.search(korean)] == []
    assert [key for key, texts in TEXTS for text in texts if "!" in text] == []


def test_both_languages_take_the_same_values() -> None:
    for key, (korean, english) in TEXTS:
        assert set(PLACES.findall(korean)) == set(PLACES.findall(english)), key


def test_no_particle_hangs_on_a_name_that_users_choose() -> None:
    for key, (korean, _) in TEXTS:
        assert not re.search(r"['‘“]?\{(topic|name|user|label)\}['’”]?(은|는|이|가|을|를|과|와)(?![가-힣])", korean), (
            key
        )


def used() -> tuple[set[str], set[str]]:
    """Return the keys that templates, pages and modules name, and the beginnings of those that they put together."""
    whole: set[str] = set(live.WORDS)
    begun: set[str] = set()
    for text in TEMPLATES.values():
        for key, joined in CALL.findall(text):
            (begun if joined else whole).add(key)
        whole.update(re.findall(r'"(\w+)"', text))
        begun.update(re.findall(r'"(\w+_)" ~', text))
    for path in (ROOT / "pages").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
                    begun.add(text)
                case ast.Constant(value=str(text)):
                    whole.add(text)
    return whole, {text for text in begun if text.endswith("_")}


def test_no_key_is_unused() -> None:
    whole, begun = used()

    assert [key for key, _ in TEXTS if key not in whole and not key.startswith(tuple(begun))] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_key_in_a_template_is_there(name: str) -> None:
    for key, joined in CALL.findall(TEMPLATES[name]):
        known = [other for other, _ in TEXTS if (other.startswith(key) if joined else other == key)]
        assert known, key


def test_values_are_filled_in() -> None:
    korean, english = words("ko"), words("en")

    assert korean("kept_text", characters=8123) == "8,123자"
    assert english("kept_text", characters=8123) == "8,123 characters"
    assert english("kept_text", characters=1) == "1 character"
    with pytest.raises(KeyError):
        english("nothing_of_the_kind")


def test_markup_stays_markup_and_the_rest_is_escaped() -> None:
    told = words("en")("sentence_waiting", clock=Markup("<time>3:50 pm</time>"))

    assert isinstance(told, Markup)
    assert "at <time>3:50 pm</time>." in told


NOW = "2026-11-03T06:45:00.000Z"


@pytest.mark.parametrize(
    ("moment", "form", "korean", "english"),
    [
        ("2026-11-03T06:42:10.000Z", "moment", "오늘 오전 6:42", "today 6:42 am"),
        ("2026-11-02T23:59:59.999Z", "moment", "어제 오후 11:59", "yesterday 11:59 pm"),
        ("2026-11-03T12:05:00.000Z", "clock", "오후 12:05", "12:05 pm"),
        ("2026-11-03T00:05:00.000Z", "clock", "오전 12:05", "12:05 am"),
        ("2026-01-09T06:42:10.000Z", "day", "1월 9일", "9 Jan"),
        ("2025-12-31T15:00:00.000Z", "moment", "2025년 12월 31일 오후 3:00", "31 Dec 2025 3:00 pm"),
    ],
)
def test_times_are_said_as_people_say_them(moment: str, form: times.Form, korean: str, english: str) -> None:
    assert times.said("ko", moment, NOW, form) == korean
    assert times.said("en", moment, NOW, form) == english


@pytest.mark.parametrize(
    ("seconds", "korean", "english"),
    [
        (0.2, "1초", "1 s"),
        (45, "45초", "45 s"),
        (59.7, "1분", "1 min"),
        (360, "6분", "6 min"),
        (3599, "1시간", "1 h"),
        (3600, "1시간", "1 h"),
        (3900, "1시간 5분", "1 h 5 min"),
        (36_000_000, "10,000시간", "10,000 h"),
    ],
)
def test_durations_are_said_in_one_or_two_units(seconds: float, korean: str, english: str) -> None:
    assert times.duration("ko", seconds) == korean
    assert times.duration("en", seconds) == english


@given(st.floats(min_value=0, max_value=10_000_000))
def test_no_duration_says_sixty_of_anything(seconds: float) -> None:
    assert not re.search(r"(?<![\d,])(0|60)(?: ?(s|min)|초|분)", times.duration("en", seconds))


def test_time_left_goes_in_whole_minutes_then_in_fives_and_never_back() -> None:
    told = [times.minutes_left(seconds) for seconds in range(7200)]

    assert all(before <= after for before, after in pairwise(told))
    assert sorted(set(told)) == [*range(11), *range(15, 121, 5)]
