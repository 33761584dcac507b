"""A page for each line of the chapters' lists: the equation, the code, the command and what was measured."""

import ast
import functools
import json
import re
import shlex
import statistics
from pathlib import Path

from experiments.gallery import origin_of
from site_extension.book import Entry, PageError, paragraphs_about
from site_extension.gallery import address, figure_file, is_chart, picture_file
from site_extension.links import rewrite
from site_extension.repository import DOCS, docstring, docstrings, parse, read
from site_extension.text import escape, has_equation, has_reference, lead, markdown
from site_extension.usage import experiments_of, pictured

__all__ = [
    "check_citations",
    "ledger_rows",
    "pages",
    "result_table",
    "written",
]

WRITTEN_SECTIONS = ["What it is for", "Equation"]
"""Sections of a part that a person wrote."""
MAX_CODE_LINES = 170
"""Lines of code that a page shows, unless its first function is longer; the rest is in the file."""


def pages(chapters, targets) -> dict[str, str]:
    """Make the pages of all techniques and experiments.

    Args:
      chapters: of the book.
      targets: what shows each file.

    Returns:
      Page -> Markdown.

    Raises:
      PageError: a technique's docstring has no equation or no reference.
    """
    made = {}
    for chapter in chapters:
        for entry in chapter.entries:
            make = _technique if entry.path.startswith("dlcore/") else _experiment
            made[f"{entry.docname}.md"] = make(entry, chapter, targets)
    return made


@functools.cache
def ledger_rows() -> dict[str, dict]:
    """Read the ledger of results.

    Returns:
      id -> row.
    """
    return {row["id"]: row for row in map(json.loads, read("experiments/results.jsonl").splitlines())}


@functools.cache
def simple_rows() -> dict[str, dict]:
    """Read the values of simple methods.

    Returns:
      key -> row.
    """
    return {row["key"]: row for row in map(json.loads, read("experiments/simple/values.jsonl").splitlines())}


def check_citations(text: str, where: str) -> None:
    """Check the numbers that a text quotes from the ledger: `[99.1 %](../../experiments/results.jsonl#ID)`.

    The numbers of simple methods are quoted likewise: `[96.3 %](../../experiments/simple/values.jsonl#KEY)`.

    Args:
      text: Markdown.
      where: its name, for the error.

    Raises:
      PageError: the ledger has no such row, or another number.
    """
    for words, file, name in re.findall(r"\[([^\]]+)\]\([^)]*?((?:results|simple/values)\.jsonl)#([^)]+)\)", text):
        row = (ledger_rows() if file == "results.jsonl" else simple_rows()).get(name)
        if row is None:
            raise PageError(f"{where}: {file}#{name}: the ledger has no such id")
        shown = re.search(r"-?\d[\d,]*\.?\d*", words)
        if shown is None or row["mean"] is None:
            raise PageError(f"{where}: [{words}]({file}#{name}): no number to compare")
        digits = shown[0].replace(",", "")
        mean = row["mean"] * (100 if "%" in words else 1)
        decimals = len(digits.partition(".")[2])
        if abs(float(digits) - mean) > 0.501 * 10**-decimals:
            raise PageError(f"{where}: [{words}]({file}#{name}): the ledger has {mean:.6g}")


def result_table(rows: list[dict]) -> str:
    """Show rows of the ledger.

    Args:
      rows: rows of one experiment.

    Returns:
      A Markdown table without its empty columns, and the commands and remarks below it.
    """
    table = [("result", "value", "baseline", "published", "hardware", "commit")]
    for row in rows:
        known, published = row["baseline"], row["published"]
        cells = (
            f"{row['metric']}, {row['dataset']}",
            _value(row),
            f"{_number(known['value'], row['metric'])} ({known['name']})" if known else "",
            f"{_number(published['value'], row['metric'])} ({published['source']})" if published else "",
            row["hardware"] or "",
            ", ".join(commit[:7] for commit in (row["commit"] or "").split(", ")),
        )
        table.append(tuple(escape(str(cell)) for cell in cells))
    columns = [column for column in zip(*table, strict=True) if any(column[1:])]
    head, *rest = ["| " + " | ".join(cells) + " |" for cells in zip(*columns, strict=True)]
    lines = [head, "| --- " * len(columns) + "|", *rest]
    for row in rows:
        lines += ["", f"**{escape(row['id'])}**" + (f": {escape(row['note'])}" if row["note"] else "")]
        if row.get("claim"):
            held = {True: "The claim held.", False: "The claim did not hold."}.get(row["holds"], "")
            lines += ["", f"{held} {escape(row['verdict'])}".strip()]
        lines += [
            "",
            "```bash",
            row["command"],
            f"python -m experiments.results --rerun {shlex.quote(row['id'])}",
            "```",
        ]
    return "\n".join(lines)


