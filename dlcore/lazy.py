"""Public names of a package that are imported when they are first used."""

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(package: dict[str, Any], exports: Mapping[str, str]) -> None:
    """Let a package offer names of its submodules without importing these until a name is used.

    Written in the package's `__init__.py`; it sets `__all__`, and makes `dir` list the names (PEP 562):

        lazy_exports(globals(), {"Pipeline": "pipeline", "digits": "digits"})

    A submodule may have the name of what it exports (digits.py: digits). Importing a submodule binds it as an attribute
    of its package, over whatever stood there; here such an attribute stays the exported object. The module itself is
    then reached by `from dlcore.data.digits import digits` or `importlib.import_module`, not by
    `import dlcore.data.digits as d`.

    Args:
      package: the `globals()` of the package.
      exports: name -> submodule that defines it, relative to the package ("pipeline", "augment.color"). A literal dict:
        the test of public names reads it from the source.

    Raises:
      AttributeError: later, where a name is used that neither the package nor `exports` has.
    """
    name = package["__name__"]

    class LazyPackage(ModuleType):
        def __getattr__(self, attribute: str) -> Any:
            if attribute not in exports:
                raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
            value = getattr(importlib.import_module(f"{name}.{exports[attribute]}"), attribute)
            setattr(self, attribute, value)
            return value

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *exports})

        def __setattr__(self, attribute: str, value: Any) -> None:
            if isinstance(value, ModuleType) and exports.get(attribute) == attribute:
                value = getattr(value, attribute)
            super().__setattr__(attribute, value)

    package["__all__"] = sorted(exports)
    sys.modules[name].__class__ = LazyPackage
