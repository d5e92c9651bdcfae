"""Topics in every state that a page may show."""

import trio

from tests.browser.author import Author, Gate
from tests.browser.house import House
from tests.claude import Script, numbered_text

HOSTILE_TITLE = '<img src=x onerror="window.hit=1"> & <script>window.hit=1</script> **굵게** {{ 7*7 }}'
HOSTILE = """# <script>window.hit = 1</script>

A <img src=x onerror="window.hit = 1"> [link](javascript:window.hit=1) ![picture](https://example.org/x.png)
<svg onload="window.hit = 1"></svg> <style>body { display: none }</style> <b onclick="window.hit=1">**x**</b>

[data](data:text/html,<script>window.hit=1</script>) <https://example.org/"onmouseover="window.hit=1>

| <iframe src=javascript:window.hit=1> | `<i>` |
|---|--:|
| <form action=/sign-out method=post><button>x</button></form> | **그린(Green)**은 |

<div id="open"><main id="content" data-live="1"></div>

```html
</code></pre><script>window.hit = 1</script>
```

"""
SAMPLE = """# 전기차 충전 시설의 지역 격차

**12.4%**가 늘었고, 3~5개 시도에 몰려 있다. *강조*와 `코드`, [출처](https://example.org/a).

## 현황과 사례

| 시도 | 충전기 | 비중 |
|---|--:|--:|
| 서울 | 4,218대 | 10~20% |
| 부산 | 1,310대 | 5% |

- 첫째 항목
- 둘째 항목

> 인용한 글

```python
print("아주 긴 줄을 가진 코드도 화면 밖으로 넘치지 않아야 한다", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
```

## 맺음말

여기까지 쓴다.
"""
TITLE = "아주긴주제이름이빈칸없이이어져도화면을넘치지않아야한다 — with-a-name-that-is-long-and-does-not-break-anywhere"
PLAN = "## 현황과 사례\n\n## 맺음말"

ROOM = {"LONGHAND_MAX_CONCURRENT": "2"}
"""Settings under which the third generation at once is queued."""


def scenes(home: House, writer: Author) -> dict[str, int]:
    """Make a topic in each state, and return their ids by the state's name. The service has `ROOM`."""

    def topic(name: str) -> int:
        return home.topic(f"{TITLE} ({name})", plan=PLAN, language="ko")

    def ended(name: str, *scripts: Script, **order: object) -> int:
        writer.script(*scripts)
        topic_id = topic(name)
        home.generate(topic_id, **order)
        home.ended(topic_id)
        return topic_id

    found = {"idle": topic("idle"), "completed": ended("completed", Script(text=SAMPLE))}
    found["failed"] = ended("failed", Script.error(401, "authentication_error", "no"))
    found["refused"] = ended("refused", Script.refusal())
    found["cancelled"] = cancelled(home, writer, topic("cancelled"))
    writer.script(Script(thinking=3, hold=trio.Event(), ping_seconds=5))
    found["thinking"] = begun(home, topic("thinking"), "thinking")
    writer.gated(SAMPLE, "| 부산")
    found["writing"] = begun(home, topic("writing"), "writing")
    found["queued"] = begun(home, topic("queued"), "queued")
    return found


def turn(home: House, writer: Author, found: dict[str, int]) -> int:
    """Let what is queued begin, and wait for Claude; return its topic."""
    writer.script(Script.error(529, "overloaded_error", "Overloaded", retry_after=300))
    home.post(f"/api/topics/{found['writing']}/cancel")
    home.wait_for(found["queued"], lambda status: status["phase"] == "waiting")
    return found["queued"]


def begun(home: House, topic_id: int, phase: str) -> int:
    """Start a generation and wait until it is in a phase."""
    home.generate(topic_id)
    home.wait_for(topic_id, lambda status: status["phase"] == phase)
    return topic_id


def cancelled(home: House, writer: Author, topic_id: int) -> int:
    """Start a generation, and cancel it when there is text, which is kept."""
    writer.gated(SAMPLE, "| 부산")
    begun(home, topic_id, "writing")
    home.post(f"/api/topics/{topic_id}/cancel", keep_partial=True)
    home.ended(topic_id)
    return topic_id


def numbered(home: House, writer: Author, until: int | str, sentences: int = 60, **topic: str) -> tuple[int, Gate]:
    """Begin a report of numbered sentences, let through as far as said; returns its topic once it has text."""
    gate = writer.gated(numbered_text(sentences), until)
    plan = "\n\n".join(f"## Section {number}" for number in range(1, 5))
    topic_id = home.topic(**({"topic": "Numbered", "plan": plan, "language": "en"} | topic))
    home.generate(topic_id)
    home.wait_for(topic_id, lambda status: status["characters"] > 0)
    return topic_id, gate
