"""Run the lessons cell by cell, and write each as one HTML page with its code, what it printed and its figures.

python -m experiments.tutorial.render
python -m experiments.tutorial.render --out=DIR --only=nearest --small

The pages hold all they show, as the reports of runs do. Prose is rendered by markdown-it-py and code by Pygments: both
come with rich, which dlcore needs anyway. Other flags go to the lessons (`--dataset`, `--data_dir`, `--small`). Where a
cell raises, the page ends with its traceback, the lesson and the cell are named, the other lessons still run, and the
exit status is 1.
"""

import argparse
import base64
import re
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from dlcore.report.html import Panel, render
from dlcore.run.progress import duration, say
from experiments.tutorial.cells import Cell, Output, parse, run

__all__ = ["Failure", "index", "lessons", "main", "page", "write"]

LESSONS = Path(__file__).parent / "lessons"


class Failure(NamedTuple):
    """number: of the cell of code, counted from 1."""

    lesson: str
    number: int
    line: int
    error: str


def lessons(folder: Path, only: str = "") -> list[Path]:
    """The lessons of a folder in order, those whose name has `only` in it. Raises ValueError where there is none."""
    pages = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    paths = [path for path in pages if only in path.stem]
    if not paths:
        raise ValueError(f"only={only!r} is in no name of {', '.join(path.stem for path in pages) or folder}")
    return paths


def page(title: str, more: str, done: Sequence[tuple[Cell, Output | None]], command: str) -> str:
    """The HTML of a lesson; a heading of the second level begins a section."""
    sections: list[tuple[str, list[str]]] = []
    for cell, output in done:
        before, *headed = re.split(r"^## ", cell.source, flags=re.MULTILINE) if output is None else [cell.source]
        if not sections and before.strip():
            sections.append(("To begin with", []))
        if before.strip():
            sections[-1][1].append(_prose(before) if output is None else _code(before) + _results(output))
        for part in headed:
            heading, _, rest = part.partition("\n")
            sections.append((heading.strip(), [_prose(rest)]))
    panels = [Panel(heading, f'<div class="cells">{"".join(parts)}</div>') for heading, parts in sections]
    seconds = sum(output.seconds for _, output in done if output is not None)
    details = {"How to run it": {"command": command, "time of this run": f"{duration(seconds)} (minutes:seconds)"}}
    return _styled(render(title, panels, {}, more.replace("\n", " "), details))


def index(done: Sequence[tuple[str, str, str, float]]) -> str:
    """The page that leads to the lessons: (file, title, the rest of the docstring, seconds) of each."""
    items = "".join(
        f'<li><a href="{escape(file)}">{escape(title)}</a> <span class="note">({duration(seconds)})</span>'
        f"<p>{escape(more)}</p></li>"
        for file, title, more, seconds in done
    )
    subtitle = "From nearest neighbors to a tuned residual network, on one data set, by one recipe"
    panel = Panel("Lessons", f'<ul class="lessons">{items}</ul>')
    return _styled(render("A tutorial in image classification", [panel], {}, subtitle))


def write(paths: Sequence[Path], out: Path, arguments: Sequence[str] = ()) -> list[Failure]:
    """Run the lessons, write a page each and index.html into `out`, and say what failed."""
    out.mkdir(parents=True, exist_ok=True)
    failures, done = [], []
    for path in paths:
        lesson, cells, number = parse(path.read_text(encoding="utf-8")), [], 0
        for cell, output in run(path, arguments):
            cells.append((cell, output))
            number += output is not None
            if output is not None and output.error:
                failures.append(Failure(path.stem, number, cell.line, output.error))
        command = " ".join(["python -m", f"experiments.tutorial.lessons.{path.stem}", *arguments])
        (out / f"{path.stem}.html").write_text(page(lesson.title, lesson.more, cells, command), encoding="utf-8")
        seconds = sum(output.seconds for _, output in cells if output is not None)
        done.append((f"{path.stem}.html", lesson.title, lesson.more, seconds))
        say(f"{path.stem}: {number} cells of code in {duration(seconds)}")
    (out / "index.html").write_text(index(done), encoding="utf-8")
    return failures


def main(argv: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="experiments.tutorial.render", allow_abbrev=False)
    parser.add_argument("--out", default="runs/tutorial", help="the folder of the pages")
    parser.add_argument("--only", default="", help="lessons whose name has this in it")
    flags, arguments = parser.parse_known_args(argv)
    try:
        failures = write(lessons(LESSONS, flags.only), Path(flags.out), arguments)
    except (ValueError, SyntaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for failure in failures:
        where = f"{failure.lesson}, cell {failure.number} (line {failure.line})"
        print(f"error: {where}: {failure.error}", file=sys.stderr)
    say(f"pages: {Path(flags.out) / 'index.html'}")
    return 1 if failures else 0


def _prose(source: str) -> str:
    from markdown_it import MarkdownIt

    return f'<div class="prose">{MarkdownIt("commonmark", {"html": False}).enable("table").render(source)}</div>'


def _code(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(source, PythonLexer(), HtmlFormatter(cssclass="code"))


def _results(output: Output) -> str:
    parts = [f"<pre>{escape(output.printed)}</pre>"] if output.printed else []
    parts += [
        f'<img class="smooth" alt="figure" src="data:image/png;base64,{base64.b64encode(figure).decode()}">'
        for figure in output.figures
    ]
    parts += [f'<pre class="said">{escape(output.traceback)}</pre>'] if output.error else []
    return f'<div class="printed">{"".join(parts)}</div>' if parts else ""


def _styled(html: str) -> str:
    """A report with the colors of code added."""
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=style).get_style_defs(".code") for style in ("default", "github-dark"))
    dark = f"@media screen and (prefers-color-scheme: dark) {{ {dark} .printed img {{ filter: brightness(.9); }} }}"
    return html.replace("</style>", f"{light}\n{dark}\n{_STYLE}</style>", 1)


_STYLE = """
body { max-width: 1140px; }
.cells > * + * { margin-top: 14px; }
.prose > * { max-width: 75ch; }
.prose > :first-child { margin-top: 0; }
.prose > :last-child { margin-bottom: 0; }
.prose li { margin: .25rem 0; }
.prose code { font-size: .88em; background: var(--page); border-radius: 4px; padding: 1px 4px; }
.prose pre { background: var(--page); border-radius: 6px; padding: 10px 14px; }
.prose pre code { background: none; padding: 0; }
.code { border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px; overflow-x: auto; }
.code pre { white-space: pre; font-size: .82rem; line-height: 1.45; }
.printed { border-left: 3px solid var(--c1); padding-left: 14px; }
.printed pre { font-size: .84rem; white-space: pre; overflow-x: auto; }
.printed pre.said { white-space: pre-wrap; }
.printed * + * { margin-top: 10px; }
.printed img { background: white; border-radius: 4px; }
.lessons { list-style: none; padding: 0; }
.lessons li + li { margin-top: .8rem; }
"""

if __name__ == "__main__":
    sys.exit(main())
