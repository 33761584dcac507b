"""I-JEPA: an update by hand, masks disjoint and in range, what encoder and predictor may see, and bad input."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.nn import gelu
from dlcore.self_supervised import ijepa
from dlcore.self_supervised.patch_masks import block_shapes, context_and_targets, random_block
from dlcore.self_supervised.patch_predictors import PatchViT
from tests import patch_toys as toys


class ToyPredictor(nn.Module):
    """The mean of the context's tokens by a matrix, plus a vector for each patch."""

    @nn.compact
    def __call__(self, tokens, context, targets, grid):
        a = self.param("a", nn.initializers.normal(1.0), (3, 3))
        places = self.param("places", nn.initializers.normal(1.0), (16, 3))
        mean = (tokens * context[..., None]).sum(1) / context.sum(1, keepdims=True)
        return jnp.broadcast_to((mean @ a)[:, None, None] + places, (*targets.shape, 3))


BLOCKS = {"target_blocks": 2, "target_scale": (0.1, 0.25), "context_scale": (1.0, 1.0)}


def learner(**kwargs):
    settings = {"teacher_momentum": lambda step: 0.3 * step, **BLOCKS, **kwargs}
    return ijepa.learner(model=toys.ToyEncoder(), predictor=ToyPredictor(), optimizer=optax.sgd(toys.RATE), **settings)


