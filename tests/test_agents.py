"""What a User-Agent header is called: browser and system, in a few plain words."""

import pytest

from app.agents import MOST, agent_of

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("header", "agent"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox, Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/142.0.0.0 Safari/537.36", "Chrome, Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/142.0.0.0 Safari/537.36 Edg/142.0", "Edge, Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/140.0 Whale/4.34.340.19 Safari/537.36", "Whale, Windows"),
        (f"Mozilla/5.0 (Linux; Android 15; SM-S931N) {WEBKIT} SamsungBrowser/29.0 Chrome/136.0 Mobile Safari/537.36",
         "Samsung Internet, Android"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/26.1 Safari/605.1.15", "Safari, macOS"),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) {WEBKIT} Version/26.1 Mobile/15E148 Safari/604.1",
         "Safari, iPhone"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/155.0 Safari/537.36", "Chrome, Linux"),
        ("Firefox/1", "Firefox"),
        ("curl/8.17.0", "curl/8.17.0"),
        ("", ""),
        ("<b>x</b>\x1b[31m\n전화", "<b>x</b>[31m"),
        ("y" * 500, "y" * MOST),
    ],
)  # fmt: skip
def test_a_device_is_called_by_browser_and_system(header: str, agent: str) -> None:
    assert agent_of(header) == agent
