"""What a ControlNet changes at the start (nothing), what learns, edges and overlaps by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import ddpm
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.control_net import (
    ControlledUNet,
    ControlNet,
    control_condition,
    copy_encoder,
    edge_map,
    shape_iou,
)
from dlcore.generative.text_to_image import TextUNet, WordEncoder

SMALL = {"channels": (8, 8), "num_heads": 2, "groups": 4, "attention_levels": ()}


@pytest.fixture(scope="module")
def setting():
    """(learner, state, batch, base): the base's parameters are no zeros, the control begins as a copy."""
    base = TextUNet(WordEncoder(7, 8, 0, 2), ConditionalUNet(**SMALL))
    model = ControlledUNet(base, ControlNet(**SMALL))
    learner = ddpm.learner(
        model=model,
        optimizer=optax.sgd(0.1),
        shape=(4, 4, 3),
        condition=control_condition(),
        locked=("base",),
        condition_dropout=0.5,
    )
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.random((4, 4, 4, 3), np.float32),
        "tokens": rng.integers(0, 7, (4, 3)).astype(np.int32),
        "hint": rng.integers(0, 2, (4, 4, 4, 1)).astype(np.float32),
        "index": np.arange(4, dtype=np.int32),
    }
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    noise = jax.random.normal(jax.random.key(2), (997,))
    locked = jax.tree.map(lambda leaf: leaf + 0.2 * jnp.resize(noise, leaf.shape), state.locked)
    params = {"control": copy_encoder(state.params["control"], locked["base"]["unet"])}
    return learner, state.replace(params=params, locked=locked), batch, base, model


@pytest.mark.weekly
@pytest.mark.covers("GE-27")
def test_at_the_start_the_output_is_the_bases_to_the_bit(setting):
    _, state, batch, base, model = setting
    x, t = jax.random.normal(jax.random.key(1), (4, 4, 4, 3)), jnp.arange(4)
    given = {"prompt": batch["tokens"], "hint": batch["hint"]}

    @jax.jit
    def both(params):
        alone = base.apply({"params": params["base"]}, x, t, batch["tokens"])
        return alone, model.apply({"params": params}, x, t, given)

    alone, controlled = both({**state.params, **state.locked})
    assert np.abs(alone).max() > 0.01
    np.testing.assert_array_equal(alone, controlled)


@pytest.mark.weekly
@pytest.mark.covers("GE-27")
def test_zero_convolutions_learn_first_and_the_base_never(setting):
    """dL/dw = dL/dy h is not zero where h is not; what lies before a zero convolution has dL/dh = w dL/dy = 0."""
    learner, state, batch, *_ = setting
    after, _ = jax.jit(learner.update)(state, batch)
    changes = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), after.params["control"], state.params["control"])
    for name, change in changes.items():
        is_zero_convolution = name.startswith(("controlnet_down_blocks", "controlnet_mid_block"))
        if is_zero_convolution:
            assert change["kernel"] > 0, name
        else:
            assert all(value == 0 for value in jax.tree.leaves(change)), name
    jax.tree.map(np.testing.assert_array_equal, after.locked, state.locked)
    assert jax.tree.leaves(state.opt_state) == jax.tree.leaves(optax.sgd(0.1).init(state.params))


@pytest.mark.weekly
@pytest.mark.covers("GE-27")
def test_the_copy_has_the_encoders_weights_and_nothing_of_the_decoder(setting):
    _, state, *_ = setting
    control, unet = state.params["control"], state.locked["base"]["unet"]
    shared = control.keys() & unet.keys()
    assert {"conv_in", "time_embedding", "mid_block_resnets_0", "down_blocks_1_resnets_0"} <= shared
    assert {name for name in control if name not in shared} == {
        "controlnet_cond_embedding",
        "controlnet_mid_block",
        *(f"controlnet_down_blocks_{k}" for k in range(4)),
    }
    jax.tree.map(np.testing.assert_array_equal, {k: control[k] for k in shared}, {k: unet[k] for k in shared})


def test_without_a_condition_the_prompt_is_missing_and_the_hint_stays():
    condition = control_condition()
    given = condition.read({"tokens": np.array([[3, 4]]), "hint": np.ones((1, 2, 2, 1))})
    null = condition.null(given)
    assert null["prompt"].tolist() == [[0, 0]]
    assert null["hint"].all()


