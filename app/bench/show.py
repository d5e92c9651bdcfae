"""What a person sees: the progress while it runs, and the table at the end."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.bench.figures import Figure
from app.bench.measure import Tell


@contextmanager
def progress(console: Console) -> Iterator[Tell]:
    """Give a function that shows what is being done: bars on a terminal, otherwise a line for each step."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        shown: dict[str, TaskID] = {}

        def tell(step: str, share: float) -> None:
            if step not in shown:
                shown[step] = bars.add_task(step, total=1.0)
                if not console.is_terminal:
                    console.print(f"{step} …")
            bars.update(shown[step], completed=share)

        yield tell


def table(figures: list[Figure], *, compared: bool) -> Table:
    """Make the table of all figures; with the baseline and the ratio where one was measured."""
    made = Table(header_style="bold")
    made.add_column("figure")
    for heading in ("value", "target", *(("baseline", "times better") if compared else ())):
        made.add_column(heading, justify="right")
    for figure in figures:
        colour = {True: "green", False: "red", None: ""}[figure.met]
        cells = [figure.label, styled(number(figure.value, figure.unit), colour), target_of(figure)]
        if compared:
            cells += [number(figure.baseline, figure.unit), "–" if figure.ratio is None else f"{figure.ratio:.3g} ×"]
        made.add_row(*cells)
    return made


def target_of(figure: Figure) -> str:
    sign = "≥" if figure.more_is_better else "≤"
    if figure.target_ratio is not None:
        return f"≥ {figure.target_ratio:g} ×"
    return "–" if figure.target is None else f"{sign} {number(figure.target, figure.unit)}"


def number(value: float | None, unit: str) -> str:
    """Write a value with three significant digits and its unit; a dash where there is none."""
    if value is None:
        return "–"
    written = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{written} {unit}".rstrip()


def styled(content: str, colour: str) -> str:
    return f"[{colour}]{content}[/{colour}]" if colour else content
