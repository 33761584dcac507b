"""The files of the repository, parsed once."""

import ast
import functools
from pathlib import Path

__all__ = ["DOCS", "GENERATED", "ROOT", "docstring", "docstrings", "parse", "read"]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = DOCS / "generated"


@functools.cache
def read(path: str) -> str:
    """Read a file.

    Args:
      path: in the repository.

    Returns:
      Its text.
    """
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def parse(path: str) -> ast.Module:
    """Parse a Python file.

    Args:
      path: in the repository.

    Returns:
      Its syntax tree.
    """
    return ast.parse(read(path), path)


def docstring(path: str) -> str:
    """Read the docstring of a module.

    Args:
      path: in the repository.

    Returns:
      The docstring without indentation, "" where there is none.
    """
    return ast.get_docstring(parse(path)) or ""


def docstrings(path: str) -> str:
    """Join the docstrings of a module and of what it defines.

    Args:
      path: in the repository.

    Returns:
      The docstrings without indentation.
    """
    nodes = [n for n in ast.walk(parse(path)) if isinstance(n, ast.Module | ast.FunctionDef | ast.ClassDef)]
    return "\n\n".join(filter(None, map(ast.get_docstring, nodes)))
