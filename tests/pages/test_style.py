"""The style sheet: its tokens are readable in both themes, its type follows the guide, it asks nobody else."""

import re
from itertools import product

import pytest

from app.pages.static import FOLDER

CSS = (FOLDER / "app.css").read_text(encoding="utf-8")
TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#[0-9A-Fa-f]{6}), (#[0-9A-Fa-f]{6})\);", CSS)
}
PAPERS = ("paper", "surface", "sunken")

TEXT = [
    *product(("ink", "ink2", "accent", "accent-strong", "ok", "wait", "bad"), PAPERS),
    ("ink", "mark"),
    ("accent", "accent-soft"),
    ("ok", "ok-soft"),
    ("wait", "wait-soft"),
    ("bad", "bad-soft"),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
]
"""What is read, and on what: 4.5 at least (WCAG 1.4.3)."""

SHAPES = [*product(("edge", "accent"), PAPERS), ("accent", "line"), ("bad", "surface")]
"""Borders of controls, focus, the bar: 3 at least (WCAG 1.4.11)."""


def luminance(color: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(first: str, second: str) -> float:
    """Return the contrast ratio of two colours."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "back"), TEXT)
def test_text_can_be_read(front: str, back: str, theme: int) -> None:
    assert ratio(TOKENS[front][theme], TOKENS[back][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "back"), SHAPES)
def test_shapes_can_be_seen(front: str, back: str, theme: int) -> None:
    assert ratio(TOKENS[front][theme], TOKENS[back][theme]) >= 3


def test_ratios_are_computed_as_the_guide_did() -> None:
    assert round(ratio(*("#000000", "#FFFFFF")), 1) == 21.0
    assert round(ratio(TOKENS["ink"][0], TOKENS["paper"][0]), 1) == 16.2
    assert round(ratio(TOKENS["ink"][1], TOKENS["paper"][1]), 1) == 14.4


def test_every_colour_is_a_token() -> None:
    rules = re.sub(r"--[\w-]+: light-dark\([^)]*\);", "", CSS)

    assert re.findall(r"#[0-9A-Fa-f]{3,8}\b(?=[^{}]*[;}])", rules) == []
    assert set(re.findall(r"var\(--(?!font|mono|pad|lead|t|u)([\w-]+)", rules)) <= set(TOKENS)


def test_it_asks_for_nothing_from_elsewhere() -> None:
    assert not re.search(r"@import|url\(|https?:", CSS)


def test_body_text_follows_the_guide() -> None:
    assert re.search(r"\.report \{[^}]*max-width: 34em;[^}]*line-height: 1\.65;", CSS)
    assert re.search(r"\.report:lang\(ko\) \{ line-height: 1\.8; \}", CSS)
    assert re.search(r":lang\(ko\) \{ word-break: keep-all; overflow-wrap: break-word; line-break: strict; \}", CSS)
    assert "justify;" not in CSS
    assert "letter-spacing" not in CSS
    assert "outline: none" not in CSS
    assert "outline: 0" not in CSS


def test_nothing_moves_but_the_bar_and_nothing_at_all_where_that_is_asked() -> None:
    assert re.findall(r"transition: ([\w-]+)", CSS) == ["width", "none"]
    assert "animation" not in CSS
    assert "scroll-behavior" not in CSS
    assert re.search(r"prefers-reduced-motion: reduce\) \{ \.fill \{ transition: none; \} \}", CSS)
