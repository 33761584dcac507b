"""What the tests of techniques on masked patches share: a toy encoder, rows, and an update by differences in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import example_keys
from dlcore.run import Placement, fit, make_mesh

RATE = 0.5
ROWS = {
    "image": np.random.default_rng(0).random((3, 4, 4, 1)).astype(np.float32),
    "index": np.arange(3, dtype=np.int32),
    "mask": np.array([1, 1, 0], np.float32),
}
"""Two images of 4x4 patches of one pixel, and padding."""


class ToyEncoder(nn.Module):
    """Sixteen patches of one pixel x: tokens x w + b, of three features; a second layer squares them."""

    patch_size = 1

    def grid(self, x):
        return x.shape[1], x.shape[2]

    @nn.compact
    def __call__(self, x, train=False, masked=None, visible=None):
        w, b = (self.param(name, nn.initializers.normal(1.0), (3,)) for name in "wb")
        tokens = x.reshape(len(x), -1, 1) * w + b
        if masked is not None:
            token = self.param("mask_token", nn.initializers.normal(1.0), (3,))
            tokens = jnp.where(masked[..., None], token, tokens)
        return {"tokens": tokens, "layers": [tokens, tokens**2], "features": tokens.mean(1)}


def encode(params, images, masked=None):
    """Compute the tokens of `ToyEncoder` in NumPy."""
    tokens = images.reshape(len(images), -1, 1) * params["w"] + params["b"]
    return tokens if masked is None else np.where(masked[..., None], params["mask_token"], tokens)


def double(images):
    return 2 * images


def darken(key, image):
    return image - 0.5


def standardize(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def smooth_l1(error):
    size = np.abs(error)
    return np.where(size < 1, size**2 / 2, size - 0.5).mean(-1)


def weights(seed, *shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes}


UNMASKED = (("w", 3), ("b", 3))
ENCODER = (*UNMASKED, ("mask_token", 3))


def state_of(learner, params, teacher=None, step=3):
    """A state with these weights; nothing compiles, as `init` is only traced."""
    shapes = jax.eval_shape(learner.init, jax.random.key(0), ROWS)
    for given, made in ((params, shapes.params), (teacher, shapes.teacher_params)):
        chex.assert_trees_all_equal_shapes_and_dtypes(given, made)
    return shapes.replace(
        step=np.int32(step),
        rng=jax.random.key(0),
        params=params,
        opt_state=optax.sgd(RATE).init(params),
        teacher_params=teacher,
    )


def step_keys(state):
    return example_keys(jax.random.fold_in(state.rng, state.step), ROWS)


def number(key):
    """An int in [0, 4) from a key. A mask made of it compiles faster than a drawn one, and still differs by key."""
    return (jax.random.key_data(key)[0] % 4).astype(jnp.int32)


def step_numbers(state, fold=None):
    """The number of each example's key at this step, or of that key with `fold` folded into it: [3, 1]."""

    @jax.jit
    def numbers(rng, step):
        keys = example_keys(jax.random.fold_in(rng, step), ROWS)
        return jax.vmap(lambda key: number(key if fold is None else jax.random.fold_in(key, fold)))(keys)

    return np.asarray(numbers(state.rng, state.step))[:, None]


def check_update(learner, state, loss):
    """Compare a step with gradient descent on `loss(params)` in float64, its slopes taken from differences."""
    after, metrics = jax.jit(learner.update)(state, ROWS)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), state.params)
    np.testing.assert_allclose(metrics["loss"].compute(), loss(params), rtol=2e-5)
    for leaf, new in zip(jax.tree.leaves(params), jax.tree.leaves(after.params), strict=True):
        for place in np.ndindex(leaf.shape):
            value, around = leaf[place], []
            for move in (1e-4, -1e-4):
                leaf[place] = value + move
                around.append(loss(params))
            leaf[place] = value
            slope = (around[0] - around[1]) / 2e-4
            np.testing.assert_allclose(new[place], value - RATE * slope, atol=2e-5)
    return after, metrics


def params_after_two_steps(learner, devices, spmd="jit"):
    source = Source({"image": np.random.default_rng(0).random((16, 4, 4, 1), np.float32)})
    placement = Placement(make_mesh(f"data:{devices}", jax.devices()[:devices]), spmd=spmd)
    state = fit(learner, Pipeline(source, 16), steps=2, placement=placement, progress=False).state
    return jax.tree.map(np.asarray, (state.params, getattr(state, "teacher_params", None)))
