"""A page whose event stream and whose time are in the test's hand: what it is told, and when; where the line breaks."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page, Request, Route

from tests.browser.house import House
from tests.browser.people import Person

IN_HAND = """
window.streams = [];
window.EventSource = class extends EventTarget {
  constructor(url) { super(); this.url = url; this.open = true; streams.push(this); }
  close() { this.open = false; }
};
window.told = (name, data, id) => {
  const stream = streams.at(-1);
  if (stream.open) stream.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data), lastEventId: id }));
};
window.waiting = 0;
const ask = fetch;
window.fetch = async (...asked) => {
  waiting++;
  try {
    const answer = await ask(...asked);
    await answer.clone().arrayBuffer();
    return answer;
  } finally {
    setTimeout(() => waiting--);
  }
};
"""
"""`told('text', {...}, '1.2')` is an event of the newest stream, where that is open; `waiting` counts what is asked."""

Answer = Callable[[Route], object]
Json = dict[str, Any]


@dataclass(eq=False)
class Told:
    """A topic's page, or the list. `asked` are its requests for what it missed; `end` is where its text ends."""

    page: Page
    house: House
    topic_id: int = 0
    end: int = 0
    asked: list[str] = field(default_factory=list)
    answer: Answer = Route.continue_

    def open(self, path: str) -> None:
        """Go to a path; from then on no time passes by itself, and the stream has said that it is there."""
        self.page.add_init_script(IN_HAND)
        self.page.goto(self.house.url + path)
        self.page.clock.pause_at(self.page.evaluate("Date.now() / 1000 + 1"))
        self.say("ping", {})

    def status(self, **change: Any) -> Json:
        """Return the topic's status as it is, but for what is changed."""
        found: Json = self.house.http.get(f"/api/topics/{self.topic_id}/status").json()["data"]
        return found | change

    def say(self, name: str, data: Json, event_id: str = "") -> None:
        """Tell the page something."""
        self.page.evaluate("(event) => told(...event)", [name, data, event_id])

    def say_status(self, **change: Any) -> None:
        """Tell the page a status, and let it be shown."""
        self.say("status", self.status(**change))
        self.pass_time(1)

    def say_text(self, text: str, *, ahead: int = 0) -> None:
        """Tell text that begins so many characters ahead of where the page's text ends, or before that if negative."""
        self.say("text", {"offset": self.end + ahead, "text": text})
        self.end += ahead + len(text)

    def cut(self) -> None:
        """Break the line."""
        self.page.evaluate("streams.at(-1).onerror(new Event('error'))")

    def pass_time(self, seconds: float) -> None:
        """Let time pass on the page; what it asks for meanwhile is answered."""
        for _ in range(round(seconds * 10)):
            self.page.clock.run_for(100)
            for _ in range(10_000):
                if not self.page.evaluate("waiting"):
                    break
                self.page.clock.run_for(1)
            else:
                raise AssertionError("what the page asks for is not answered")

    def pass_time_until_it_has_a_stream(self) -> None:
        """Let time pass until the page has opened a stream again."""
        for _ in range(60):
            if self.streams()[1]:
                return
            self.pass_time(0.5)
        raise AssertionError(f"no stream was opened; asked: {self.asked}")

    def until(self, expression: str) -> None:
        """Wait until something is so on the page, without letting its time pass."""
        for _ in range(3000):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(10)
        raise AssertionError(expression)

    def held(self, routes: list[Route], count: int) -> None:
        """Wait until so many requests are held back."""
        for _ in range(3000):
            if len(routes) == count:
                return
            self.page.wait_for_timeout(10)
        raise AssertionError(f"{len(routes)} requests, not {count}")

    def streams(self) -> tuple[int, int]:
        """Return how many streams were opened, and how many are open."""
        opened, still = self.page.evaluate("[streams.length, streams.filter(({ open }) => open).length]")
        return opened, still


def told(person: Person, topic_id: int) -> Told:
    """Open a topic's page whose stream and time are in the test's hand; its stream has said that it is there."""
    blocks = person.house.http.get(f"/api/topics/{topic_id}/blocks").json()["data"]
    found = Told(
        person.page(clock=True), person.house, topic_id, blocks["open"]["offset"] + len(blocks["open"]["text"])
    )

    def note(route: Route, request: Request) -> None:
        found.asked.append(request.url)
        found.answer(route)

    found.page.route(re.compile("/blocks"), note)
    found.open(f"/topics/{topic_id}")
    return found


def told_of_all(person: Person) -> Told:
    """Open the list of topics so."""
    found = Told(person.page(clock=True), person.house)
    found.open("/")
    return found
