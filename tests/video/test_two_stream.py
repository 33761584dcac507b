"""Two streams: the mean of their probabilities, and motion that the flow shows and the frame does not."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.clips import clips
from dlcore.video.flow_stack import flow_stack
from dlcore.video.two_stream import ConvFusion, TwoStream, TwoStreamClips
from tests.random_weights import random_like
from tests.wiring import assert_wiring


@pytest.mark.slow
@pytest.mark.covers("VD-07")
def test_the_flow_shows_the_motion_that_a_frame_does_not():
    arrays = clips(240, frames=3, size=16, flow=True).arrays
    frame = arrays["clip"][:, 0].astype(np.float32) / 127.5 - 1
    labels, model, rng = np.asarray(arrays["action"]), TwoStream(4, width=12), np.random.default_rng(0)
    shape = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32), jax.ShapeDtypeStruct((1, 16, 16, 4), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *shape)["params"]
    scale = lambda p: np.sqrt(2 / np.prod(p.shape[:-1])) * (len(p.shape) > 1)  # noqa: E731
    params = jax.tree.map(lambda p: (rng.normal(size=p.shape) * scale(p)).astype(np.float32), shapes)
    heads = {name: params.pop(name) for name in ("spatial_logits", "temporal_logits")}  # the layers below stay random
    optimizer = optax.adam(0.1)

    @jax.jit
    def run(heads, frame, flow):
        # The streams without their heads are fixed: their features are computed once.
        stacks = jax.vmap(flow_stack)(flow)
        bound = {"params": {**params, **heads}}
        maps = model.apply(bound, frame, stacks, method="streams", capture_intermediates=True)[1]["intermediates"]
        features = [maps[name]["__call__"][0].mean((1, 2)) for name in ("spatial", "temporal")]

        def logits(heads):
            pairs = zip(features, heads.values(), strict=True)
            return jnp.stack([x @ head["kernel"] + head["bias"] for x, head in pairs])

        def objective(heads):
            train = logits(heads)[:, :192]
            return optax.softmax_cross_entropy_with_integer_labels(train, jnp.stack([labels[:192]] * 2)).mean()

        def step(carry, _):
            heads, state = carry
            updates, state = optimizer.update(jax.grad(objective)(heads), state)
            return (optax.apply_updates(heads, updates), state), None

        (heads, _), _ = jax.lax.scan(step, (heads, optimizer.init(heads)), None, length=500)
        both = model.apply({"params": {**params, **heads}}, frame[192:], stacks[192:])
        return logits(heads)[:, 192:], both

    (spatial, temporal), both = run(heads, frame, arrays["flow"])
    accuracies = [float(np.mean(np.argmax(x, -1) == labels[192:])) for x in (spatial, temporal)]
    assert accuracies[1] >= accuracies[0] + 0.3
    mean = (np.asarray(jax.nn.softmax(spatial)) + np.asarray(jax.nn.softmax(temporal))) / 2
    np.testing.assert_allclose(np.exp(both), mean, atol=1e-5)


def test_maps_are_fused_in_space_and_in_time_by_hand():
    """One channel a stream; the kernel adds 2 of the spatial map at the same place, and the temporal map a step later.

    Spatial 3 at (time 0, row 0, column 0) and -5 at (1, 0, 2), temporal 4 at (1, 0, 1): before pooling
    y(0, 0, 0) = 6, y(0, 0, 1) = 4, y(1, 0, 2) = relu(-10) = 0. The largest of 3 x 3 x 3 neighbors is 6 up to one
    step away from (0, 0, 0), 4 further right, where (0, 0, 1) is a neighbor, and 0 beyond.
    """
    spatial, temporal = np.zeros((2, 1, 3, 1, 4, 1), np.float32)
    spatial[0, 0, 0, 0], spatial[0, 1, 0, 2], temporal[0, 1, 0, 1] = 3, -5, 4
    kernel = np.zeros((3, 3, 3, 2, 1), np.float32)
    kernel[1, 1, 1, 0], kernel[2, 1, 1, 1] = 2, 1
    variables = {"params": {"conv": {"kernel": kernel, "bias": np.zeros(1, np.float32)}}}
    fused = jax.jit(ConvFusion(1).apply)(variables, spatial, temporal)
    np.testing.assert_allclose(fused[0, :, 0, :, 0], [[6, 6, 4, 0], [6, 6, 4, 0], [0, 0, 0, 0]])
    with pytest.raises(ValueError, match=r"temporal.shape=\(1, 2, 1, 4, 1\): spatial.shape="):
        ConvFusion(1).apply({}, spatial, temporal[:, :2])


def test_clips_may_be_classified_by_fused_maps():
    # Of 4 frames three have flow: three stacks of three fields, 6 channels; both maps meet in one convolution.
    model, clip = TwoStreamClips(3, 2, levels=1, fusion="conv"), jax.ShapeDtypeStruct((2, 4, 16, 16, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), clip)["params"]
    chex.assert_shape(params["temporal"]["conv0"]["kernel"], (3, 3, 6, 2))
    chex.assert_shape(params["conv_fusion"]["conv"]["kernel"], (3, 3, 3, 4 + 4, 4))
    logits, streams = jax.eval_shape(lambda p, x: model.apply({"params": p}, x, method="auxiliary"), params, clip)
    chex.assert_shape([logits, *streams.values()], (2, 3))


def test_clips_are_classified_by_their_middle_frame_and_the_flow_inside():
    # Of 3 frames the middle one is seen by the spatial stream; 2 flow fields are 4 channels.
    model, clip = TwoStreamClips(3, 2, levels=1), jax.ShapeDtypeStruct((1, 3, 16, 16, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), clip)["params"]["streams"]
    chex.assert_shape(params["spatial"]["conv0"]["kernel"], (3, 3, 3, 2))
    chex.assert_shape(params["temporal"]["conv0"]["kernel"], (3, 3, 4, 2))


@pytest.mark.slow
def test_each_stream_has_logits_of_its_own_to_train_on():
    model = TwoStreamClips(3, 1, window=3, levels=1)
    rng = np.random.default_rng(0)
    clip = jnp.asarray(rng.uniform(-1, 1, (1, 2, 8, 8, 3)), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), clip)
    variables = random_like(shapes, 0.2, rng)

    @jax.jit
    def run(variables):
        return *model.apply(variables, clip, method="auxiliary"), model.apply(variables, clip)

    both, streams, called = jax.device_get(run(variables))
    weights = variables["params"]["streams"]
    head = weights["temporal_logits"]
    other = {**weights, "temporal_logits": {**head, "bias": head["bias"] + 1}}
    changed = jax.device_get(run({"params": {"streams": other}})[1])
    frame, flow = streams["spatial"], streams["temporal"]
    # The mean of the two softmaxes, by hand.
    mean = (np.exp(frame) / np.exp(frame).sum() + np.exp(flow) / np.exp(flow).sum()) / 2
    np.testing.assert_allclose(np.exp(both), mean, rtol=1e-5)
    np.testing.assert_allclose(called, both, rtol=1e-6)
    # The frame's logits do not depend on the flow's weights.
    np.testing.assert_allclose(changed["spatial"], frame, atol=1e-6)
    np.testing.assert_allclose(changed["temporal"], flow + 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("fusion", "numbers"), [("scores", [5.0866, -4.90457]), ("conv", [7.181, -3.55345])])
def test_the_wiring_of_both_streams_is_as_it_was(fusion, numbers):
    """A regression: the number holds the code as it was, of waves that move to the right and down."""
    t, y, x, c = np.meshgrid(*(np.arange(n) for n in (4, 8, 12, 3)), indexing="ij")
    clip = np.sin((x - 0.5 * t) / 2 + 0.3 * c) * np.cos((y - 0.3 * t) / 3)
    model = TwoStreamClips(3, 2, window=3, levels=1, fusion=fusion)
    assert_wiring(model, clip[None].astype(np.float32), numbers, method="auxiliary")
