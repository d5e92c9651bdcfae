"""The stand-in as a process: `python -m tests.claude`. Its URL is the first line it prints."""

from functools import partial

import click
import trio

from tests.claude.script import Script, continuing, numbered_text, report_text
from tests.claude.server import FakeClaude, serve_claude


@click.command()
@click.option("--port", default=0, help="0: any free one.")
@click.option("--pace", default=0.0, help="Seconds before each delta.")
@click.option("--first-after", default=0.0, help="Seconds before the headers.")
@click.option("--pieces", default=40, help="Deltas of an answer.")
@click.option("--characters", default=2000, help="About how long the text is.")
@click.option("--sections", default=4, help="Sections of a numbered text.")
@click.option("--numbered", is_flag=True, help="Every sentence carries its number; a continuation goes on.")
def main(
    *, port: int, pace: float, first_after: float, pieces: int, characters: int, sections: int, numbered: bool
) -> None:
    """Serve until killed. GET /journal shows the calls as JSON."""
    text = numbered_text(max(characters // 30, 1), sections) if numbered else sized(report_text(), characters)
    script = Script(text=text, pieces=pieces, pace=pace, first_after=first_after)
    claude = FakeClaude(default=continuing(text, script) if numbered else script)
    trio.run(run, claude, port)


async def run(claude: FakeClaude, port: int) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_claude, claude, port))
        click.echo(claude.url)


def sized(text: str, characters: int) -> str:
    """Repeat a text until it is so long, and cut it there."""
    return (text * (characters // len(text) + 1))[:characters]


if __name__ == "__main__":
    main()
