"""V-JEPA 2: an update by hand, what encoder and predictor may see, and bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.models.vjepa2 import ClipEncoder, TubePredictor
from dlcore.self_supervised import vjepa
from tests import patch_toys as toys

GRID = (4, 2, 2)


class ToyEncoder(toys.ToyEncoder):
    """Tokens of clips of 4 x 2 x 2 pixels."""

    def grid(self, x):
        return x.shape[1:4]


class ToyPredictor(nn.Module):
    """The mean of the context's tokens by a matrix, plus a vector for each tubelet and one for each kind of mask."""

    @nn.compact
    def __call__(self, tokens, context, targets, grid, kind=1):
        a = self.param("a", nn.initializers.normal(1.0), (3, 3))
        places = self.param("places", nn.initializers.normal(1.0), (16, 3))
        kinds = self.param("kinds", nn.initializers.normal(1.0), (2, 3))
        mean = (tokens * context[..., None]).sum(1) / context.sum(1, keepdims=True)
        return (mean @ a)[:, None] + places + kinds[kind]


BLOCKS = {"small_blocks": 2, "small_scale": (0.25, 0.25), "large_blocks": 1, "large_scale": (0.5, 0.5)}


def learner(**kwargs):
    settings = {"teacher_momentum": lambda step: 0.3 * step, **BLOCKS, "block_aspect": (0.5, 2.0), **kwargs}
    return vjepa.learner(
        model=ToyEncoder(),
        predictor=ToyPredictor(),
        optimizer=optax.sgd(toys.RATE),
        preprocess=lambda images: images.reshape(-1, *GRID, 1),
        **settings,
    )


@pytest.mark.covers("VD-21")
def test_one_update_by_hand(monkeypatch):
    """Step 3 has m = 0.9. The teacher differs from the encoder, so that a gradient through it would show.

    In place of the draws, a mask hides one of the four places through all times, or leaves one: its key tells which.
    """
    drawn = []

    def draw(key, grid, *settings):
        drawn.append((grid, *settings))
        place = jnp.arange(16) % 4 == toys.number(key)
        return place if settings[0] == 3 else ~place

    monkeypatch.setattr(vjepa, "block_tubes", draw)
    shapes = (("a", (3, 3)), ("places", (16, 3)), ("kinds", (2, 3)))
    params = {"encoder": toys.weights(1, *toys.UNMASKED), "predictor": toys.weights(2, *shapes)}
    small, large = {"small_blocks": 3, "small_scale": (0.1, 0.2)}, {"large_blocks": 5, "large_scale": (0.3, 0.4)}
    teacher, built = (
        toys.weights(3, *toys.UNMASKED),
        learner(**small, **large, block_aspect=(0.4, 2.0), augment=toys.darken),
    )
    state = toys.state_of(built, params, teacher)
    places = [np.arange(16) % 4 == toys.step_numbers(state, i) for i in range(2)]
    masks = [places[0], ~places[1]]
    assert (places[0][0] != places[0][1]).any(), "clips differ"
    assert (places[0][0] != places[1][0]).any(), "kinds differ"
    images = toys.ROWS["image"].astype(np.float64) - 0.5
    target = toys.standardize(toys.encode(teacher, images))

    def loss(params):
        tokens, total, predictor = toys.encode(params["encoder"], images), 0, params["predictor"]
        for kind in range(2):
            for i in range(2):
                masked = masks[kind][i]
                mean = tokens[i][~masked].mean(0) @ predictor["a"]
                error = mean + predictor["places"] + predictor["kinds"][kind] - target[i]
                total += np.abs(error[masked]).mean()
        return total / 4

    after, metrics = toys.check_update(built, state, loss)
    named = [(GRID, *kind.values(), (0.4, 2.0), list(kind)[1]) for kind in (small, large)]
    assert {*drawn} == {*named}
    # A quarter of the tubelets and three quarters: half, in the mean.
    assert metrics["masked_fraction"].compute() == pytest.approx(0.5)
    np.testing.assert_allclose(metrics["target_variance"].compute(), target[:2].var(1).mean(), rtol=1e-5)
    for name, value in after.params["encoder"].items():
        np.testing.assert_allclose(after.teacher_params[name], 0.9 * teacher[name] + 0.1 * value, atol=1e-6)


@pytest.mark.covers("VD-21")
def test_the_loss_is_that_of_masked_tubelets_alone():
    """Errors of 1 and 3 in the two channels of a masked tubelet, 2 and 2 in the other: their mean is 2."""
    prediction = np.float32([[[1, 3], [9, 9], [2, -2]]])
    masked, target = np.array([[True, False, True]]), np.zeros((1, 3, 2), np.float32)
    np.testing.assert_allclose(jax.jit(vjepa.masked_tube_losses)(prediction, target, masked), [2])
    slope = jax.grad(lambda target: vjepa.masked_tube_losses(prediction, target, masked).sum())(target)
    assert not slope.any(), "no gradient reaches the teacher"


@pytest.mark.slow
@pytest.mark.covers("VD-21")
def test_hidden_tubelets_do_not_reach_the_context_nor_the_prediction():
    encoder = ClipEncoder(1, 1, depth=1, width=12, num_heads=2, mlp_features=8)
    predictor = TubePredictor(1, 6, 1, 4, mask_tokens=2)
    clip = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 2, 2, 1)), jnp.float32)
    masked = jnp.asarray([[False, True, False, True] * 2])
    params = jax.jit(encoder.init)(jax.random.key(0), clip)
    tokens = encoder.apply(params, clip)["tokens"]
    more = jax.jit(lambda key: predictor.init(key, tokens, ~masked, masked, (2, 2, 2)))(jax.random.key(1))

    @jax.jit
    def run(clip):
        tokens = encoder.apply(params, clip, visible=~masked)["tokens"]
        return tokens, predictor.apply(more, tokens, ~masked, masked, (2, 2, 2), 0)

    (tokens, prediction), (same_tokens, same) = run(clip), run(clip.at[:, :, :, 1].set(7.0))
    np.testing.assert_allclose(same_tokens[~masked], tokens[~masked], atol=1e-6)
    np.testing.assert_allclose(same[masked], prediction[masked], atol=1e-6)
    _, changed = run(clip.at[:, :, :, 0].set(7.0))
    assert np.abs(changed - prediction)[masked].max() > 1e-5


@pytest.mark.weekly
@pytest.mark.covers("VD-21")
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    one = toys.params_after_two_steps(learner(), 1)
    chex.assert_trees_all_close(one, toys.params_after_two_steps(learner(), 8, spmd), atol=1e-6)


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match=r"teacher_momentum=1\.5: .*allowed: "):
        learner(teacher_momentum=lambda step: 1.5)
