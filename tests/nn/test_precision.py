"""float64 overrides a model's dtype, logits are at least float32, and a network hands its dtype to its layers."""

import ast
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.classification import supervised
from dlcore.models import create_model
from dlcore.nn import compute_dtype, dot_product_attention

PACKAGE = pathlib.Path(__file__).parents[2] / "dlcore"

FLOAT32 = {
    "AutoencoderKL.Conv", "Backbone.head", "BackboneAdaptationNet.head", "AdaptationNet.head", "BlockPredictor.project",
    "CodeTransformer.logits", "DiT.proj_out_2", "Discriminator.head", "Flux.proj_out",
    "LightGlue.positional_encoder_projector", "Localizer.Dense",
    "Localizer.cls_score", "MAE.Dense", "MMDiT.proj_out", "PatternNet.head", "PixArt.proj_out", "PropertyNet.factors",
    "PropertyNet.shape", "PrototypicalNet.description", "ScaleTransformer.logits", "TubePredictor.project",
    "UNet.head", "UNet3D.classifier", "VQModel.Conv", "_Half.conv_out",
}  # fmt: skip
"""Layers that compute in the dtype of their input, at least float32: heads, and codes of autoencoders."""

LATER = {
    "_Encoder.BatchNorm",
    "_Encoder._Block",
    "FCN.ConvTranspose",
    "MetaFormerBlock.GroupNorm",
}
"""Layers that get it in another way: from the call of the partial function, or in a group of fields."""


WITHOUT_AXIS = {
    *("_Encoder._Block", "XceptionBlock.SeparableConv"),  # in a group of fields; of its own class, without norms
}
"""Layers that get no mapped axis by its name."""


def test_the_field_decides_unless_something_is_float64():
    x = jnp.zeros(3)
    assert compute_dtype(None, x, {"params": {"w": x}}) is None
    assert compute_dtype(jnp.bfloat16, x, {}) == jnp.bfloat16
    with jax.enable_x64(True):
        wide = jnp.zeros(3, jnp.float64)
        for dtype in (None, jnp.float32, jnp.bfloat16):
            assert compute_dtype(dtype, x, {"params": {"w": wide}}) == jnp.float64
            assert compute_dtype(dtype, wide) == jnp.float64


def operands(text, *operations):
    """Types of the operands of each operation of a lowered program, such as ["4x32xbf16", "32x10xbf16"]."""
    lines = [line for line in text.splitlines() if any(f"stablehlo.{name} " in line for name in operations)]
    return [re.findall(r"tensor<(.*?)>", line.rpartition(" : ")[2].partition(" -> ")[0]) for line in lines]


@pytest.mark.slow(unless=["tpu"])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_step_in_bfloat16_multiplies_in_float32_in_the_head_alone(platform):
    """A head of 32 features and 7 classes is three products: its logits, and the gradients of its two operands."""
    fields = {"depth": 1, "width": 32, "num_heads": 2, "mlp_features": 64, "image_size": 8, "patch_size": 4}
    model = create_model("vit_b_16", **fields, num_classes=7, dtype=jnp.bfloat16)
    learner = supervised.learner(model=model, optimizer=optax.adamw(1e-3))
    ids = jax.ShapeDtypeStruct((4,), jnp.int32)
    batch = {"image": jax.ShapeDtypeStruct((4, 8, 8, 3), jnp.float32), "label": ids, "index": ids}
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    text = jax.jit(learner.update).trace(state, batch).lower(lowering_platforms=(platform,)).as_text()
    products = operands(text, "dot_general", "convolution")
    assert len(products) > 3 * 7  # patches, qkv, scores, mean of values, proj, fc1 and fc2, forward and backward
    wide = [types for types in products if any("f32" in t for t in types)]
    assert sorted(wide) == [["4x32xf32", "32x7xf32"], ["4x7xf32", "32x7xf32"], ["4x7xf32", "4x32xf32"]]
    # Three norms, and the softmax of the attention and of the loss.
    roots, exponentials = operands(text, "rsqrt"), operands(text, "exponential")
    assert len(roots) >= 3
    assert {"4x2x5x5xf32", "4x7xf32"} <= {types[0] for types in exponentials}
    assert all(types[0].endswith("xf32") for types in roots + exponentials)


