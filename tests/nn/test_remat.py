"""Rematerialization by name: the same gradients from less memory."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.ad_checkpoint import print_saved_residuals

from dlcore.cost.memory import residual_bytes
from dlcore.models import create_model
from dlcore.nn.remat import REMAT_POLICIES, remat

FIELDS = {"image_size": 32, "width": 32, "depth": 2, "num_heads": 4, "mlp_features": 64, "num_classes": 3}
IMAGES = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)


def vit(policy):
    return create_model("vit_tiny_cifar", remat=policy, head_init=nn.initializers.lecun_normal(), **FIELDS)


def loss(model):
    return lambda params: jnp.sum(jnp.sin(model.apply({"params": params}, IMAGES, train=True)))


@pytest.fixture(scope="module")
def params():
    return jax.jit(vit("none").init)(jax.random.key(0), IMAGES)["params"]


@pytest.mark.slow
@pytest.mark.covers("SY-11")
def test_stricter_policies_store_less(params):
    stored = {policy: residual_bytes(loss(vit(policy)), params) for policy in REMAT_POLICIES}
    assert stored["full"] < stored["weights"] < stored["products"] < stored["none"]
    scores = 2 * 4 * 4 * 65 * 65 * 4  # blocks x images x heads x queries x keys x bytes
    assert stored["products"] - stored["weights"] >= scores, "the scores of attention, and what follows from them"


@pytest.mark.covers("SY-11")
def test_a_recomputed_block_has_the_same_gradient_and_stores_less():
    def total(policy):
        return lambda params: jnp.sin(remat(Branch, policy)().apply(params, x)).sum()

    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    params = jax.jit(Branch().init)(jax.random.key(0), x)
    want, have = (jax.jit(jax.grad(total(policy)))(params) for policy in ("none", "full"))
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(have), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    stored = {policy: residual_bytes(total(policy), params) for policy in REMAT_POLICIES}
    assert stored["full"] < stored["weights"] == stored["products"] < stored["none"]


@pytest.mark.slow
@pytest.mark.covers("SY-11")
@pytest.mark.parametrize("policy", ["products", "weights", "full"])
def test_the_gradients_are_the_same(params, policy):
    want = jax.jit(jax.grad(loss(vit("none"))))(params)
    have = jax.jit(jax.grad(loss(vit(policy))))(params)
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(have), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6 * float(jnp.abs(a).max()) + 1e-9)


class Branch(nn.Module):
    """A convolution between two activations, and a product."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), name="conv")(nn.gelu(x))
        return nn.Dense(5, name="dense")(nn.gelu(x))


@pytest.mark.slow
def test_products_keeps_the_results_of_a_convolution_and_of_a_product_and_nothing_else(capsys):
    def stored(policy):
        block = remat(Branch, policy)()
        params = Branch().init(jax.random.key(0), x)
        print_saved_residuals(lambda params, x: jnp.sin(block.apply(params, x)).sum(), params, x)
        return [line.split(" ")[0] for line in capsys.readouterr().out.splitlines() if "from the argument" not in line]

    x = jnp.ones((2, 6, 6, 3))
    shapes = stored("products")
    assert "f32[2,6,6,8]" in shapes, "the convolution's"
    assert not any(shape == "f32[2,6,6,3]" for shape in shapes), "gelu of the input is computed again"
    assert "f32[2,6,6,8]" in stored("weights")
    assert "f32[2,6,6,8]" not in stored("full")


def test_none_is_the_block_itself_and_other_names_are_refused():
    assert remat(Branch, "none") is Branch
    with pytest.raises(ValueError, match="remat='dots': unknown; allowed: none, products, weights, full"):
        remat(Branch, "dots")


STATIC = ("bool", "int", "Any", "Grid")
"""Annotations of arguments that are no arrays."""


def parameters(trees, owner, method):
    """Parameters of a method of a class, or of the class that it derives from."""
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == owner:
                own = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == method]
                if own:
                    return own[0].args.args
                return parameters(trees, ast.unparse(node.bases[0]), method)
    return None


def test_arguments_that_are_no_arrays_are_static_in_each_network():
    """An argument `train` that were traced could not be read; one place more, and an array would have to be hashed."""
    package = Path(__file__).parents[2] / "dlcore"
    files = [*sorted((package / "models").glob("*.py")), package / "nn" / "transformer.py"]
    trees, found, expected = {path: ast.parse(path.read_text()) for path in files}, {}, {}
    for path, tree in trees.items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if ast.unparse(call.func) != "remat":
                continue
            owner, _, method = ast.unparse(call.args[0]).partition(".")
            names = parameters([tree, *trees.values()], owner, method or "__call__")
            if names is None:  # a variable
                continue
            places = next((ast.unparse(k.value) for k in call.keywords if k.arg == "static_argnums"), "()")
            found[path.stem, owner] = ast.literal_eval(places)
            static = (i for i, name in enumerate(names) if name.annotation and ast.unparse(name.annotation) in STATIC)
            expected[path.stem, owner] = tuple(static)
    expected["vision_encoder_decoder", "TransformerDecoderBlock"] = (3,)  # `is_causal` is not given
    assert found == expected
    assert len(found) > 30
