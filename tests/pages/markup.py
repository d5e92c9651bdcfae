"""HTML as a test looks at it: elements with their attributes, what they say, and forms to be filled in and sent."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx2

from tests.visiting import Browser

VOID = {"meta", "link", "input", "br", "hr", "img", "use", "path", "circle"}


@dataclass(eq=False)
class Element:
    """An element; `children` are elements and pieces of text."""

    tag: str
    attributes: dict[str, str]
    children: "list[Element | str]" = field(default_factory=list)

    @property
    def text(self) -> str:
        """What it says, white space in one."""
        return " ".join("".join(self._texts()).split())

    @property
    def raw(self) -> str:
        """Its text as it is."""
        return "".join(self._texts())

    def all(self, tag: str = "", **attributes: str) -> "list[Element]":
        """Return the elements in it of this tag and with these attributes; `class_` is one of its classes."""
        return [element for element in self._elements() if element.fits(tag, attributes)]

    def one(self, tag: str = "", **attributes: str) -> "Element":
        """Return the only such element."""
        (found,) = self.all(tag, **attributes)
        return found

    def fits(self, tag: str, attributes: dict[str, str]) -> bool:
        for name, value in attributes.items():
            if name == "class_":
                if value not in self.attributes.get("class", "").split():
                    return False
            elif self.attributes.get(name.replace("_", "-")) != value:
                return False
        return not tag or self.tag == tag

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    def _elements(self) -> "Iterator[Element]":
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child._elements()

    def _texts(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child._texts()


class Reader(HTMLParser):
    """Reads a page, and refuses one whose elements are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        assert len(element.attributes) == len(attrs), f"an attribute of <{tag}> stands twice"
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(answer: httpx2.Response) -> Element:
    """Read a page, whole and well-formed, with no id twice, and nothing inline that its policy forbids."""
    assert answer.headers["content-type"] == "text/html; charset=utf-8", answer.text
    reader = Reader()
    reader.feed(answer.text)
    reader.close()
    (document,) = reader.open
    ids = [element["id"] for element in document.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids)), ids
    _check_inline(document)
    return document


def _check_inline(document: Element) -> None:
    for element in document.all():
        assert not [name for name in element.attributes if name == "style" or name.startswith("on")], element
        assert element.tag != "style"
        if element.tag == "script":
            assert "src" in element.attributes or element["type"] == "application/json"


def fields(form: Element) -> dict[str, str]:
    """Return what a form holds, as a browser would send it without a press of one of its buttons."""
    found: dict[str, str] = {}
    for control in form.all():
        name = control.attributes.get("name")
        match control.tag:
            case "input" if name and control.attributes.get("type") in {"checkbox", "radio"}:
                if "checked" in control.attributes:
                    found[name] = control["value"]
            case "input" if name:
                found[name] = control.attributes.get("value", "")
            case "textarea" if name:
                found[name] = control.raw.removeprefix("\n").replace("\n", "\r\n")
            case "select" if name:
                options = control.all("option")
                chosen = [option for option in options if "selected" in option.attributes] or options[:1]
                found[name] = chosen[0].attributes.get("value", chosen[0].text)
    return found


async def press(browser: Browser, form: Element, button: Element, **changes: str) -> httpx2.Response:
    """Send a form by one of its buttons, with some fields filled in otherwise."""
    sent = fields(form) | changes
    if name := button.attributes.get("name"):
        sent[name] = button.attributes.get("value", "")
    return await browser.http.post(button.attributes.get("formaction", form["action"]), data=sent)


def button(form: Element, text: str) -> Element:
    """Return the button of a form that says this."""
    (found,) = [element for element in form.all("button") if element.text == text]
    return found
