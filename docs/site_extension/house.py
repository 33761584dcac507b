"""The drawing of the house: its rooms in the order in which they may import each other, from the imports themselves."""

import ast
import runpy

from site_extension.repository import ROOT, docstring, parse
from site_extension.text import escape, lead

__all__ = ["edges", "pages"]


def edges() -> dict[tuple[str, str], int]:
    """Count the imports between rooms.

    Returns:
      (importing room, imported room) -> number of import statements.
    """
    found: dict[tuple[str, str], int] = {}
    for path in sorted((ROOT / "dlcore").rglob("*.py")):
        parts = path.relative_to(ROOT / "dlcore").with_suffix("").parts
        for node in ast.walk(parse(path.relative_to(ROOT).as_posix())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dlcore."):
                pair = (parts[0], node.module.split(".")[1])
                if pair[0] != pair[1]:
                    found[pair] = found.get(pair, 0) + 1
    return found


def pages(chapters, targets) -> dict[str, str]:
    """Make the page with the drawing.

    Args:
      chapters: of the book.
      targets: what shows each file.

    Returns:
      Page -> Markdown.
    """
    layers, counts = runpy.run_path(str(ROOT / "tests" / "layers.py"))["LAYERS"], edges()
    table = ["| room | what it holds | imports from |", "| --- | --- | --- |"]
    for layer in layers:
        for room in layer:
            path = f"dlcore/{room}/__init__.py" if (ROOT / "dlcore" / room).is_dir() else f"dlcore/{room}.py"
            below = [f"{other} ({count})" for (importer, other), count in sorted(counts.items()) if importer == room]
            page = targets.of(path.removesuffix("/__init__.py"))
            table.append(f"| [{room}]({page}) | {escape(lead(docstring(path)))} | {escape(', '.join(below))} |")
    drawing = "\n".join("  →  ".join([", ".join(layer)]) for layer in layers)
    text = (
        "# How the house is built\n\n"
        "dlcore is a house of rooms. A room imports only from rooms above it in the drawing, so that a file can be "
        "read after the files that it uses and nothing needs to know what is built on top of it. A test checks every "
        "import.\n\n"
        f"```text\n{drawing.replace(chr(10), chr(10) + '   ↓' + chr(10))}\n```\n\n"
        "## Rooms and their imports\n\nThe numbers count import statements.\n\n" + "\n".join(table) + "\n\n"
        "[How to contribute](/generated/contributing.md) says what belongs in each room, and how to add a technique in "
        "four files.\n"
    )
    return {"house.md": text}
