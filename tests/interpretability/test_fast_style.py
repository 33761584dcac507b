"""The network's styles, one update by hand, the loss of the optimized image, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.style_patterns import STYLE_PATTERNS, style_pattern
from dlcore.interpretability import fast_style, style_transfer
from dlcore.interpretability.fast_style import StyleNet
from tests.wiring import assert_wiring

MEAN, STD = np.zeros(3, np.float32), np.ones(3, np.float32)
RNG = np.random.default_rng(0)
NETWORK = {"params": {name: RNG.normal(size=(3, c)).astype(np.float32) for name, c in (("a", 2), ("b", 3))}}
SETTINGS = {"network": None, "variables": NETWORK, "mean": MEAN, "std": STD, "content_layer": "b"}
STYLES = RNG.uniform(size=(2, 4, 4, 3)).astype(np.float32)
BATCH = {"content": RNG.uniform(size=(2, 6, 5, 3)).astype(np.float32), "index": np.array([4, 1])}


class Linear(nn.Module):
    """Two maps, each of the pixels by a matrix."""

    @nn.compact
    def features(self, x):
        return {name: x @ self.param(name, nn.initializers.ones, (3, c)) for name, c in (("a", 2), ("b", 3))}


class Tint(nn.Module):
    """Adds a color of each style: the smallest network of many styles."""

    num_styles: int = 2

    @nn.compact
    def __call__(self, x, style):
        return x + self.param("color", nn.initializers.zeros, (self.num_styles, 3))[style][:, None, None]


def make(model, **fields):
    return fast_style.learner(
        **{**SETTINGS, "network": Linear(), "style_layers": ("a", "b"), "model": model, "styles": STYLES}
        | {"optimizer": optax.sgd(0.1), "content_weight": 2.0, "style_weight": 3.0, "variation_weight": 0.5}
        | fields
    )


def terms_by_hand(image, content, style):
    """content, style and variation of one image, in float64."""
    image, content, style = (np.float64(v) for v in (image, content, style))
    a, b = (NETWORK["params"][name].astype(np.float64) for name in "ab")

    def gram(image, w):
        flat = (image @ w).reshape(-1, w.shape[1])
        return flat.T @ flat / len(flat)

    layers = [np.square(gram(image, w) - gram(style, w)).sum() / (4 * w.shape[1] ** 2) for w in (a, b)]
    variation = sum(np.square(np.diff(image, axis=axis)).mean() for axis in (0, 1))
    return np.square((image - content) @ b).mean(), np.mean(layers), variation


def total_by_hand(image, content, style):
    return float(np.dot((2.0, 3.0, 0.5), terms_by_hand(image, content, style)))


@pytest.mark.covers("VI-18", "VI-19")
def test_the_loss_and_one_update_by_hand():
    """The loss of each style at a color, and a step of -0.1 times its central difference in each number."""
    color = np.float32([[0.1, 0.0, -0.1], [0.2, 0.1, 0.0]])
    learner = make(Tint())

    @jax.jit
    def step(batch):
        state = learner.init(jax.random.key(0), batch).replace(params={"color": jnp.asarray(color)})
        return learner.update(state, batch), learner.evaluate(state, batch), learner.predict(state, batch)

    (after, metrics), measured, outputs = step(BATCH)
    by_hand = [[total_by_hand(x + c, x, s) for c, s in zip(color, STYLES, strict=True)] for x in BATCH["content"]]
    assert measured["loss"].compute() == pytest.approx(np.mean(by_hand), rel=1e-4)
    drawn = [
        ids
        for ids in np.ndindex(2, 2)
        if metrics["loss"].compute() == pytest.approx(np.mean([by_hand[i][s] for i, s in enumerate(ids)]), rel=1e-4)
    ]
    assert len(drawn) == 1, "each photograph is rendered in one of the styles"

    def loss(color):
        return np.mean(
            [total_by_hand(x + color[s], x, STYLES[s]) for x, s in zip(BATCH["content"], drawn[0], strict=True)]
        )

    slope = np.zeros_like(color, dtype=np.float64)
    for i in np.ndindex(*color.shape):
        delta = np.zeros(color.shape)
        delta[i] = 1e-4
        slope[i] = (loss(color + delta) - loss(color - delta)) / 2e-4
    np.testing.assert_allclose(after.params["color"], color - 0.1 * slope, rtol=1e-3, atol=1e-5)
    expected = np.clip(BATCH["content"][:, None] + color[None, :, None, None], 0, 1)
    np.testing.assert_allclose(outputs["images"], expected, atol=1e-6)
    np.testing.assert_array_equal(after.network["params"]["a"], NETWORK["params"]["a"])
    assert after.rng == jax.random.fold_in(jax.random.key(0), 1)


@pytest.mark.covers("VI-18")
def test_the_loss_is_that_of_the_optimized_image():
    """At the photograph itself both techniques measure the same terms."""
    fields = {k: v for k, v in SETTINGS.items() if k != "network"}
    optimized = style_transfer.learner(
        model=Linear(), style_layers=("a", "b"), optimizer=optax.sgd(0.1), start="content", content_weight=2.0,
        style_weight=3.0, variation_weight=0.5, **fields,
    )  # fmt: skip
    fast = make(Tint(1), styles=STYLES[:1])
    style = np.broadcast_to(STYLES[:1], (2, *STYLES.shape[1:]))

    @jax.jit
    def losses(batch):
        states = [learner.init(jax.random.key(0), batch) for learner in (optimized, fast)]
        return [learner.evaluate(s, batch) for learner, s in zip((optimized, fast), states, strict=True)]

    first, second = losses({**BATCH, "style": style})
    for name in ("loss", "content", "style", "variation"):
        assert first[name].compute() == pytest.approx(second[name].compute(), rel=1e-5), name


@pytest.mark.covers("VI-19")
def test_one_network_has_many_styles_and_mixes_them():
    """Only scale and bias of the norms belong to a style: with those of style 0 in both rows the images are equal."""
    model, rng = StyleNet(2, width=1, num_blocks=1), np.random.default_rng(3)
    x = np.repeat(rng.uniform(size=(1, 6, 5, 3)).astype(np.float32), 3, 0)
    weights = np.float32([[1, 0], [0, 1], [0.5, 0.5]])
    shapes = jax.eval_shape(model.init, jax.random.key(0), x, weights)["params"]
    params = jax.tree.map(lambda w: rng.normal(0, 0.4, w.shape).astype(np.float32), shapes)
    apply = jax.jit(lambda params: model.apply({"params": params}, x, weights))
    first, second, half = apply(params)
    assert first.shape == x.shape[1:]
    assert min(float(jnp.abs(a - b).max()) for a, b in ((first, second), (half, first), (half, second))) > 1e-3

    def first_row(path, w):
        return np.broadcast_to(w[:1], w.shape) if path[-2].key.endswith("_norm") else w

    first_again, second_again, _ = apply(jax.tree_util.tree_map_with_path(first_row, params))
    np.testing.assert_allclose(first_again, first, atol=1e-5)
    np.testing.assert_allclose(second_again, first, atol=1e-5)


def test_the_wiring_of_the_style_network_is_as_it_was():
    """A regression: the numbers hold the code as it was, for sides that halves do not divide."""
    assert_wiring(StyleNet(2, width=1, num_blocks=1), (2, 7, 6, 3), np.array([0, 1]), [17.2816, 4.14845])


def test_patterns_differ_and_are_drawn_again():
    images = {name: style_pattern(name, 24) for name in STYLE_PATTERNS}
    assert all(image.shape == (24, 24, 3) and image.dtype == np.uint8 for image in images.values())
    assert len({image.tobytes() for image in images.values()}) == len(STYLE_PATTERNS)
    np.testing.assert_array_equal(style_pattern("mosaic", 24), images["mosaic"])
    with pytest.raises(ValueError, match="name='dots': unknown; allowed: mosaic"):
        style_pattern("dots", 24)


def test_layers_in_bfloat16_give_a_float32_image():
    """Every convolution and norm computes in the network's dtype; nothing is computed here."""
    model = StyleNet(2, width=1, num_blocks=1, dtype=jnp.bfloat16)
    x, style = jax.ShapeDtypeStruct((1, 4, 4, 3), jnp.float32), np.array([1])
    variables = jax.eval_shape(model.init, jax.random.key(0), x, style)
    image, state = jax.eval_shape(
        lambda *args: model.apply(*args, capture_intermediates=True, mutable=["intermediates"]), variables, x, style
    )
    outputs = {name: layer["__call__"][0].dtype for name, layer in state["intermediates"].items() if name[0] != "_"}
    assert len(outputs) == 2 * 7 + 1  # down and up twice each, a block of two, stem and head
    assert {*outputs.values()} == {jnp.dtype(jnp.bfloat16)}
    assert image.dtype == jnp.float32
