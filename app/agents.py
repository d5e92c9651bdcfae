"""Which browser a User-Agent header names, in a few words. Pure."""

import re

MOST = 60

BROWSERS = (
    ("Edg", "Edge"), ("OPR", "Opera"), ("Whale", "Whale"), ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"), ("FxiOS", "Firefox"), ("CriOS", "Chrome"), ("HeadlessChrome", "Chrome"),
    ("Chrome", "Chrome"), ("Safari", "Safari"),
)  # fmt: skip
"""Signs and names; who pretends to be another stands before it."""

SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("CrOS", "ChromeOS"), ("Windows", "Windows"),
    ("Macintosh", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def agent_of(header: str) -> str:
    """Return `Firefox, Linux`; of a header that names no browser the beginning, and nothing that is not plain."""
    browser = next((name for sign, name in BROWSERS if re.search(rf"\b{sign}\w*/", header)), None)
    system = next((name for sign, name in SYSTEMS if sign in header), None)
    if browser:
        return f"{browser}, {system}" if system else browser
    return re.sub(r"[^\x20-\x7e]", "", header)[:MOST].strip()
