"""`dlcore.ops` and `dlcore.nn` export the public names of all their modules, and importing them stays light."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

OWN_NAMESPACE = {"dlcore.nn.initializers"}  # its normal, zeros, ... would be vague beside the layers


@pytest.mark.parametrize("name", ["dlcore.ops", "dlcore.nn"])
def test_every_public_name_is_exported(name):
    package = importlib.import_module(name)
    missing = {}
    for info in pkgutil.iter_modules(package.__path__, f"{name}."):
        public = importlib.import_module(info.name).__all__
        if info.name not in OWN_NAMESPACE and (lacking := sorted(set(public) - set(package.__all__))):
            missing[info.name] = lacking
    assert not missing


def test_importing_both_is_light():
    code = (
        "import sys, dlcore.nn, dlcore.ops; heavy = ('orbax', 'sklearn', 'matplotlib', 'scipy', 'optax', 'PIL'); "
        "sys.exit(', '.join(name for name in heavy if name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
