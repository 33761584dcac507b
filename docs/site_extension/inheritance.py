"""Documentation that methods and fields inherit: an override says what is particular to it, its base says the rest.

This file needs the standard library alone, since the tests read it without Sphinx.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

__all__ = ["base_classes", "base_methods", "class_sections", "merge_sections", "split_sections"]

SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):\s*(.*)$")
ENTRY = re.compile(r"^  \*{0,2}(\w+)(?: \([^)]*\))?: \S")
Parse: TypeAlias = Callable[[str], ast.Module | None]


def split_sections(node: ast.AST) -> dict[str, list[str]]:
    """Split the docstring of a function or a class.

    Args:
      node: its definition.

    Returns:
      {section: its lines}; the text before the first section is section "".
    """
    sections: dict[str, list[str]] = {"": []}
    lines = sections[""]
    for line in (ast.get_docstring(node) or "").splitlines():
        if match := SECTION.match(line):
            lines = sections.setdefault(match[1], [f"  {match[2]}"] if match[2] else [])
        else:
            lines.append(line)
    return sections


def merge_sections(sections: list[dict[str, list[str]]]) -> dict[str, list[str]]:
    """Complete the docstring of a method by those of the methods that it overrides.

    Args:
      sections: sections of the method, then those of its bases.

    Returns:
      The method's own text and sections; its bases' arguments that it does not name, and their other sections that it
      does not have. A method without a text takes the nearest one.
    """
    merged: dict[str, list[str]] = {}
    for docstring in sections:
        for section, lines in docstring.items():
            if section == "Args" and section in merged:
                documented, is_new = _names(merged[section]), False
                for line in lines:
                    if name := ENTRY.match(line):
                        is_new = name[1] not in documented
                    if is_new:
                        merged[section].append(line)
            elif not any(line.strip() for line in merged.get(section, ())):
                merged[section] = list(lines)
    return merged


def _names(lines: list[str]) -> set[str]:
    return {match[1] for line in lines if (match := ENTRY.match(line))}


def class_sections(node: ast.ClassDef, bases: Iterable[ast.ClassDef]) -> dict[str, list[str]]:
    """Complete the docstring of a class by what its bases say of the fields that it, or a private base, declares.

    Args:
      node: the class.
      bases: the classes that it inherits, the nearest first.

    Returns:
      {section: its lines}.
    """
    bases = list(bases)
    own = [node, *(base for base in bases if base.name.startswith("_"))]
    fields = {ast.unparse(part.target) for cls in own for part in cls.body if isinstance(part, ast.AnnAssign)}
    sections = [split_sections(node)]
    for base in bases:
        lines, is_field = [], False
        for line in split_sections(base).get("Args", []):
            if name := ENTRY.match(line):
                is_field = name[1] in fields
            lines += [line] * is_field
        sections.append({"Args": lines} if lines else {})
    return merge_sections(sections)


def base_classes(tree: ast.Module, node: ast.ClassDef, parse: Parse) -> Iterator[ast.ClassDef]:
    """Find the classes of dlcore that a class inherits.

    Args:
      tree: the module that defines the class.
      node: the class.
      parse: path in the repository -> its syntax tree; None where there is no such file.

    Yields:
      Its bases, the nearest first.
    """
    for base in node.bases:
        owner = _resolve(tree, base.value if isinstance(base, ast.Subscript) else base, parse)
        if owner is not None:
            yield owner[1]
            yield from base_classes(*owner, parse)


def base_methods(tree: ast.Module, node: ast.ClassDef, name: str, parse: Parse) -> Iterator[ast.FunctionDef]:
    """Find the methods of dlcore that a method overrides.

    Args:
      tree: the module that defines the class.
      node: the class.
      name: name of the method.
      parse: path in the repository -> its syntax tree; None where there is no such file.

    Yields:
      The methods of its bases, the nearest first.
    """
    for base in base_classes(tree, node, parse):
        yield from (part for part in base.body if isinstance(part, ast.FunctionDef) and part.name == name)


def _resolve(tree: ast.Module, expression: ast.expr, parse: Parse) -> tuple[ast.Module, ast.ClassDef] | None:
    """Find the class of dlcore that an expression names, and its module."""
    if isinstance(expression, ast.Attribute):
        imported = _module(tree, expression.value, parse)
        return None if imported is None else _resolve(imported, ast.Name(expression.attr), parse)
    if not isinstance(expression, ast.Name):
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == expression.id:
            return tree, node
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dlcore"):
            for alias in node.names:
                if expression.id == (alias.asname or alias.name) and (module := _read(node.module, parse)):
                    return _resolve(module, ast.Name(alias.name), parse)
    return None


def _module(tree: ast.Module, expression: ast.expr, parse: Parse) -> ast.Module | None:
    """Find the module of dlcore that a name such as `images` in `images.Images` stands for."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dlcore"):
            for alias in node.names:
                if ast.unparse(expression) == (alias.asname or alias.name):
                    return _read(f"{node.module}.{alias.name}", parse)
    return None


def _read(module: str, parse: Parse) -> ast.Module | None:
    path = module.replace(".", "/")
    return parse(f"{path}.py") or parse(f"{path}/__init__.py")
