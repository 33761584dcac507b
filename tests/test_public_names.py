"""Every public module lists its names, they exist, and they are those of the snapshot.

A new file of a topic needs no entry, so that a technique is four files; what stands in the snapshot may not change. The
same holds for the stubs (`__init__.pyi`) of packages that import their names when these are used.
After a change that is meant: DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/test_public_names.py -n 0
"""

import ast
import functools
import importlib
import json
import os
import re
from pathlib import Path

import pytest

import dlcore.lazy
from tests.layers import TOPICS

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOT = ROOT / "tests" / "goldens" / "public_names.json"


LISTED = re.compile(r"^(?:__all__|lazy_exports\()[^\n]*(?:\n[ \t][^\n]*)*(?:\n[\])}][^\n]*)?", re.M)


def parse(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), path)


@functools.cache
def parse_listed(path):
    """The statements of a file that list its public names alone: all files in a tenth of the time of `parse`."""
    return ast.parse("\n".join(LISTED.findall((ROOT / path).read_text(encoding="utf-8"))), path)


def module_name(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def public_names(tree):
    """The literal value of __all__, or the names given to lazy_exports (none: those of the files), or None."""
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            if ast.unparse(node.value.func) == "lazy_exports":
                return sorted(ast.literal_eval(node.value.args[1])) if len(node.value.args) > 1 else []
            continue
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return sorted(ast.literal_eval(node.value))
    return None


def defines_something(tree):
    """Whether a module has anything but a docstring and dunder names such as __version__."""
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.Assign) and all(ast.unparse(target).startswith("__") for target in node.targets):
            continue
        return True
    return False


def is_public(path):
    return not any(part.startswith("_") and part != "__init__.py" for part in Path(path).parts)


FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "dlcore").rglob("*.py"))
PUBLIC = [
    path for path in FILES if is_public(path) and (not path.endswith("__init__.py") or defines_something(parse(path)))
]


@pytest.mark.parametrize("room", sorted({Path(path).parts[1] for path in PUBLIC}))
def test_public_names_are_listed_and_exist(room):
    wrong = []
    for path in PUBLIC:
        if Path(path).parts[1] != room:
            continue
        names = public_names(parse_listed(path))
        module = importlib.import_module(module_name(path))
        if names is None:
            wrong.append(f"{path} has no __all__")
            continue
        wrong += [f"{path}: {name} is in __all__ twice" for name in set(names) if names.count(name) > 1]
        wrong += [f"{path}: {name} is in __all__ and does not exist" for name in names if not hasattr(module, name)]
    assert not wrong, "\n".join(wrong)


def test_public_names_are_those_of_the_snapshot():
    names = {module_name(path): public_names(parse_listed(path)) for path in PUBLIC}
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(names, indent=1, sort_keys=True) + "\n")
    known = json.loads(SNAPSHOT.read_text())
    names = {module: names[module] for module in names if module in known or module.split(".")[1] not in TOPICS}
    now, before = ({f"{module}.{name}" for module in d for name in d[module] or ()} for d in (names, known))
    change = [f"+ {name}" for name in sorted(now - before)] + [f"- {name}" for name in sorted(before - now)]
    assert not change, "public names changed (see this file's docstring):\n" + "\n".join(change)


LAZY = [path for path in FILES if path.endswith("/__init__.py") and "lazy_exports(" in (ROOT / path).read_text()]


def stub(path):
    """The .pyi of a package that imports its names when they are used: a line for each, for editors and checkers."""
    call = next(
        node.value
        for node in parse(path).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and "lazy" in ast.unparse(node.value.func)
    )
    package = module_name(path)
    names = ast.literal_eval(call.args[1]) if len(call.args) > 1 else None
    exports = dlcore.lazy._public_names((ROOT / path).parent) if names is None else names
    lines = {
        f"from {path if path.startswith('dlcore.') else f'{package}.{path}'.rstrip('.')} import {name} as {name}"
        for name, path in exports.items()
    }
    return "".join(f"{line}\n" for line in sorted(lines))


@pytest.mark.parametrize("path", LAZY)
def test_editors_see_the_names_of_lazy_packages(path):
    file = ROOT / f"{path}i"
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        file.write_text(stub(path))
    now, known = (set(text.splitlines()) for text in (stub(path), file.read_text() if file.exists() else ""))
    new = now - known if Path(path).parts[1] not in TOPICS else set()  # a new file of a topic needs no entry
    change = [f"+ {line}" for line in sorted(new)] + [f"- {line}" for line in sorted(known - now)]
    assert not change, f"{path}i is out of date (see this file's docstring):\n" + "\n".join(change)
