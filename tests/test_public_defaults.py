"""Defaults of public functions and classes, tables of flags, and public constants are those of the snapshot.

A default is what most people train with, as are the settings that tasks share with their pages: a number that changes
there changes results without an error. The snapshot also has the limits of arguments and fields, and of a flag in a
table, such as `SETTINGS`, whether it names a run's folder; its help is free. And it has what a function, a private one
too, states of its arguments by the `check_` functions, and on which conditions it raises: without one of these, bad
input passes silently.
After a change that is meant: DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/test_public_defaults.py -n 0
"""

import ast
import json
import os
from pathlib import Path

import pytest

from tests.layers import TOPICS
from tests.test_public_names import FILES, is_public, module_name, parse

ROOT = Path(__file__).resolve().parents[1]
FLAG = ("Setting", "._replace")
SNAPSHOT = ROOT / "tests" / "goldens" / "public_defaults.json"


def limits_of(name, annotation):
    """{"name limits": the ranges} of an argument or a field whose annotation has any."""
    parts = ast.walk(annotation) if annotation is not None else ()
    ranges = [ast.unparse(part) for part in parts if isinstance(part, ast.Call) and ast.unparse(part.func) == "Range"]
    return {f"{name} limits": "; ".join(ranges)} if ranges else {}


def checks_of(node):
    """{"checks": the calls of `check_` functions in a function, "refuses": the conditions on which it raises}.

    Both are in their order. Texts with f-strings are left out: Python 3.12 and newer print their quotes in another way.
    """
    parts = list(ast.walk(node))
    calls = [part.value for part in parts if isinstance(part, ast.Expr) and isinstance(part.value, ast.Call)]
    checks = [call for call in calls if ast.unparse(call.func).startswith("check_")]
    conditions = [part.test for part in parts if isinstance(part, ast.If) and isinstance(part.body[-1], ast.Raise)]
    found = {}
    for key, nodes in (("checks", checks), ("refuses", conditions)):
        plain = [each for each in nodes if not any(isinstance(part, ast.JoinedStr) for part in ast.walk(each))]
        found |= {key: "; ".join(map(ast.unparse, plain))} if plain else {}
    return found


def defaults_of_function(node):
    """{argument: the text of its default} of a function, in the order of its signature, its limits and its checks."""
    arguments = [*node.args.posonlyargs, *node.args.args]
    limits = {}
    for argument in [*arguments, *node.args.kwonlyargs]:
        limits |= limits_of(argument.arg, argument.annotation)
    with_default = arguments[len(arguments) - len(node.args.defaults) :]
    pairs = [
        *zip(with_default, node.args.defaults, strict=True),
        *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
    ]
    return (
        {argument.arg: ast.unparse(default) for argument, default in pairs if default is not None}
        | limits
        | checks_of(node)
    )


def constants_of(body):
    """{name: the text of its value} of the public assignments that hold a number or a truth value.

    Values with f-strings are left out: Python 3.12 and newer print their quotes in another way.
    """
    found = {}
    for item in body:
        parts = list(ast.walk(item.value)) if isinstance(item, ast.Assign) else []
        if any(isinstance(part, ast.Call) and ast.unparse(part.func).endswith(FLAG) for part in parts):
            continue  # `defaults_of_flags` reads a table of flags
        has_number = any(isinstance(part, ast.Constant) and isinstance(part.value, int | float) for part in parts)
        if has_number and not any(isinstance(part, ast.JoinedStr) for part in parts):
            names = [target.id for target in item.targets if isinstance(target, ast.Name) and target.id[0] != "_"]
            found |= dict.fromkeys(names, ast.unparse(item.value))
    return found


def defaults_of_class(node):
    """{field: the text of its default} of a class's fields, and of public methods as "method.argument"; and limits."""
    found = constants_of(node.body)
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            found |= limits_of(item.target.id, item.annotation)
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
            found[item.target.id] = ast.unparse(item.value)
        elif isinstance(item, ast.FunctionDef) and (item.name in ("__init__", "__call__") or item.name[0] != "_"):
            found |= {f"{item.name}.{name}": text for name, text in defaults_of_function(item).items()}
        elif isinstance(item, ast.FunctionDef):
            found |= {f"{item.name}.{name}": text for name, text in checks_of(item).items()}
    return found


def defaults_of_flags(tree):
    """{"TABLE.flag": what its `Setting` is given, without the help} of each dict of a module or of its classes."""
    found = {}
    inside = [item for node in tree.body if isinstance(node, ast.ClassDef) for item in node.body]
    for node in (*tree.body, *inside):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(node.value, ast.Dict):
            continue
        table = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        for key, value in zip(node.value.keys, node.value.values, strict=True):
            name = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
            if key is None or not name.endswith(FLAG):
                continue
            given = value.args[:1] + value.args[2:] if name == "Setting" else []
            words = [keyword for keyword in value.keywords if keyword.arg != "help"]
            text = ast.unparse(ast.Call(ast.Name(name.removesuffix("Setting")), given, words))
            found[f"{table}.{ast.unparse(key).strip(chr(39))}"] = text
    return found


