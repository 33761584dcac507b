"""The catalogue: every row with its page, file, tests and experiment."""

import ast
import csv
import functools
import re

from site_extension.repository import ROOT, parse, read
from site_extension.text import escape
from site_extension.usage import experiments_of

__all__ = ["covering_tests", "pages"]


@functools.cache
def covering_tests() -> dict[str, list[tuple[str, str]]]:
    """Find the tests that carry `@pytest.mark.covers("ROW")`.

    Returns:
      Row -> (file, test) of each.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        file = path.relative_to(ROOT).as_posix()
        if "covers" not in read(file):
            continue
        tree = parse(file)
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        for node in [*tree.body, *(method for test in classes for method in test.body)]:
            for call in ast.walk(ast.Module(getattr(node, "decorator_list", []), [])):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("mark.covers"):
                    for row in call.args:
                        if isinstance(row, ast.Constant):
                            found.setdefault(row.value, []).append((file, node.name))
    return found


def _subject(test: str) -> str | None:
    """The file of dlcore that a file of tests is named after, or the one that it imports first."""
    path = test.replace("tests/", "dlcore/", 1).replace("/test_", "/")
    if (ROOT / path).exists():
        return path
    folder = path.rsplit("/", 1)[0]
    for node in ast.walk(parse(test)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dlcore."):
            base = node.module.replace(".", "/")
            for name in (base, *(f"{base}/{alias.name}" for alias in node.names)):
                if (ROOT / f"{name}.py").exists() and (name.startswith(folder) or folder == "dlcore"):
                    return f"{name}.py"
    return None


def pages(chapters, targets) -> dict[str, str]:
    """Make the page of the catalogue.

    Args:
      chapters: of the book.
      targets: what shows each file.

    Returns:
      Page -> Markdown.
    """
    rows = list(csv.DictReader(read("tests/catalog.csv").splitlines()))
    tests = covering_tests()
    parts = [
        "# Catalogue",
        f"Everything that dlcore contains: {len(rows)} rows. A row links to the page of its technique, names the file, "
        "and the tests that fail if the row is wrong. A row without a test is not proven yet.",
    ]
    areas: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        areas.setdefault(row["area"], []).append(row)
    for area, group in areas.items():
        parts += [
            f"## {escape(area)}",
            "| id | name | page and file | experiment | tests |\n| --- | --- | --- | --- | --- |",
        ]
        lines = []
        for row in group:
            proofs = tests.get(row["id"], []) + tests.get(row["alias_of"], [])
            files = list(dict.fromkeys(file for file, _ in proofs))
            subject = next(filter(None, map(_subject, files)), None)
            shown = ", ".join(f"`{file.removeprefix('tests/')}`" for file in files[:2]) + (", …" if files[2:] else "")
            lines.append(
                f"| {row['id']} | {escape(row['name'])} | {_page(subject, targets)} | {_experiment(subject, targets)} "
                f"| {shown or '—'} |"
            )
        parts[-1] += "\n" + "\n".join(lines)
    return {"catalog.md": "\n\n".join(parts) + "\n"}


def _page(subject: str | None, targets) -> str:
    if subject is None:
        return "—"
    file, page = f"`{subject.removeprefix('dlcore/')}`", targets.of(subject)
    if page is None:  # a module without public names, on a site without the repository's address
        return file
    return f"[{re.sub(r'_', ' ', subject.split('/')[-1].removesuffix('.py'))}]({page}) {file}"


def _experiment(subject: str | None, targets) -> str:
    found = experiments_of(subject) if subject else []
    if not found:
        return "—"
    name = found[0].removeprefix("experiments/").removesuffix(".py").replace("/", ".")
    page = targets.of(found[0])
    return f"[{escape(name)}]({page})" if page else f"`{name}`"