def _value(row: dict) -> str:
    if row["mean"] is None:
        return row["status"]
    values, seeds = list(row["values"].values()), ", ".join(row["values"])
    spread = f" ± {_number(statistics.stdev(values), row['metric'])}" if len(values) > 1 else ""
    return _number(row["mean"], row["metric"]) + spread + ("" if seeds == "all" else f" (seeds {seeds})")


def _number(value: float, metric: str) -> str:
    from dlcore.report.measures import in_per_cent

    return f"{100 * value:.2f} %" if in_per_cent(metric) else f"{value:.4g}"


def _head(entry: Entry, chapter, summary: str, targets) -> list[str]:
    parts = ["---\norphan: true\n---", f"({entry.label})=", f"# {escape(entry.title)}", escape(summary)]
    parts.append(f"From the chapter [{escape(chapter.title)}](/book/{chapter.name}.md).")
    return parts + (_figure(entry) or _result(entry, targets))


def _figure(entry: Entry) -> list[str]:
    """The figure that explains a technique, and its caption."""
    file = figure_file(entry)
    if not (entry.path.startswith("dlcore/") and file.exists()):
        return []
    return [_image(entry, file), escape(origin_of(file)[1])]


def _result(entry: Entry, targets) -> list[str]:
    """A picture of a run, and where it is from."""
    shown = pictured(entry.path, targets.entries)
    if shown is None:
        return []
    file = picture_file(shown)
    command, panel = origin_of(file)
    told = [f"[{escape(shown.title)}](#{shown.label})"] if shown.path != entry.path else []
    told += [f"`{command}`"] if command else []
    words = f"the panel “{escape(panel)}” in the report of" if panel else "from"
    return [_image(entry, file), *([f"The picture is {words} {', '.join(told)}."] if told else [])]


def _image(entry: Entry, path: Path) -> str:
    kind = "{.chart}" if is_chart(path) else ""
    return f"![{escape(entry.title)}]({address(path)}){kind}"


def _about(entry: Entry, chapter, paths: set[str], targets) -> list[str]:
    found = paragraphs_about(chapter, paths)
    if not found:
        return []
    where = Path("docs/book") / f"{chapter.name}.md"
    return ["## What it is for", *(rewrite(text, where, targets) for text in found)]


def written(entry: Entry, folder: Path = DOCS / "techniques") -> tuple[str, str, str] | None:
    """Read the part of a technique's page that a person wrote, `docs/techniques/TOPIC/NAME.md`.

    Args:
      entry: line of a chapter.
      folder: where these parts are.

    Returns:
      Title, first sentence and the rest as Markdown; None where nobody wrote one.

    Raises:
      PageError: the part does not begin with a title and one paragraph, or lacks a section.
    """
    path = folder / f"{entry.name.replace('.', '/')}.md"
    if not entry.path.startswith("dlcore/") or not path.exists():
        return None
    found = re.match(r"# ([^\n]+)\n\n([^#\n].*?)\n\n(## .*)", path.read_text(encoding="utf-8"), re.DOTALL)
    sections = re.findall(r"^## (.+)$", found[3], re.MULTILINE) if found else []
    if found is None or sections != WRITTEN_SECTIONS:
        raise PageError(f"{path}: a title, one paragraph, and then the sections {', '.join(WRITTEN_SECTIONS)}")
    return found[1], found[2], found[3].strip()


