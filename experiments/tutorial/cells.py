'''A lesson as cells: the "percent" form of jupytext, parsed, and run one cell after the other.

    """Title of the lesson."""

    # %% [markdown]
    # Prose in Markdown, each line a comment.

    # %%
    print("code, with the names that the cells above have left")

jupytext and most editors open such a file as a notebook. It is run here, in this process, because a cell needs no more
than `exec`: nbconvert would start a Jupyter kernel, some forty packages, to the same end.
'''

import ast
import contextlib
import io
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Cell", "Lesson", "Output", "parse", "run"]

MARK = re.compile(r"^# %%(?P<kind>.*)$")
DPI = 130


class Cell(NamedTuple):
    """kind: "text" (Markdown) or "code". line: where the source begins in the file, counted from 1."""

    kind: str
    source: str
    line: int


class Lesson(NamedTuple):
    """title: the first sentence of the docstring; more: the rest of it."""

    title: str
    more: str
    cells: tuple[Cell, ...]


class Output(NamedTuple):
    """printed: stdout and stderr as they came. figures: PNG files. error: what was raised, in a line, None where all
    went well; traceback: where.
    """

    printed: str
    figures: tuple[bytes, ...]
    error: str | None
    traceback: str
    seconds: float


def parse(text: str) -> Lesson:
    """The lesson in a file's text.

    Raises:
      ValueError: no docstring, no cell, code before the first cell, an unknown kind of cell, or prose that is not all
        comment; the message says which line.
      SyntaxError: what stands there is no Python.
    """
    tree, lines = ast.parse(text), text.splitlines()
    title, _, more = (ast.get_docstring(tree) or "").partition("\n")
    if not title:
        raise ValueError("a lesson must begin with a docstring, its title")
    marks = [number for number, line in enumerate(lines) if MARK.match(line)]
    if not marks:
        raise ValueError("a lesson must have a cell; one begins with a line '# %%' or '# %% [markdown]'")
    if len(tree.body) > 1 and tree.body[1].lineno <= marks[0]:
        raise ValueError(f"line {tree.body[1].lineno}: code before the first cell; put a line '# %%' above it")
    cells = [_cell(lines, mark, end) for mark, end in zip(marks, [*marks[1:], len(lines)], strict=True)]
    return Lesson(title.rstrip("."), more.strip(), tuple(cell for cell in cells if cell.source))


def _cell(lines: list[str], mark: int, end: int) -> Cell:
    kind = MARK.match(lines[mark])["kind"].strip()
    first, body = mark + 1, lines[mark + 1 : end]
    while body and not body[0].strip():
        first, body = first + 1, body[1:]
    if kind == "[markdown]":
        for number, line in enumerate(body, first + 1):
            if line.strip() and not line.startswith("#"):
                raise ValueError(f"line {number}: {line!r} stands in a cell of prose; begin it with '# '")
        return Cell("text", "\n".join(line[1:].removeprefix(" ") for line in body).strip(), first + 1)
    if kind:
        raise ValueError(f"line {mark + 1}: a cell of kind {kind!r}; allowed are none (code) and [markdown]")
    return Cell("code", "\n".join(body).rstrip(), first + 1)


def run(path: Path, arguments: Sequence[str] = ()) -> Iterator[tuple[Cell, Output | None]]:
    """Each cell of a lesson with what it gave, as it is done; None for prose. Nothing is run after an error.

    arguments: the lesson's sys.argv. Figures are those that pyplot holds at the end of a cell.
    """
    names = {"__name__": "__main__", "__file__": str(path), "__doc__": None}
    for cell in parse(path.read_text(encoding="utf-8")).cells:
        output = _run(cell, path, names, arguments) if cell.kind == "code" else None
        yield cell, output
        if output is not None and output.error:
            return


def _run(cell: Cell, path: Path, names: dict, arguments: Sequence[str]) -> Output:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    printed, error, where, began, argv = io.StringIO(), None, "", time.perf_counter(), sys.argv
    try:
        sys.argv = [str(path), *arguments]
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")
            exec(compile("\n" * (cell.line - 1) + cell.source, str(path), "exec"), names)
    except (Exception, SystemExit) as caught:
        ours = caught.__traceback__.tb_next if caught.__traceback__ else None
        error = traceback.format_exception_only(caught)[0].strip().splitlines()[0]
        where = "".join(traceback.format_exception(type(caught), caught, ours)).rstrip()
    finally:
        sys.argv = argv
    figures = []
    for number in plt.get_fignums():
        file = io.BytesIO()
        plt.figure(number).savefig(file, format="png", dpi=DPI, bbox_inches="tight")
        figures.append(file.getvalue())
    plt.close("all")
    return Output(printed.getvalue().rstrip(), tuple(figures), error, where, time.perf_counter() - began)
