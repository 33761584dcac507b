"""What a ControlNet changes at the start (nothing), what learns, edges and overlaps by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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
    assert edge_map(image)[0, 1, :, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert not edge_map(image, 51).any()


@pytest.mark.covers("GE-27")
def test_overlap_by_hand():
    """Two pixels of three in common: 2 / 3; the shuffled rows have none."""
    drawn, real = np.zeros((2, 2, 2, 3)), np.zeros((2, 2, 2, 3))
    drawn[0, 0, :, 0], real[0, 0, :, 0], real[0, 1, 0, 0] = 1, 1, 1
    drawn[1, 1, 1, 0] = real[1, 1, 1, 0] = 1
    measure = shape_iou(lambda x: x[..., 0] > 0, None)
    acc = measure.add(None, {"sample": drawn}, {"image": real})
    assert measure.finish(acc) == pytest.approx({"shape_iou": (2 / 3 + 1) / 2, "shuffled_iou": 0.0})
    with pytest.raises(ValueError, match="=nan: not finite"):
        measure.add(None, {"sample": drawn * np.nan}, {"image": real})
