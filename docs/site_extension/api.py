"""The reference of all public names, from the source: nothing is imported."""

import ast
import re
from collections.abc import Iterable

from site_extension.book import PageError
from site_extension.inheritance import base_classes, base_methods, class_sections, merge_sections, split_sections
from site_extension.repository import ROOT, docstring, parse
from site_extension.text import escape, lead, markdown

__all__ = ["described", "pages", "reference"]


def pages(chapters, targets) -> dict[str, str]:
    """Make a page for each package of dlcore, with every module and its public names.

    Args:
      chapters: of the book.
      targets: what shows each file.

    Returns:
      Page -> Markdown.

    Raises:
      PageError: a public function or class has no docstring.
    """
    packages: dict[str, list[str]] = {}
    for path in sorted((ROOT / "dlcore").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        parts = file.split("/")
        if not path.name.startswith("_") or path.name == "__init__.py":
            packages.setdefault(parts[1] if len(parts) > 2 else "dlcore", []).append(file)
    # Pages outside the navigation: rendering it with hundreds of pages takes seconds a page.
    made, table = {}, ["| package | what it holds |", "| --- | --- |"]
    for package, files in packages.items():
        name = "dlcore" if package == "dlcore" else f"dlcore.{package}"
        files = sorted(files, key=lambda file: (not file.endswith("__init__.py"), file))
        made[f"api/{package}.md"] = f"---\norphan: true\n---\n\n# {name}\n\n" + "\n\n".join(map(_module, files)) + "\n"
        summary = lead(docstring(files[0])) if files[0].endswith("__init__.py") else ""
        table.append(f"| [{name}](/generated/api/{package}.md) | {escape(summary)} |")
    made["api/index.md"] = (
        "# Reference of public names\n\nEvery public function and class of dlcore, by package. Shapes are written "
        "`[B, H, W, C]`; `[...]` are batch axes. The search finds names.\n\n" + "\n".join(table) + "\n"
    )
    return made


def described(node: ast.AST, bases: Iterable[ast.AST] = ()) -> str:
    """Convert the docstring of a function or a class.

    Args:
      node: its definition.
      bases: definitions of the methods that it overrides, or of the classes that it inherits, the nearest first; they
        complete its docstring.

    Returns:
      Markdown: paragraphs, then the arguments, results and errors as lists.
    """
    out = []
    is_class = isinstance(node, ast.ClassDef)
    merged = class_sections(node, bases) if is_class else merge_sections([split_sections(n) for n in (node, *bases)])
    for heading, lines in merged.items():
        if not heading:
            out.append(markdown("\n".join(lines)))
            continue
        items: list[str] = []
        for number, line in enumerate(lines):
            # Each argument begins a line; what is returned is one text.
            begins = number == 0 or heading not in ("Returns", "Yields") or not lines[number - 1].strip()
            if re.match(r"^  \S", line) and begins:
                items.append(line.strip())
            elif line.strip() and items:
                items[-1] += " " + line.strip()
        out.append(f"**{heading}**")
        out.append("\n".join(_item(item, heading) for item in items))
    return "\n\n".join(part for part in out if part)


def _item(item: str, heading: str) -> str:
    name, colon, rest = item.partition(": ")
    if heading != "Returns" and colon and re.fullmatch(r"[\w*., ]+", name):
        return f"- `{name}`: {escape(rest)}"
    return f"- {escape(item)}"


def _module(path: str) -> str:
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    label = "module-" + re.sub(r"[._]", "-", name)
    parts = [f"({label})=", f"## {name}", f"```{{py:module}} {name}\n```"]
    if text := docstring(path):
        parts.append(markdown(text))
    public = _public(parse(path))
    for node in parse(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (
            node.name in public if public is not None else not node.name.startswith("_")
        ):
            if not ast.get_docstring(node):
                raise PageError(f"{path}: {node.name}: a public name without a docstring")
            parts.append(reference(node, parse(path)))
    return "\n\n".join(parts)


def _public(tree: ast.Module) -> set[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    return None


def reference(node: ast.FunctionDef | ast.ClassDef, tree: ast.Module) -> str:
    """Describe a public name; fields and methods show what they inherit.

    Args:
      node: its definition.
      tree: its module.

    Returns:
      Markdown.
    """
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f":::::{{py:function}} {node.name}({ast.unparse(node.args)}){returns}\n\n{described(node)}\n:::::"
    body = described(node, base_classes(tree, node, _parse_if_any))
    methods = [n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    for method in methods:
        if text := described(method, base_methods(tree, node, method.name, _parse_if_any)):
            body += f"\n\n::::{{py:method}} {method.name}({ast.unparse(method.args)})\n\n{text}\n::::"
    return f":::::{{py:class}} {node.name}\n\n{body}\n:::::"


def _parse_if_any(path: str) -> ast.Module | None:
    return parse(path) if (ROOT / path).is_file() else None
