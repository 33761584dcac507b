"""Batch norms that are found and merged while a function runs, by hand and on networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.nn import BatchNorm, Conv, Dense
from dlcore.nn.folding import apply_folds, find_folds


class Net(nn.Module):
    """Two pairs; a batch norm behind a rectifier; and one layer that is used twice."""

    @nn.compact
    def __call__(self, x, train=False):
        x = BatchNorm(not train, name="norm1")(Conv(2, (1, 1), use_bias=False, name="conv1")(x))
        x = BatchNorm(not train, name="norm2")(nn.relu(x))
        x = BatchNorm(not train, name="norm3")(Dense(2, name="dense")(x))
        twice = Dense(2, name="twice")
        return BatchNorm(not train, name="norm4")(twice(x)) + twice(-x)


def randomized(model, x):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return jax.tree.map(lambda s: jnp.asarray(rng.uniform(0.5, 1.5, s.shape), jnp.float32), shapes)


@pytest.mark.covers("NO-10")
def test_pairs_of_a_layer_and_its_batch_norm_are_merged_and_no_others():
    model, x = Net(), jax.random.normal(jax.random.key(1), (3, 2, 2, 2))
    variables = randomized(model, x)
    folds = find_folds(lambda: model.apply(variables, x))
    assert {path: fold.norm for path, fold in folds.items()} == {"conv1": "norm1", "dense": "norm3"}
    # dense: kernel a, (bias - mean) a + beta with a = gamma / sqrt(var + 1e-5)
    params, stats = variables["params"], variables["batch_stats"]["norm3"]
    a = params["norm3"]["scale"] / np.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(folds["dense"].kernel, params["dense"]["kernel"] * a, rtol=1e-6)
    bias = (params["dense"]["bias"] - stats["mean"]) * a + params["norm3"]["bias"]
    np.testing.assert_allclose(folds["dense"].bias, bias, rtol=1e-5)
    folded = apply_folds(lambda variables, x: model.apply(variables, x), folds)
    np.testing.assert_allclose(folded(variables, x), model.apply(variables, x), rtol=1e-5)
    # The merged layers' own variables are no longer read.
    broken = jax.tree_util.tree_map_with_path(
        lambda path, v: v * jnp.nan if path[1].key in ("conv1", "norm1", "dense", "norm3") else v, variables
    )
    np.testing.assert_allclose(folded(broken, x), model.apply(variables, x), rtol=1e-5)


class Called(nn.Module):
    """Batch norms that are told by the call to use the running statistics."""

    @nn.compact
    def __call__(self, x):
        x = BatchNorm(name="norm0")(Dense(2, name="dense0")(x), True)
        return BatchNorm(name="norm1")(Dense(2, name="dense1")(x), use_running_average=True)


def test_a_call_says_which_statistics_a_batch_norm_uses():
    model, x = Called(), np.float32([[1, 2], [3, 5], [7, 6]])
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda s: np.random.default_rng(0).uniform(0.5, 1, s.shape).astype(np.float32), shapes)
    folds = find_folds(lambda: model.apply(variables, x))
    assert {path: fold.norm for path, fold in folds.items()} == {"dense0": "norm0", "dense1": "norm1"}


def test_statistics_of_a_batch_are_not_merged():
    model, x = Net(), jnp.ones((3, 2, 2, 2))
    variables = randomized(model, x)
    assert find_folds(lambda: model.apply(variables, x, train=True, mutable=["batch_stats"])) == {}
    assert find_folds(lambda: jax.jit(model.apply)(variables, x)) == {}


@pytest.mark.slow
@pytest.mark.weekly(unless=["resnet8_cifar-7"])
@pytest.mark.parametrize(("name", "norms"), [("resnet8_cifar", 7), ("mobilenet_v2", 52)])
def test_networks_give_the_same_logits_without_batch_norm(name, norms):
    model, x = create_model(name, num_classes=5), jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    variables = randomized(model, x)
    variables["params"] = jax.tree.map(lambda w: w / np.sqrt(w[..., 0].size), variables["params"])
    folds = find_folds(lambda: model.apply(variables, x))
    assert len(folds) == norms == sum(leaf.ndim == 1 for leaf in jax.tree.leaves(variables["batch_stats"])) / 2

    def plain(x):
        return model.apply(variables, x)

    np.testing.assert_allclose(jax.jit(apply_folds(plain, folds))(x), jax.jit(plain)(x), rtol=1e-4, atol=1e-5)
