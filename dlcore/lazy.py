"""Public names of a package that are imported when they are first used."""

import ast
import functools
import importlib
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(package: dict[str, Any], exports: Mapping[str, str] | None = None) -> None:
    """Let a package offer names of its submodules without importing these until a name is used (PEP 562).

    Written in the package's `__init__.py`:

        lazy_exports(globals())                                                  the public names of its files
        lazy_exports(globals(), {"Pipeline": "pipeline", "digits": "digits"})    these names

    A submodule may have the name of what it exports (digits.py: digits). Importing a submodule binds it as an attribute
    of its package, over whatever stood there; a name in `exports` stays the exported object. The module itself is then
    reached by `from dlcore.data.digits import digits` or `importlib.import_module`.

    Args:
      package: the `globals()` of the package.
      exports: name -> submodule that defines it, relative to the package ("pipeline", "augment.color") or in another
        ("dlcore.setting"), or "" where the name is itself that of a submodule. None: every name that exactly one of the
        package's files lists in `__all__`, read when a name is first asked for, so that a new file needs no entry here.
        Names of files stay the files; names of several files (`learner`) stay with them.

    Raises:
      AttributeError: later, where a name is used that neither the package nor `exports` has.
    """
    name, folder = package["__name__"], Path(package["__file__"]).parent

    @functools.cache
    def submodules() -> Mapping[str, str]:
        return _public_names(folder) if exports is None else exports

    class LazyPackage(ModuleType):
        def __getattr__(self, attribute: str) -> Any:
            if attribute == "__all__":  # what `import *` asks for
                return sorted(submodules())
            if attribute.startswith("__") or attribute not in submodules():
                raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
            submodule = submodules()[attribute]
            path = submodule or attribute
            module = importlib.import_module(path if path.startswith("dlcore.") else f"{name}.{path}")
            value = getattr(module, attribute) if submodule else module
            setattr(self, attribute, value)
            return value

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *submodules()})

        def __setattr__(self, attribute: str, value: Any) -> None:
            if isinstance(value, ModuleType) and exports is not None and exports.get(attribute) == attribute:
                value = getattr(value, attribute)
            super().__setattr__(attribute, value)

    sys.modules[name].__class__ = LazyPackage


def _public_names(folder: Path) -> dict[str, str]:
    """{name: file's stem} of the names that exactly one file of a folder lists in `__all__`."""
    files = {path.stem: _listed(path) for path in folder.glob("*.py") if not path.stem.startswith("_")}
    counts = Counter(name for names in files.values() for name in names)
    return {n: stem for stem, names in files.items() for n in names if counts[n] == 1 and n not in files}


def _listed(path: Path) -> list[str]:
    """Return the literal `__all__` of a file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []
