"""What Markdown becomes: emphasis, unbroken pieces, headings, tables, links, footnotes; and what it may cost."""

import re
from html import unescape

import pytest

from app.markdown import Heading
from app.render import blocks, render


def inner(markdown: str) -> str:
    """Return the HTML of what is one paragraph."""
    (block,) = render(markdown, "ko").blocks
    return block.html.removeprefix("<p>").removesuffix("</p>")


# What it looks like.


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("**12.4%**가", '<span class="nb"><strong>12.4%</strong>가</span>'),
        ("**그린(Green)**은", '<span class="nb"><strong>그린(Green)</strong>은</span>'),
        ('**"인용"**이라고', '<span class="nb"><strong>"인용"</strong>이라고</span>'),
        ("**“인용”**이라고", '<span class="nb"><strong>“인용”</strong>이라고</span>'),
        ("이른바**「법」**은", '이른바<span class="nb"><strong>「법」</strong>은</span>'),
        ("약**$3**를", "약<strong>$3</strong>를"),
        ("*서울.*에서", "<em>서울.</em>에서"),
        ("가**-5%**나", '가<span class="nb"><strong>-5%</strong>나</span>'),
        ("***12%***가", '<span class="nb"><em><strong>12%</strong></em>가</span>'),
        ("**增加了12%**的", "<strong>增加了12%</strong>的"),
        ("**굵게**. 그리고 **(다시)**", "<strong>굵게</strong>. 그리고 <strong>(다시)</strong>"),
        ("**전기차**는", "<strong>전기차</strong>는"),
        ("a**(b)**c", "a**(b)**c"),
        ("_a_나", "_a_나"),
        ("3 * 4 * 5", "3 * 4 * 5"),
        ("** 가**", "** 가**"),
    ],
)
def test_emphasis_ends_before_a_particle(markdown: str, html: str) -> None:
    assert inner(markdown) == html


def test_only_two_tildes_strike() -> None:
    text = inner("3~5개 … 10~20% ~하나~ ~~둘~~")

    assert "<s>둘</s>" in text
    assert text.count("<s>") == 1
    assert "3~5개" in text
    assert "~하나~" in text


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("충전기(EVSE)는", '충전기(EVSE<span class="nb">)는</span>'),
        ("12.4%이다", '12.4<span class="nb">%이다</span>'),
        ("「법」이라고", '「법<span class="nb">」이라고</span>'),
        ("3월~5월에", '<span class="nb">3월~5월에</span>'),
        ("3~5개와 10~20%로", '<span class="nb">3~5개와</span> <span class="nb">10~20%로</span>'),
        ("서울·경기에서", '<span class="nb">서울·경기에서</span>'),
        ("(가) 나", "(가) 나"),
        ("전기차는 100대", "전기차는 100대"),
        ("가나다라마바사아자차~카타파하가나다라마바사", "가나다라마바사아자차~카타파하가나다라마바사"),
        ("가%" + "나" * 30, '가<span class="nb">%' + "나" * 19 + "</span>" + "나" * 11),
        (
            "**경기도의 모든 전기차 충전기와 충전소(EVSE)**는",
            '<strong>경기도의 모든 전기차 충전기와 충전소(EVSE</strong><span class="nb"><strong>)</strong>는</span>',
        ),
        ("`a()`를", "<code>a()</code>를"),
    ],
)
def test_a_line_is_not_broken_before_a_particle_nor_in_a_range(markdown: str, html: str) -> None:
    assert inner(markdown) == html


def test_headings_are_one_level_down_and_have_ids_of_their_own() -> None:
    rendered = render(
        "# 전기차, *충전*!\n\n## 요약\n\n### 요약\n\n#### 더\n\n###### 끝\n\n## ?\n\n> ## 안\n\n## 요약 2\n", "ko"
    )

    assert rendered.contents == [
        Heading(2, "s-전기차-충전", "전기차, 충전!"),
        Heading(3, "s-요약", "요약"),
        Heading(4, "s-요약-2", "요약"),
        Heading(3, "s", "?"),
        Heading(3, "s-요약-2-2", "요약 2"),
    ]
    assert '<h2 id="s-전기차-충전">전기차, <em>충전</em>!</h2>' in rendered.html
    assert "<h5" in rendered.html
    assert "<h6" in rendered.html
    assert "<h3>안</h3>" in rendered.html
    assert len(set(re.findall(r'id="([^"]*)"', rendered.html))) == 7