def _technique(entry: Entry, chapter, targets) -> str:
    text, everything = docstring(entry.path), docstrings(entry.path)
    for lacks, known in (("equation", has_equation(everything)), ("reference", has_reference(everything))):
        if not known:
            raise PageError(f"{entry.path}: its docstrings have no {lacks}; each technique of a chapter needs one")
    experiments = experiments_of(entry.path)
    body = markdown(text.split("\n\n", 1)[1]) if "\n\n" in text else ""
    if part := written(entry):
        title, summary, rest = part
        parts = _head(entry._replace(title=title), chapter, summary, targets)
        parts += [rewrite(rest, Path("docs/techniques") / f"{entry.name.replace('.', '/')}.md", targets)]
        parts += ["## Source and choices of this code", body or escape(lead(text))]
    else:
        parts = _head(entry, chapter, lead(text), targets)
        parts += _about(entry, chapter, {entry.path, *experiments[:1]}, targets)
        parts += ["## Equation and source", body or escape(lead(text))]
    parts += ["## Code", _code(entry.path)]
    module = "module-" + re.sub(r"[/._]", "-", entry.path.removesuffix(".py"))
    parts.append(f"All public names of the module are in the [reference](#{module}).")
    if _figure(entry) and (result := _result(entry, targets)):
        parts += ["## What a run gives", *result]
    if experiments:
        parts += _run_and_results(experiments, targets, own=entry.path.replace("dlcore/", "experiments/", 1))
    return "\n\n".join(parts) + "\n"


def _experiment(entry: Entry, chapter, targets) -> str:
    text = docstring(entry.path)
    parts = _head(entry, chapter, lead(text), targets)
    parts += _about(entry, chapter, {entry.path}, targets)
    parts += _run_and_results([entry.path], targets, own=entry.path)
    parts += ["## Code", _code(entry.path)]
    return "\n\n".join(parts) + "\n"


def _run_and_results(experiments: list[str], targets, own: str) -> list[str]:
    parts, others = [], []
    reasons = json.loads(read("experiments/not_run.json"))
    for path in experiments:
        name = path.removeprefix("experiments/").removesuffix(".py").replace("/", ".")
        if path != own:
            page = targets.of(path)
            title = targets.entries[path].title if path in targets.entries else name
            others.append(
                f"- [{escape(title)}]({page})" if page else f"- {escape(title)}: `python -m experiments.{name}`"
            )
            continue
        text = docstring(path)
        parts += ["## Run it", markdown(text.split("\n\n", 1)[1]) if "\n\n" in text else escape(text)]
        rows = [
            row
            for row in ledger_rows().values()
            if re.search(rf"-m experiments\.{re.escape(name)}(\s|$)", row["command"])
        ]
        if rows:
            parts += ["## Measured", result_table(rows)]
        else:
            parts += ["## Measured", f"No row of the ledger: {escape(reasons.get(name, 'not run'))}."]
    if others:
        parts += ["## Used by", "\n".join(others[:12])]
    return parts


def _code(path: str) -> str:
    """The core of a file: whole functions and classes without their docstrings, `learner` and public names first."""
    nodes = [n for n in parse(path).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    chosen, shown = [], 0
    for node in sorted(nodes, key=lambda n: (n.name != "learner", n.name.startswith("_"))):
        ranges = _ranges(node)
        size = sum(last - first + 1 for first, last in ranges)
        if not chosen or shown + size <= MAX_CODE_LINES:
            chosen.append((node.lineno, ranges))
            shown += size
    lines = read(path).splitlines()
    parts = [
        "\n".join("\n".join(lines[first - 1 : last]).strip("\n") for first, last in ranges)
        for _, ranges in sorted(chosen)
    ]
    code = "\n\n\n".join(parts) if parts else "\n".join(lines[:MAX_CODE_LINES])
    return f"````{{code-block}} python\n:caption: {path}\n\n{code}\n````"


def _ranges(node: ast.FunctionDef | ast.ClassDef) -> list[tuple[int, int]]:
    """First and last line of what stands before a definition's docstring and after it."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    if ast.get_docstring(node) is None or len(node.body) == 1:
        return [(first, node.end_lineno)]
    return [(first, node.body[0].lineno - 1), (node.body[0].end_lineno + 1, node.end_lineno)]
