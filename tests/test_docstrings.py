"""Public functions say what goes in, what comes out and what is raised.

`python tests/test_docstrings.py dlcore/losses` lists what is missing below a path.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECTION = re.compile(r"^\s*(Args|Returns|Raises|Yields):\s*(.*)$")
ENTRY = re.compile(r"^\s+\*{0,2}(\w+)(?: \([^)]*\))?: \S")


def sections(doc):
    """{section: its lines} of a docstring."""
    found, current = {}, None
    for line in doc.split("\n"):
        if match := SECTION.match(line):
            current = found.setdefault(match[1], [match[2]] if match[2] else [])
        elif current is not None:
            current.append(line)
    return found


def entries(lines):
    """The names that a section documents, one a line, `name: text`."""
    return {match[1] for line in lines if (match := ENTRY.match("  " + line))}


def parameters(function, is_method):
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None]
    static = any(ast.unparse(d) == "staticmethod" for d in function.decorator_list)
    return [name for name in names[1 if is_method and not static else 0 :] if not name.startswith("_")]


def raises_itself(function):
    """Whether the body raises ValueError, TypeError, OSError or another error of its own accord."""
    inside = [n for n in ast.walk(function) if isinstance(n, ast.Raise) and n.exc is not None]
    return any(re.match(r"\w*(Error|Mismatch|Preempted)\b", ast.unparse(n.exc)) for n in inside)


def wrong_function(function, is_method=False):
    doc = ast.get_docstring(function) or ""
    found, names = sections(doc), parameters(function, is_method)
    decorators = {ast.unparse(d).split("(")[0] for d in function.decorator_list}
    if decorators & {"property", "functools.cached_property", "overload", "typing.overload", "x.setter"}:
        return
    missing = [name for name in names if name not in entries(found.get("Args", []))]
    if missing:
        yield f"Args lacks {', '.join(missing)}"
    returns = function.returns is None or ast.unparse(function.returns) not in ("None", "NoReturn")
    if returns and not ({"Returns", "Yields"} & set(found)):
        yield "no Returns"
    if raises_itself(function) and "Raises" not in found:
        yield "no Raises"


def fields(node):
    """The documented fields of a NamedTuple, dataclass or flax module."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign):
            name = ast.unparse(part.target)
            if not name.startswith("_") and "ClassVar" not in ast.unparse(part.annotation):
                yield name


def wrong_class(node):
    said = entries(sections(ast.get_docstring(node) or "").get("Args", []))
    is_enum = any("Enum" in ast.unparse(base) for base in node.bases)
    missing = [] if is_enum else [name for name in fields(node) if name not in said]
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            missing += [name for name in parameters(part, True) if name not in said]
    if missing:
        yield node.lineno, node.name, f"Args lacks {', '.join(missing)}"
    for part in node.body:
        if not isinstance(part, ast.FunctionDef) or part.name in ("__init__", "setup", "features"):
            continue
        if part.name == "__call__" or (not part.name.startswith("_") and ast.get_docstring(part)):
            for text in wrong_function(part, True):
                yield part.lineno, f"{node.name}.{part.name}", text


def wrong_module(tree):
    """(line, name, what is wrong) of the public names that a module defines."""
    public = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            public = set(ast.literal_eval(node.value))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in public:
            yield from ((node.lineno, node.name, text) for text in wrong_function(node))
        elif isinstance(node, ast.ClassDef) and node.name in public:
            yield from wrong_class(node)


def wrong_files(folder):
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*.py"))
    for path in paths:
        for line, name, text in wrong_module(ast.parse(path.read_text(encoding="utf-8"))):
            yield f"{path}:{line}: {name}: {text}"


ROOMS = sorted(
    path.name for path in (ROOT / "dlcore").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
)


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_say_what_they_take_and_give(room):
    wrong = list(wrong_files(ROOT / "dlcore" / room))
    assert not wrong, "\n".join(wrong)


BARE_POINT = re.compile(r"(?<![\w.@:\[\])/*$\\\"'])\.\d+(?!x?[\w.]*[A-WYZa-wyz_])")
"""A number below one without its zero, not one of a path, a version or AP@.5."""


def bare_points(folder):
    """The lines of docstrings below a folder that write .5 for 0.5."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            lines = (ast.get_docstring(node) or "").split("\n") if isinstance(node, kinds) else []
            yield from (f"{path.relative_to(ROOT)}: {line.strip()}" for line in lines if BARE_POINT.search(line))


@pytest.mark.parametrize("folder", [*(f"dlcore/{room}" for room in ROOMS), "experiments"])
def test_numbers_below_one_have_their_zero(folder):
    assert not list(bare_points(ROOT / folder))


def test_a_number_without_its_zero_is_seen():
    assert all(map(BARE_POINT.search, ["is .5", "(.25)", "-.5", "at .9x PyTorch", "0 to .1"]))
    assert not any(map(BARE_POINT.search, ["0.5", "mAP@[.5:.95]", "AP@.5", "a.1", "run.3mf", "v1.0.0rc1", "1/.5"]))


def test_the_check_sees_what_is_missing():
    code = '''
__all__ = ["f", "g", "A"]
def f(x, y=1):
    """Do.

    Args:
      x: [N].
    """
    raise ValueError
def g(*, x: int) -> None:
    """Do.

    Args:
      x: a number.
    """
class A(NamedTuple):
    """A pair.

    Args:
      x: one.
    """
    x: int
    y: int
    def h(self, z):
        """Do."""
'''
    found = [(name, text) for _, name, text in wrong_module(ast.parse(code))]
    assert found == [
        ("f", "Args lacks y"),
        ("f", "no Returns"),
        ("f", "no Raises"),
        ("A", "Args lacks y"),
        ("A.h", "Args lacks z"),
        ("A.h", "no Returns"),
    ]


if __name__ == "__main__":
    lines = [line for name in sys.argv[1:] or ["dlcore"] for line in wrong_files(Path(name))]
    print(*lines, f"{len(lines)} places", sep="\n")