def test_edges_are_where_a_channel_changes():
    image = np.full((1, 4, 6, 3), 100, np.uint8)
    image[0, :, 3:, 1] = 200  # a slope of 100 / 2 a pixel at columns 2 and 3
    assert edge_map(image)[0, :, :, 0].tolist() == [[0, 0, 1, 1, 0, 0]] * 4
    assert edge_map(image, 49.9).any()
    assert not edge_map(image, 50).any()
    across = edge_map(image.transpose(0, 2, 1, 3))  # and at rows 2 and 3 of the turned image
    assert across[0, :, :, 0].tolist() == [[0] * 4, [0] * 4, [1] * 4, [1] * 4, [0] * 4, [0] * 4]
    # A corner: slopes of 30 across and 40 down are 50 together.
    corner = np.zeros((1, 3, 3, 1), np.uint8)
    corner[0, 1, 2], corner[0, 2, 1] = 60, 80
    assert edge_map(corner, 49.9)[0, 1, 1, 0] == 1
    assert edge_map(corner, 50)[0, 1, 1, 0] == 0
    # By default an edge is steeper than 40: a step of 80 is none, one of 81 is.
    step = np.repeat(np.array([0, 1, 1], np.uint8), 3).reshape(1, 3, 3, 1)
    assert [bool(edge_map(height * step).any()) for height in (80, 81)] == [False, True]


@pytest.mark.covers("GE-27")
def test_overlap_by_hand():
    """Two pixels of three in common: 2 / 3; the shuffled rows have none."""
    drawn, real = np.zeros((2, 2, 2, 3)), np.zeros((2, 2, 2, 3))
    drawn[0, 0, :, 0], real[0, 0, :, 0], real[0, 1, 0, 0] = 1, 1, 1
    drawn[1, 1, 1, 0] = real[1, 1, 1, 0] = 1
    measure = shape_iou(lambda x: x[..., 0] > 0, None)
    acc = measure.add(None, {"sample": drawn}, {"image": real})
    assert measure.finish(acc) == pytest.approx({"shape_iou": (2 / 3 + 1) / 2, "shuffled_iou": 0.0})
    nothing = measure.add(None, {"sample": 0 * drawn}, {"image": 0 * real})
    assert measure.finish(nothing) == {"shape_iou": 1.0, "shuffled_iou": 1.0}
    with pytest.raises(ValueError, match="=nan: not finite"):
        measure.add(None, {"sample": drawn * np.nan}, {"image": real})


def test_a_copy_has_every_weight_that_both_have():
    control = {"conv_in": "new", "controlnet_mid_block": "zero"}
    copied = copy_encoder(control, {"conv_in": "trained", "up_blocks_0_resnets_0": "decoder"})
    assert copied == {"conv_in": "trained", "controlnet_mid_block": "zero"}


@pytest.mark.covers("GE-27")
def test_the_base_denoises_with_the_prompt_and_the_control_of_both():
    """The prompt 2 is read as the label 2 and the context 20; the control is their sum with x, t and the hint."""

    class Base(nn.Module):
        def prompted(self, prompt):
            return prompt, 10 * prompt

        def denoise(self, *given):
            return given

    class Control(nn.Module):
        @nn.compact
        def __call__(self, x, t, hint, label, context):
            return x + t + hint + label + context

    given = {"prompt": 2, "hint": 400}
    assert ControlledUNet(Base(), Control()).apply({}, 1000, 3000, given) == (1000, 3000, 2, 20, 4422)
    text = TextUNet(WordEncoder(7, 8, 0, 2), Control())
    assert text.apply({}, 1, 2, 3, 40, 500, method="denoise") == 546


def test_the_condition_reads_numbers_of_tokens_and_floats_of_hints():
    condition = control_condition("words", "edges")
    given = condition.read({"words": np.array([[3, 4]], np.uint8), "edges": np.ones((1, 2, 2, 1), np.uint8)})
    assert (given["prompt"].dtype, given["hint"].dtype) == (jnp.int32, jnp.float32)
    assert given["prompt"].tolist() == [[3, 4]]
