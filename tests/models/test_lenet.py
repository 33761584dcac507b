import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from tests.models.training import draw

COUNTS = {
    "conv1": 5 * 5 * 1 * 6 + 6,  # 156
    "conv2": 5 * 5 * 6 * 16 + 16,  # 2,416
    "dense1": 5 * 5 * 16 * 120 + 120,  # 48,120
    "dense2": 120 * 84 + 84,  # 10,164
    "head": 84 * 10 + 10,  # 850
}
METHODS = ("__call__", "features")


def images(size=32, channels=1):
    return jnp.asarray(np.random.default_rng(0).random((2, size, size, channels)), jnp.float32)


@pytest.mark.covers("ZO-01")
@pytest.mark.parametrize("size", [8, 28, 30, 32])
def test_61706_parameters_at_every_size(size):
    params = jax.eval_shape(create_model("lenet5").init, jax.random.key(0), images(size))["params"]
    counts = {name: sum(leaf.size for leaf in jax.tree.leaves(layer)) for name, layer in params.items()}
    assert counts == COUNTS
    assert sum(counts.values()) == 61_706


@pytest.mark.slow(unless=["max-tanh"])
@pytest.mark.covers("ZO-01")
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_is_the_stated_composition(activation, pooling):
    model = create_model("lenet5", activation=activation, pooling=pooling, head_init=nn.initializers.lecun_normal())
    variables = draw(model, images())
    p = variables["params"]

    @jax.jit
    def run(variables, x):
        outputs = [model.apply(variables, x, method=m) for m in METHODS]
        return *outputs, expected(x)

    def expected(x):
        stages = []
        for i, features in ((1, 6), (2, 16)):
            conv = nn.Conv(features, (5, 5), padding="VALID")
            x = pool(f(conv.apply({"params": p[f"conv{i}"]}, x)))
            stages.append(x)
        x = x.reshape(2, 400)
        for layer in ("dense1", "dense2"):
            x = f(x @ p[layer]["kernel"] + p[layer]["bias"])
        return stages, x @ p["head"]["kernel"]

    f = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    reduce = {"avg": jnp.mean, "max": jnp.max}[pooling]
    pool = lambda x: reduce(x.reshape(2, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1), (2, 4))  # noqa: E731
    logits, stages, (want, want_logits) = run(variables, images())
    for i, features, side in ((1, 6, 14), (2, 16, 5)):
        chex.assert_shape(want[i - 1], (2, side, side, features))
        np.testing.assert_allclose(stages[f"stage{i}"], want[i - 1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits, want_logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_28_is_padded_by_two_and_8_is_resized():
    model = create_model("lenet5", head_init=nn.initializers.lecun_normal())
    variables = jax.jit(model.init)(jax.random.key(0), images())
    for size, as_32 in (
        (28, jnp.pad(images(28), ((0, 0), (2, 2), (2, 2), (0, 0)))),
        (31, jnp.pad(images(31), ((0, 0), (0, 1), (0, 1), (0, 0)))),
        (8, jax.image.resize(images(8), (2, 32, 32, 1), "bilinear")),
    ):
        np.testing.assert_allclose(model.apply(variables, images(size)), model.apply(variables, as_32), atol=1e-6)
    assert np.abs(model.apply(variables, images(8))).max() > 0
