"""A learner is read at once: at most 70 lines beside its docstring."""

import ast
from pathlib import Path

DLCORE = Path(__file__).resolve().parents[1] / "dlcore"
MOST = 70


def lines_of(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
    docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0
    return node.end_lineno - node.lineno + 1 - docstring


def learners() -> dict[str, int]:
    found = {}
    for file in sorted(DLCORE.rglob("*.py")):
        text = file.read_text()
        for node in ast.parse(text).body if "learner(" in text else ():
            if isinstance(node, ast.FunctionDef) and node.name.endswith("learner"):
                found[f"{file.relative_to(DLCORE)}:{node.name}"] = lines_of(node)
    return found


def test_lines_are_counted_without_the_docstring():
    node = ast.parse('def learner(x):\n    """One.\n\n    Two.\n    """\n    y = x\n\n    return y\n').body[0]
    assert lines_of(node) == 4


def test_learners_are_short():
    found = learners()
    assert len(found) > 50
    assert not {name: count for name, count in found.items() if count > MOST}