def test_tables_and_code_scroll_by_themselves_and_say_what_they_are() -> None:
    table = "| 가 | 나 | 다 | 라 |\n|:--|:-:|--:|---|\n| 1 | 2 | 3 | 4 |\n"
    html = render(f"{table}\n```py\n<b>\n```\n\n{table}", "ko").html
    english = render(f"{table}\n    code\n", "en").html

    assert '<div class="scroll" tabindex="0" role="region" aria-label="표 1"><table>' in html
    assert 'aria-label="표 2"' in html
    assert '<th class="left" scope="col">가</th>' in html
    assert '<td class="center">2</td>' in html
    assert '<td class="right">3</td>' in html
    assert "<td>4</td>" in html
    assert "style" not in html
    assert '<pre tabindex="0" role="region" aria-label="코드 1"><code>&lt;b&gt;\n</code></pre>' in html
    assert 'aria-label="Table 1"' in english
    assert 'aria-label="Code 1"' in english


def test_nothing_is_fetched_and_links_are_links_that_tell_nobody() -> None:
    html = inner(
        '![그림](https://a.b/c.png "t") [가](http://d.e) <https://f.g> <m@n.o> [![안](http://h.i)](http://j.k) http://l.m'
    )

    assert "<img" not in html
    assert '<a href="https://a.b/c.png" rel="noopener noreferrer">그림</a>' in html
    assert '<a href="http://d.e" rel="noopener noreferrer">가</a>' in html
    assert '<a href="https://f.g" rel="noopener noreferrer">https://f.g</a>' in html
    assert '<a href="mailto:m@n.o" rel="noopener noreferrer">m@n.o</a>' in html
    assert '<a href="http://j.k" rel="noopener noreferrer">안</a> http://l.m' in html
    assert html.count("<a ") == 5


@pytest.mark.parametrize(
    "markdown",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<!-- a -->",
        '<div onclick="a">',
        "&lt;b&gt;<b>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](data:text/html,x)",
        "[a](vbscript:x)",
        "[a](file:///etc)",
        "[a](//evil.example)",
        "[a](/sign-out)",
        "[a](b)",
        "[a](#open)",
        "![a](javascript:alert(1))",
        "<javascript:alert(1)>",
        "[a](&#106;avascript:x)",
        "[a](java\nscript:x)",
        "<svg/onload=x>",
        "<a href='http://a.b' onmouseover=x>",
    ],
)
def test_hostile_markdown_shows_as_text(markdown: str) -> None:
    html = inner(markdown)

    assert not re.findall(r"<(?!/?span)[^>]*>", html)
    assert unescape(re.sub(r"<[^>]*>", "", html)) == unescape(markdown)


def test_footnotes_are_numbered_as_they_are_referred_to_and_stand_at_the_end() -> None:
    text = (
        "하나[^b] 둘[^a] 다시[^b] [^없다]\n\n[^a]: 첫째[^c]\n\n## 절\n\n[^b]: 둘째\n\n    더\n[^c]: 셋째\n[^d]: 넷째\n"
    )
    *first, last = render(text, "ko").blocks

    assert re.findall(r'<a href="(#fn\d)" id="(fnref[\d-]*)"[^>]*>\[(\d)\]</a>', first[0].html) == [
        ("#fn1", "fnref1", "1"), ("#fn2", "fnref2", "2"), ("#fn1", "fnref1-2", "1"),
    ]  # fmt: skip
    assert "[^없다]" in first[0].html
    assert first[1].html == ""
    assert '<section class="footnotes" aria-label="각주"><ol><li id="fn1"><p>둘째</p>' in last.html
    assert re.findall(r'<li id="(fn\d)">', last.html) == ["fn1", "fn2", "fn3", "fn4"]
    assert re.findall(r'href="(#fnref[\d-]*)"', last.html) == ["#fnref1", "#fnref1-2", "#fnref2", "#fnref3"]


def test_a_footnote_stays_where_it_was_written_as_long_as_the_report_grows() -> None:
    found = blocks("하나[^b]\n\n[^b]: <i>둘째</i>\n", "ko", whole=True)

    assert found[0].html == "<p>하나[^b]</p>"
    assert found[1].html.startswith('<div class="footnote"><sup>[b]</sup><p>&lt;i&gt;둘째')


# What it costs.


def test_too_many_brackets_are_shown_as_they_were_written() -> None:
    html = render("[a](http://b.c)\n\n" + "[" * 1_000_000 + "\n\n[a](http://b.c)", "ko").html

    assert html.count("<a ") == 2
    assert html.count("[") == 1_000_000


def test_a_table_is_not_filled_up_without_bounds() -> None:
    text = "|" + "a|" * 256 + "\n|" + "-|" * 256 + "\n" + "|x|\n" * 256
    wide = "|" + "a|" * 100_000 + "\n|" + "-|" * 100_000 + "\n"

    assert render(text, "ko").html.count("<td") < 2 * len(text)
    assert render(text, "ko").html.count("x") > 256
    assert render(wide, "ko").html.count("<th ") == 100_000


@pytest.mark.parametrize("text", ["> " * 100_000, "- " * 100_000, "1. " * 100_000, "[^a]: " * 100_000, "> - " * 50_000])
def test_deep_nesting_ends_somewhere(text: str) -> None:
    assert len(render(text + "a", "ko").html) < 10_000