@pytest.mark.covers("SS-38")
def test_one_update_by_hand(monkeypatch):
    """Step 3 has m = 0.9. The teacher differs from the encoder, so that a gradient through it would show.

    In place of the draw, an image's key tells which row and which column of patches are its two targets.
    """
    drawn = []

    def draw(key, *settings):
        drawn.append(settings)
        targets = jnp.stack([jnp.arange(16) // 4 == toys.number(key), jnp.arange(16) % 4 == toys.number(key)])
        return ~targets.any(0), targets

    monkeypatch.setattr(ijepa, "context_and_targets", draw)
    params = {
        "encoder": toys.weights(1, *toys.UNMASKED),
        "predictor": toys.weights(2, ("a", (3, 3)), ("places", (16, 3))),
    }
    settings = {"target_scale": (0.1, 0.3), "target_aspect": (0.5, 4.0), "context_scale": (0.9, 1.0)}
    teacher, built = toys.weights(3, *toys.UNMASKED), learner(augment=toys.darken, preprocess=toys.double, **settings)
    state = toys.state_of(built, params, teacher)
    rows, columns = (grid.reshape(1, 16) == toys.step_numbers(state) for grid in np.indices((4, 4)))
    context, targets = ~(rows | columns), np.stack([rows, columns], 1)
    assert len(np.unique(context[:2], axis=0)) == 2
    images = 2 * toys.ROWS["image"].astype(np.float64) - 0.5
    target = toys.standardize(toys.encode(teacher, images))

    def loss(params):
        tokens, total = toys.encode(params["encoder"], images), 0
        for i in range(2):
            prediction = tokens[i][context[i]].mean(0) @ params["predictor"]["a"] + params["predictor"]["places"]
            for block in targets[i]:
                total += toys.smooth_l1(prediction[block] - target[i][block]).mean()
        return total / 4

    after, metrics = toys.check_update(built, state, loss)
    assert {*drawn} == {((4, 4), 2, *settings.values())}
    np.testing.assert_allclose(metrics["target_variance"].compute(), target[:2].var(1).mean(), rtol=1e-5)
    for name, value in after.params["encoder"].items():
        np.testing.assert_allclose(after.teacher_params[name], 0.9 * teacher[name] + 0.1 * value, atol=1e-6)


@pytest.mark.covers("SS-38")
def test_a_predictor_puts_mask_tokens_at_targets_and_attends_to_the_context_and_one_block_at_a_time(monkeypatch):
    """In place of a transformer's block, each token gets the mean of those that it may attend to."""
    built = []

    class Mean(nn.Module):
        num_heads: int
        mlp_features: int
        pre_norm: bool = False
        activation: Any = None
        epsilon: float = 0
        dtype: Any = None

        def __call__(self, z, mask):
            if self.parent is not None:
                built.append(
                    (self.num_heads, self.mlp_features, self.pre_norm, self.activation, self.epsilon, self.name)
                )
            return z + (z * mask[:, 0, 0, :, None]).sum(1, keepdims=True) / mask.sum((1, 2, 3))[:, None, None]

    monkeypatch.setattr(ijepa, "TransformerEncoderBlock", Mean)
    predictor = ijepa.BlockPredictor(depth=2, width=4, num_heads=3, mlp_features=5, epsilon=0.5)
    context = np.array([[True, False, False, False, True, False], [False, False, True, False, False, True]])
    targets = np.eye(6, dtype=bool)[np.array([[1, 2], [0, 4]])]
    inputs = toys.weights(0, ("tokens", (2, 6, 3)))["tokens"], context, targets
    params = toys.weights(1, ("mask_token", 4))
    for name, shapes in {"embed": ((3, 4), 4), "norm": (4, 4), "project": ((4, 3), 3)}.items():
        params[name] = toys.weights(2, *zip(("scale" if name == "norm" else "kernel", "bias"), shapes, strict=True))
    init = jax.eval_shape(lambda key: predictor.init(key, *inputs, (2, 3)), jax.random.key(0))["params"]
    chex.assert_trees_all_equal_shapes_and_dtypes(params, init)
    assert built == [(3, 5, True, gelu, 0.5, f"blocks_{i}") for i in range(2)]
    prediction = jax.jit(lambda params: predictor.apply({"params": params}, *inputs, (2, 3)))(params)
    chex.assert_shape(prediction, (2, 2, 6, 3))
    # Columns 0 to 2 and rows 0 and 1 as angles, each by its sine and its cosine.
    row, column = np.indices((2, 3)).reshape(2, 6)
    positions = np.stack([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], -1)
    for b, m in np.ndindex(2, 2):
        z = inputs[0][b] @ params["embed"]["kernel"] + params["embed"]["bias"]
        z[targets[b, m]] = params["mask_token"]
        z = z + positions
        for _ in range(2):
            z = z + z[context[b] | targets[b, m]].mean(0)
        z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 0.5)
        z = z * params["norm"]["scale"] + params["norm"]["bias"]
        expected = z @ params["project"]["kernel"] + params["project"]["bias"]
        np.testing.assert_allclose(prediction[b, m], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.covers("SS-38")
def test_blocks_have_the_shapes_in_range():
    """Of 8x8 patches 15-20 % are 9.6 to 12.8, with aspect 0.75-1.5: 3x4 and 4x3. A square of 85 % or more is 8x8."""
    assert block_shapes((8, 8), (0.15, 0.2), (0.75, 1.5)).tolist() == [[3, 4], [4, 3]]
    assert block_shapes((8, 8), (0.75, 1.0)).tolist() == [[7, 7], [8, 8]]
    # Of 2x4 patches 2 to 4, half as high as wide or square; and both ends of a range count.
    assert block_shapes((2, 4), (0.25, 0.5), (0.5, 1.0)).tolist() == [[1, 2], [2, 2]]
    assert block_shapes((4, 2), (0.25, 0.5), (1.0, 2.0)).tolist() == [[2, 1], [2, 2]]


@pytest.mark.slow
@pytest.mark.covers("SS-38")
def test_masks_are_disjoint_and_blocks_in_range():
    """Of 8x8 patches a target has 3x4 or 4x3."""
    draw = jax.vmap(lambda key: context_and_targets(key, (8, 8), context_scale=(0.76, 1.0)))
    context, targets = jax.device_get(jax.jit(draw)(jax.random.split(jax.random.key(0), 200)))
    chex.assert_shape(targets, (200, 4, 64))
    assert not (context[:, None] & targets).any()
    assert (targets.sum(-1) == 12).all()
    assert context.any(1).all()
    heights, widths = (targets.reshape(-1, 8, 8).any(axis).sum(-1) for axis in (2, 1))
    assert {*zip(heights.tolist(), widths.tolist(), strict=True)} == {(3, 4), (4, 3)}, "solid blocks"
    assert targets.any((0, 1)).all(), "every patch is a target at some time"
    assert len(np.unique(context, axis=0)) > 100
    # Of 3x5 patches, blocks of 1x2: three rows and four columns to begin at.
    place = jax.jit(jax.vmap(lambda key: random_block(key, (3, 5), np.array([[1, 2]]))))
    blocks = np.asarray(place(jax.random.split(jax.random.key(1), 200))).reshape(200, 3, 5)
    pairs = {tuple(map(tuple, np.argwhere(block).tolist())) for block in blocks}
    assert pairs == {((row, column), (row, column + 1)) for row in range(3) for column in range(4)}


@pytest.mark.covers("SS-38")
def test_the_loss_is_that_of_target_patches_alone():
    targets = np.array([[[True, True, False, False], [False, False, True, False]]])
    prediction = np.repeat(np.float32([[[0, 3, 9, 9], [9, 9, 0.5, 9]]])[..., None], 3, -1)
    # Errors of 0 and 3 in the first block: 0 and 2.5, mean 1.25; of 0.5 in the second: 0.125. Their mean is 0.6875.
    losses = jax.jit(ijepa.target_block_losses)(prediction, np.zeros((1, 4, 3), np.float32), targets)
    np.testing.assert_allclose(losses, [0.6875])


@pytest.mark.slow
@pytest.mark.covers("SS-38")
def test_hidden_patches_reach_neither_the_context_nor_other_blocks():
    encoder = PatchViT(patch_size=1, depth=1, width=8, num_heads=2, mlp_features=8)
    predictor = ijepa.BlockPredictor(depth=1, width=4, num_heads=1, mlp_features=4)
    context = jnp.arange(16)[None] < 8
    targets = jnp.stack([jnp.arange(16) // 4 == block for block in (2, 3)])[None]
    image = jnp.asarray(toys.ROWS["image"][:1])
    params = jax.jit(encoder.init)(jax.random.key(0), image)
    tokens = encoder.apply(params, image)["tokens"]
    more = predictor.init(jax.random.key(1), tokens, context, targets, (4, 4))

    @jax.jit
    def run(image, targets):
        tokens = encoder.apply(params, image, visible=context)["tokens"]
        return tokens, predictor.apply(more, tokens, context, targets, (4, 4))

    tokens, prediction = run(image, targets)
    changed, same = run(image.at[:, 2:].set(7.0), targets)
    np.testing.assert_allclose(changed[:, :8], tokens[:, :8], atol=1e-6)
    np.testing.assert_allclose(same[targets], prediction[targets], atol=1e-6)
    _, alone = run(image, targets.at[0, 1].set(targets[0, 0]))
    np.testing.assert_allclose(alone[0, 0, 8:12], prediction[0, 0, 8:12], atol=1e-6)
    seen, _ = run(image.at[:, 0].set(7.0), targets)
    assert np.abs(seen[:, 4:8] - tokens[:, 4:8]).max() > 1e-4


@pytest.mark.weekly
@pytest.mark.covers("SS-38")
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    one = toys.params_after_two_steps(learner(), 1)
    chex.assert_trees_all_close(one, toys.params_after_two_steps(learner(), 8, spmd), atol=1e-6)


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match=r"teacher_momentum=1\.5: .*allowed: "):
        learner(teacher_momentum=lambda step: 1.5)
