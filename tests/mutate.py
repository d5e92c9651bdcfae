"""`scripts/mutate`: break one line of a module at a time, and name the breaks that no test notices.

Each mutant is a copy of the tree, as it is at the start, in which one module has one fault; it survives where the
module's tests stay green.
"""

import argparse
import ast
import difflib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
TREE = ("app", "tests", "scripts", "docs", "pyproject.toml", "hypercorn.toml", "README.md", "CHANGELOG.md")
TESTS = {
    "status": ["tests/test_status.py", "tests/test_generate.py"],
    "store": ["tests/test_store.py"],
    "generate": ["tests/test_generate.py", "tests/test_failures.py", "tests/test_sections.py", "tests/test_cancel.py"],
    "runner": ["tests/test_runner.py", "tests/test_cancel.py"],
}
"""The tests that promise something of a module, those that fail soonest first."""

OPTIONS = (
    "-p", "no:randomly", "-p", "no:cacheprovider",
    "-o", "faulthandler_timeout=40", "-o", "faulthandler_exit_on_timeout=true",  # a test that hangs has noticed
)  # fmt: skip

ORDER: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
"""What becomes of a comparison."""

Fault = Callable[[], object]


def faults(tree: ast.AST) -> Iterator[tuple[int, Fault]]:
    """Give every fault that a tree can have, with its line; each changes the tree in place."""
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                for index, statement in enumerate(value):
                    yield from ((statement.lineno, fault) for fault in of_statement(value, index))
            elif name == "test" and isinstance(value, ast.expr) and not isinstance(value, ast.Compare):
                yield value.lineno, partial(setattr, node, "test", ast.UnaryOp(ast.Not(), value))
        if isinstance(node, ast.Compare):
            for index, operator in enumerate(node.ops):
                yield node.lineno, partial(node.ops.__setitem__, index, ORDER[type(operator)]())
        if isinstance(node, ast.BoolOp):
            yield node.lineno, partial(setattr, node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            changed = not node.value if isinstance(node.value, bool) else node.value + 1
            yield node.lineno, partial(setattr, node, "value", changed)


def of_statement(block: list[ast.stmt], index: int) -> Iterator[Fault]:
    """Give the faults of a statement as a whole: it is not there, or what it holds is without what is around it."""
    statement, here = block[index], slice(index, index + 1)
    match statement:
        case ast.With(body=body) | ast.AsyncWith(body=body):
            yield partial(block.__setitem__, here, body)
        case ast.Try(handlers=[_, *_]) | ast.TryStar(handlers=[_, *_]):
            yield partial(block.__setitem__, here, [*statement.body, *statement.orelse, *statement.finalbody])
        case ast.Expr(value=ast.Constant() | ast.Call(func=ast.Attribute(value=ast.Name(id="log")))):
            return
        case ast.Try() | ast.Assert() | ast.Pass() | ast.Import() | ast.ImportFrom() | ast.AnnAssign(value=None):
            return
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.For() | ast.While() | ast.If():
            return
        case _:
            yield partial(block.__setitem__, index, ast.Pass())


def mutants(source: str) -> list[tuple[int, str]]:
    """Return every mutant of a source, with the line of its fault."""
    tree = ast.parse(source)
    found = []
    for number in range(sum(1 for _ in faults(tree))):
        copy = deepcopy(tree)
        line, fault = list(faults(copy))[number]
        fault()
        found.append((line, ast.unparse(ast.fix_missing_locations(copy))))
    return found


def copy_tree(origin: Path, target: str) -> None:
    for name in TREE:
        copy = shutil.copytree if (origin / name).is_dir() else shutil.copy
        copy(origin / name, Path(target, name))


def survives(origin: Path, file: str, mutant: str, tests: list[str], limit: float) -> bool:
    """Run the tests against a mutant; True where all are green in time."""
    with TemporaryDirectory() as directory:
        copy_tree(origin, directory)
        Path(directory, file).write_text(mutant, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-xq", *OPTIONS, *tests]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.Popen(  # a group of its own, so that what a test has left running ends with it
            command, cwd=directory, env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return run.wait(limit) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()


def difference(plain: str, mutant: str) -> str:
    lines = difflib.unified_diff(plain.splitlines(), mutant.splitlines(), lineterm="", n=0)
    return "".join(f"{line}\n" for line in list(lines)[3:])


def mutate(origin: Path, module: str, given: argparse.Namespace) -> int:
    """Run the mutants of a module, print those that survive, and return how many they are."""
    file, tests = f"app/{module}.py", TESTS.get(module, [f"tests/test_{module}.py"])
    source = (origin / file).read_text(encoding="utf-8")
    plain, found = ast.unparse(ast.parse(source)), mutants(source)
    if not survives(origin, file, plain, tests, given.limit):
        sys.exit(f"{file}: its tests are red without any fault, or take longer than {given.limit:.0f} s")
    chosen = random.Random(given.seed).sample(found, min(given.sample or len(found), len(found)))
    print(f"{file}: {len(chosen)} of {len(found)} mutants", flush=True)
    alive = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        try:
            ran = pool.map(lambda mutant: survives(origin, file, mutant[1], tests, given.limit), chosen)
            for (line, mutant), survived in zip(chosen, ran, strict=True):
                alive += survived
                print(f"\n{file}:{line} survived\n{difference(plain, mutant)}" if survived else ".", end="", flush=True)
        finally:  # Ctrl-C waits for the mutants in hand alone
            pool.shutdown(wait=False, cancel_futures=True)
    print(f"\n{file}: {alive} of {len(chosen)} survived", flush=True)
    return alive


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="of app/, such as store")
    parser.add_argument("--sample", type=int, help="so many mutants of each module; all of them without this")
    parser.add_argument("--seed", type=int, default=0, help="of the order, and so of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at once")
    parser.add_argument(
        "--limit", type=float, default=600, help="seconds for the tests of one mutant; then it is caught"
    )
    given = parser.parse_args()
    with TemporaryDirectory() as origin:
        copy_tree(ROOT, origin)
        return 1 if sum(mutate(Path(origin), module, given) for module in given.modules) else 0


if __name__ == "__main__":
    sys.exit(main())