def test_gradients_of_attention_in_bfloat16_are_those_of_float32():
    """To the rounding of three numbers of 8 bits: scores' cotangents, their products and the result."""
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.normal(size=(2, 6, 2, 8)), jnp.bfloat16) for _ in range(3)]

    @jax.jit
    def gradient(*arrays):
        return jax.grad(lambda *a: jnp.square(dot_product_attention(*a).astype(jnp.float32)).sum(), (0, 1, 2))(*arrays)

    for got, want in zip(gradient(*arrays), gradient(*(x.astype(jnp.float32) for x in arrays)), strict=True):
        assert got.dtype == jnp.bfloat16
        np.testing.assert_allclose(got.astype(jnp.float32), want, atol=2**-6 * float(jnp.abs(want).max()))


def owners(tree, field):
    """Classes of a module that have a field, and its functions that have such an argument."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names = {line.target.id for line in node.body if isinstance(line, ast.AnnAssign)}
        elif isinstance(node, ast.FunctionDef):
            names = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
        else:
            continue
        if field in names:
            yield node


def layers_without(field, trees, more=()):
    """Yield "Network.layer" of the layers that a network or a function with this field makes without it.

    Layers are calls of classes that have the field, and of `more`.
    """
    classes = (node for tree in trees for node in owners(tree, field) if isinstance(node, ast.ClassDef))
    takers = {node.name for node in classes} | {*more}
    for owner in (node for tree in trees for node in owners(tree, field)):
        for call in (node for node in ast.walk(owner) if isinstance(node, ast.Call)):
            layer, values = call.func, [*call.args, *(keyword.value for keyword in call.keywords)]
            if isinstance(layer, ast.Attribute) and layer.attr == "partial":
                layer, *values = values
            if not isinstance(layer, ast.Name) or layer.id not in takers:
                continue
            given = any(getattr(value, "id", getattr(value, "attr", "")) == field for value in values)
            keywords = {keyword.arg: keyword.value for keyword in call.keywords}
            # Fields by ** may hold it, and what has no parent is no part of the network.
            if not given and not {None, "parent"} & {*keywords}:
                yield f"{owner.name}.{getattr(keywords.get('name'), 'value', layer.id)}"


@pytest.fixture(scope="module")
def trees():
    texts = [path.read_text() for path in sorted(PACKAGE.rglob("*.py"))]
    return [ast.parse(text) for text in texts if "\n    dtype: " in text or "axis_name: " in text]


def test_a_network_hands_its_dtype_to_its_layers(trees):
    """A layer without it would compute in float32, and so would all that follows."""
    found = set(layers_without("dtype", trees, ("Conv", "Dense")))
    assert found == FLOAT32 | LATER


def test_a_network_hands_its_mapped_axis_to_its_batch_norms(trees):
    """A layer without it would average over replicas where the network is told not to, or over another axis."""
    assert set(layers_without("axis_name", trees)) == WITHOUT_AXIS


def test_layers_without_dtype_are_found():
    network = """
class Net(nn.Module):
    dtype: Any = None

    def __call__(self, x):
        dense = functools.partial({})
        return {}(x)
"""
    for first, second, found in (
        ("Dense, dtype=self.dtype", "Conv(3, dtype=dtype, name='stem')", []),
        ("Dense, use_bias=False", "Conv(3, name='stem')", ["Net.Dense", "Net.stem"]),
        ("Dense, 3, self.dtype", "Net(name='inner')", ["Net.inner"]),
        ("Dense, **options", "Other(3)", []),
    ):
        found_here = layers_without("dtype", [ast.parse(network.format(first, second))], ("Conv", "Dense"))
        assert sorted(found_here) == found
