"""Which experiments use a technique, and whose picture shows it, from the imports."""

import ast
import collections
import functools
from collections.abc import Iterator

from site_extension.book import Entry
from site_extension.gallery import picture
from site_extension.repository import ROOT, parse, read

__all__ = ["experiments_of", "imported_modules", "pictured"]


def imported_modules(path: str) -> set[str]:
    """Find the modules of dlcore that a file imports.

    Args:
      path: file in the repository.

    Returns:
      Names such as "dlcore.losses.contrastive", also where the file takes `nt_xent_loss` from the package
      `dlcore.losses`, or writes `losses.nt_xent_loss`.
    """
    nodes = list(ast.walk(parse(path)))
    found, packages = set(), {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dlcore"):
            for alias in node.names:
                found |= {node.module, _exports(node.module).get(alias.name, f"{node.module}.{alias.name}")}
                packages[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
            found.add(_exports(packages[node.value.id]).get(node.attr, packages[node.value.id]))
    return found


def experiments_of(path: str) -> list[str]:
    """Find the experiments of a module: first the file of the same name, then those that import it.

    Args:
      path: module in the repository.

    Returns:
      Files in `experiments/`. Those that import the fewest modules come first: they are about little else.
    """
    same = path.replace("dlcore/", "experiments/", 1)
    others = [file for file in _importers(path) if file.startswith("experiments/") and file != same]
    return ([same] if (ROOT / same).exists() else []) + others


def pictured(path: str, pages: dict[str, Entry]) -> Entry | None:
    """Find the picture that shows a technique best.

    Args:
      path: module or experiment in the repository.
      pages: file -> line of a chapter.

    Returns:
      The line whose picture it is: that of the file; or else the first experiment of the module with a picture; or
      else the first technique that imports the module and has one. None where there is none.
    """
    techniques = [file for file in _importers(path) if file.startswith("dlcore/")]
    shown = (pages[file] for file in [path, *experiments_of(path), *techniques] if file in pages)
    return next((entry for entry in shown if picture(entry)), None)


@functools.cache
def _exports(package: str) -> dict[str, str]:
    """Public name of a package -> the module that defines it."""
    path = f"{package.replace('.', '/')}/__init__.py"
    if not (ROOT / path).exists():
        return {}
    found = {}
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dlcore"):
            found |= {alias.name: node.module for alias in node.names}
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazy_exports" and len(node.args) > 1:
            names = ast.literal_eval(node.args[1])
            found |= {name: f"{package}.{module}" for name, module in names.items()}
    return found


def _files() -> Iterator[str]:
    for path in sorted([*(ROOT / "experiments").rglob("*.py"), *(ROOT / "dlcore").rglob("*.py")]):
        file = path.relative_to(ROOT).as_posix()
        if file.startswith("dlcore/") or "experiment = " in read(file):
            yield file


@functools.cache
def _users() -> dict[str, list[str]]:
    """Module -> the files that import it, by the number of modules that each imports."""
    imports = {file: imported_modules(file) for file in _files()}
    found = collections.defaultdict(list)
    for file in sorted(imports, key=lambda file: len(imports[file])):
        for module in imports[file]:
            found[module].append(file)
    return found


def _importers(path: str) -> list[str]:
    module, stem = path.removesuffix(".py").replace("/", "."), path.split("/")[-1].removesuffix(".py")
    return sorted(_users().get(module, []), key=lambda file: stem not in file)
