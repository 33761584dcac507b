"""dlcore's modules take dlcore's layers: flax's own are up to a hundred times slower on a CPU inside a scan."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[2] / "dlcore"
FORBIDDEN = {"Conv": "dlcore.nn.Conv", "BatchNorm": "dlcore.nn.BatchNorm", "max_pool": "dlcore.ops.max_pool"}
ALLOWED = {"nn/conv.py": {"Conv"}, "nn/folding.py": {"Conv"}}
"""The layer that is built on flax's, and what recognizes both."""


def bare_layers(source):
    """(line, name) of every use of a forbidden name of flax.linen, under whatever name the file gives it."""
    tree = ast.parse(source)
    modules, names, found = {"flax.linen"}, {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname for alias in node.names if alias.name == "flax.linen" and alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module == "flax":
            modules |= {alias.asname or alias.name for alias in node.names if alias.name == "linen"}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("flax.linen"):
            names |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in FORBIDDEN}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN and ast.unparse(node.value) in modules:
            found.append((node.lineno, node.attr))
        elif isinstance(node, ast.Name) and node.id in names:
            found.append((node.lineno, names[node.id]))
    return found


@pytest.mark.slow
def test_no_file_uses_a_layer_of_flax_that_dlcore_replaces():
    wrong = [
        f"{path.relative_to(PACKAGE.parent)}:{line}: {name} of flax.linen; use {FORBIDDEN[name]}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, name in bare_layers(path.read_text())
        if name not in ALLOWED.get(path.relative_to(PACKAGE).as_posix(), ())
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "from flax import linen as nn\nnn.Conv(3, (3, 3))",
        "from flax import linen\nlayer = functools.partial(linen.BatchNorm)",
        "import flax.linen as fl\nfl.max_pool(x, (2, 2))",
        "import flax\nflax.linen.Conv(3, (3, 3))",
        "from flax.linen import Conv as C\nC(3, (3, 3))",
    ],
)
def test_bare_layers_are_found(source):
    assert [line for line, _ in bare_layers(source)] == [2]


def test_layers_of_dlcore_and_other_layers_of_flax_are_not():
    source = "from flax import linen as nn\nfrom dlcore.nn import Conv\nConv(3, (3, 3))\nnn.Dense(3)\nnn.LayerNorm()"
    assert not bare_layers(source)
    assert not bare_layers("from dlcore import nn\nnn.Conv(3, (3, 3))")