def defaults_of_module(tree):
    """{function or class: {argument: default}} of a module's public names, its flags, and "" for its constants.

    A class has what its private bases in the module declare.
    """
    private = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] == "_"}
    found = {"": constants_of(tree.body), "flags": defaults_of_flags(tree)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = checks_of(node) if node.name[0] == "_" else defaults_of_function(node)
        elif isinstance(node, ast.ClassDef) and node.name[0] != "_":
            bases = [private[ast.unparse(base)] for base in node.bases if ast.unparse(base) in private]
            found[node.name] = {k: v for part in (*bases, node) for k, v in defaults_of_class(part).items()}
    return {name: defaults for name, defaults in found.items() if defaults}


MODULES = {module_name(path): path for path in FILES if is_public(path) and path != "dlcore/__init__.py"}


@pytest.mark.parametrize("room", sorted({module.split(".")[1] for module in MODULES}))
def test_defaults_are_those_of_the_snapshot(room):
    paths = {module: path for module, path in MODULES.items() if module.split(".")[1] == room}
    found = {module: defaults_of_module(parse(path)) for module, path in paths.items()}
    found = {module: defaults for module, defaults in found.items() if defaults}
    snapshot = json.loads(SNAPSHOT.read_text(encoding="utf-8")) if SNAPSHOT.exists() else {}
    known = {module: defaults for module, defaults in snapshot.items() if module.split(".")[1] == room}
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        merged = {module: defaults for module, defaults in snapshot.items() if module not in known} | found
        SNAPSHOT.write_text(json.dumps(dict(sorted(merged.items())), indent=1) + "\n", encoding="utf-8")
        return
    # A new file of a topic needs no entry, so that a technique is four files.
    new = {module for module in found.keys() - known.keys() if room in TOPICS}
    assert {module: defaults for module, defaults in found.items() if module not in new} == known


def test_defaults_of_functions_fields_and_methods_are_read():
    tree = ast.parse(
        "def f(a, b=2, *, c, d=0.5): pass\n"
        "def _hidden(a=1): pass\n"
        "class A:\n    rate: float = 0.1\n    size: int\n    def __call__(self, x, train=False): pass\n"
        "    def _own(self, y=3): pass\n"
        "    plain = {'flip': False}\n    word = 'a'\n    start = read()\n    _own = 1\n"
        "SMALL = {'steps': 5}\nTITLE = 'a'\n_HIDDEN = 1\nSIDE = side = 2 * STEP\n"
    )
    assert defaults_of_module(tree) == {
        "": {"SMALL": "{'steps': 5}", "SIDE": "2 * STEP", "side": "2 * STEP"},
        "f": {"b": "2", "d": "0.5"},
        "A": {"rate": "0.1", "__call__.train": "False", "plain": "{'flip': False}"},
    }


def test_checks_of_arguments_are_read():
    tree = ast.parse(
        "def f(a, b=2):\n    check_shapes(a=(a, 'N'))\n    if b:\n        check_choice('b', b, (2, 3))\n    check(a)\n"
        "    check_shapes(b=(b, f'{a} N'))\n    return check_shapes(a)\n"
        "def _own(a):\n    check_shapes(a=(a, 'N'))\n    if a > 1:\n        raise ValueError(f'a={a}')\n"
        "class A:\n    def go(self, c):\n        for x in c:\n            check_finite('c', x)\n"
        "    def __post_init__(self):\n        check_pair('d', d)\n"
    )
    assert defaults_of_module(tree) == {
        "f": {"b": "2", "checks": "check_shapes(a=(a, 'N')); check_choice('b', b, (2, 3))"},
        "_own": {"checks": "check_shapes(a=(a, 'N'))", "refuses": "a > 1"},
        "A": {"go.checks": "check_finite('c', x)", "__post_init__.checks": "check_pair('d', d)"},
    }


def test_limits_of_arguments_and_fields_are_read():
    tree = ast.parse(
        "def f(a: Annotated[float, Range(0, 1)], *, b: Annotated[int | None, Range(2), 'x'] = 3, c: int = 4): pass\n"
        "class A:\n    sides: Annotated[tuple[int, int], Range(1)]\n    name: str = 'x'\n"
    )
    assert defaults_of_module(tree) == {
        "f": {"b": "3", "c": "4", "a limits": "Range(0, 1)", "b limits": "Range(2)"},
        "A": {"sides limits": "Range(1)", "name": "'x'"},
    }


def test_flags_of_a_table_are_read_without_their_help():
    tree = ast.parse(
        "SETTINGS = {'rate': Setting(0.5, 'how fast', float, limits=Range(0), essential=True), **MORE}\n"
        "class A:\n    shared = {'n': Setting(1, help='many'), 'm': RUN['m']._replace(default=2, help='x')}\n"
        "OTHER = {'a': 'x', 'b': f()}\n"
    )
    assert defaults_of_module(tree) == {
        "flags": {
            "SETTINGS.rate": "(0.5, float, limits=Range(0), essential=True)",
            "shared.n": "(1)",
            "shared.m": "RUN['m']._replace(default=2)",
        }
    }
