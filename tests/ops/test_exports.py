"""`dlcore.ops` and `dlcore.nn` export the public names of all their modules, and importing them stays light."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Names such as normal and zeros would be vague beside the layers; a function has the name of its module.
OWN_NAMESPACE = {"dlcore.nn.initializers", "dlcore.ops.attention_kernels"}


@pytest.mark.parametrize("name", ["dlcore.ops", "dlcore.nn"])
def test_every_public_name_is_exported(name):
    package = importlib.import_module(name)
    missing = {}
    for info in pkgutil.iter_modules(package.__path__, f"{name}."):
        if info.name.startswith(f"{name}._"):
            continue
        public = importlib.import_module(info.name).__all__
        if info.name not in OWN_NAMESPACE and (lacking := sorted(set(public) - set(package.__all__))):
            missing[info.name] = lacking
    assert not missing


@pytest.mark.slow
def test_importing_both_is_light():
    heavy = {"orbax", "sklearn", "matplotlib", "scipy", "optax", "PIL"}
    code = f"import sys, dlcore.nn, dlcore.ops; print(*({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
