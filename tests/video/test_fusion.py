"""Fusions of frames: what each can and cannot see of time, by construction; sizes; inflation; learning."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.diagnostics.dependence import dependence
from dlcore.video.fusion import C3D, ClipClassifier, ConvNet, inflate, width_of
from tests.wiring import assert_wiring


def weights(model, x, seed=0):
    """NumPy's random kernels: no program to compile."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(x.shape, jnp.float32))
    scale = lambda p: np.sqrt(2 / max(1, np.prod(p.shape[:-1])))  # noqa: E731
    return jax.tree.map(lambda p: (rng.normal(size=p.shape) * scale(p)).astype(np.float32), shapes)


def classifier(fusion, **fields):
    return ClipClassifier(3, fusion, **{"width": 2, "hidden": 4, **fields})


@functools.cache
def logits_of_orders(fusion):
    """Logits of a clip and of the same with its frames in reverse, the last maps, and the parameters."""
    x = np.random.default_rng(1).normal(size=(1, 4, 16, 8, 3)).astype(np.float32)
    x = np.concatenate([x, x[:, ::-1]])
    model = classifier(fusion)
    variables = weights(model, x[:1])
    if fusion == "slow":
        net, frames = ConvNet((2, 4, 4), temporal=3), x
    else:
        net, frames = ConvNet((2, 4, 4)), x.reshape(8, 16, 8, 3)
        if fusion == "early":
            frames = np.concatenate([x[:, t] for t in range(4)], -1)

    @jax.jit
    def run(variables):
        return model.apply(variables, x), net.apply({"params": variables["params"]["net"]}, frames)

    return *map(np.asarray, run(variables)), variables["params"]


@pytest.mark.parametrize(
    ("fusion", "is_blind"),
    [
        pytest.param("single", True, marks=pytest.mark.covers("VD-02")),
        pytest.param("late_pool", True, marks=pytest.mark.covers("VD-03")),
        pytest.param("late_dense", False, marks=pytest.mark.covers("VD-03")),
        pytest.param("early", False, marks=pytest.mark.covers("VD-04")),
        ("slow", False),
        pytest.param("lstm", False, marks=pytest.mark.covers("VD-08")),
    ],
)
def test_who_sees_the_order_of_frames(fusion, is_blind):
    (forward, reverse), _, _ = logits_of_orders(fusion)
    assert (np.abs(forward - reverse).max() < 1e-6) == is_blind


def dense(params, x):
    return x @ params["kernel"] + params["bias"]


@pytest.mark.parametrize("fusion", ["single", "late_pool", "late_dense", "early", "slow"])
def test_heads_of_the_fusions_by_hand(fusion):
    """A frame of 16 x 8 pixels has a last map of 2 x 1 places, 4 features each."""
    logits, maps, params = logits_of_orders(fusion)
    if fusion in ("early", "slow"):
        features = maps.mean((1, 2) if fusion == "early" else (1, 2, 3))
    else:
        chex.assert_shape(maps, (8, 2, 1, 4))
        maps = maps.reshape(2, 4, 2, 4)  # clips, frames, places, features
        if fusion == "single":  # the mean of the frames' logits is that of their features
            features = maps.mean((1, 2))
        elif fusion == "late_pool":
            features = maps.reshape(2, 4, 8).mean(1)
        else:
            features = np.maximum(dense(params["hidden"], maps.reshape(2, 32)), 0)
    np.testing.assert_allclose(logits, dense(params["logits"], features), rtol=1e-4, atol=1e-5)


def shapes_of(fusion):
    x = jax.ShapeDtypeStruct((1, 4, 8, 8, 3), jnp.float32)
    return jax.eval_shape(classifier(fusion).init, jax.random.key(0), x)["params"]


@pytest.mark.covers("VD-04")
def test_early_fusion_reads_all_frames_in_its_first_kernel():
    chex.assert_shape(shapes_of("early")["net"]["conv0"]["kernel"], (3, 3, 4 * 3, 2))


@pytest.mark.covers("VD-03")
def test_late_dense_concatenates_the_frames():
    # 8 x 8 -> 4 -> 2 -> 1: 1 1 4 features of each of 4 frames
    chex.assert_shape(shapes_of("late_dense")["hidden"]["kernel"], (16, 4))
    chex.assert_shape(shapes_of("late_pool")["logits"]["kernel"], (4, 3))


@pytest.mark.covers("VD-05")
@pytest.mark.covers("VD-04")
def test_slow_fusion_is_shift_invariant_in_time_and_early_fusion_is_not():
    # A frame among black ones: shifted by one step, the maps of three layers of 3 taps shift too, away from the ends.
    x = np.zeros((2, 12, 8, 8, 3), np.float32)
    x[0, 5] = x[1, 6] = np.random.default_rng(0).normal(size=(8, 8, 3))
    for fusion, is_invariant in (("slow", True), ("early", False)):
        model = classifier(fusion)
        a, b = np.asarray(jax.jit(model.apply)(weights(model, x[:1]), x))
        assert (np.abs(a - b).max() < 1e-5) == is_invariant


@pytest.mark.covers("VD-05")
@pytest.mark.parametrize(("num_classes", "millions"), [(101, 78.41), (487, 79.99)])
def test_parameters_of_c3d(num_classes, millions):
    # convolutions 27.66 M, fc6 8192 4096, fc7 4096 4096, fc8 4096 classes, and their biases
    x = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32)
    variables = jax.eval_shape(C3D(num_classes).init, jax.random.key(0), x)
    chex.assert_shape(variables["params"]["fc6"]["kernel"], (8192, 4096))
    assert round(sum(leaf.size for leaf in jax.tree.leaves(variables)) / 1e6, 2) == millions


@pytest.mark.covers("VD-06")
def test_inflated_weights_give_a_still_clip_the_logits_of_its_frame():
    # Two layers of 3 taps: the first and the last 2 of 7 time steps see zeros beyond the ends.
    frame = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
    flat, deep = ConvNet((4, 4)), ConvNet((4, 4), temporal=3)
    variables = weights(flat, frame)
    inflated = inflate(variables, 3)
    chex.assert_shape(inflated["params"]["conv0"]["kernel"], (3, 3, 3, 3, 4))
    still = np.repeat(frame[:, None], 7, 1)
    maps, wanted = jax.jit(lambda: (deep.apply(inflated, still), flat.apply(variables, frame)))()
    np.testing.assert_allclose(maps[:, 2:-2], np.repeat(wanted[:, None], 3, 1), atol=1e-5)
    assert np.abs(maps[:, 0] - wanted).max() > 1e-3


@pytest.mark.covers("VD-10")
def test_a_space_time_non_local_block_is_the_identity_at_first():
    x = np.random.default_rng(0).normal(size=(1, 3, 2, 2, 3)).astype(np.float32)
    plain, block = ConvNet((2,), temporal=1), ConvNet((2,), temporal=1, non_local=True)
    variables = weights(plain, x)
    params = jax.eval_shape(block.init, jax.random.key(0), x)["params"]
    chex.assert_shape(params["non_local"]["theta"]["kernel"], (2, 1))
    rng = np.random.default_rng(1)
    extra = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params["non_local"])
    extra["out"] = jax.tree.map(np.zeros_like, extra["out"])
    both = {"params": {**variables["params"], "non_local": extra}}

    @jax.jit
    def run():
        initial = block.init(jax.random.key(0), x)["params"]["non_local"]["out"]["kernel"]
        return block.apply(both, x), plain.apply(variables, x), initial

    given, wanted, initial = run()
    np.testing.assert_array_equal(given, wanted)
    assert not np.asarray(initial).any()
    # With other weights, each place sees all of time.
    assert dependence(functools.partial(block.apply, both), jax.ShapeDtypeStruct(x.shape, x.dtype), axis=1).all()


@pytest.mark.covers("VD-16")
def test_temporal_fields_grow_by_two_a_layer_and_bound_the_gradients():
    # Three taps a layer: layer l sees l frames at both sides, 3 and 5 of 7.
    x = np.random.default_rng(0).uniform(size=(1, 7, 2, 2, 1)).astype(np.float32)
    net = ConvNet((2, 2), temporal=3)
    variables = jax.tree.map(np.abs, weights(net, x))  # nothing cancels, no unit is off

    def middle(x):
        """What each layer says of frame 3: [2]."""
        maps = net.apply(variables, x, capture_intermediates=True)[1]["intermediates"]
        return jnp.stack([maps[f"conv{i}"]["__call__"][0][0, 3].sum() for i in range(2)])

    wanted = [[2, 3, 4], [1, 2, 3, 4, 5]]
    assert [np.flatnonzero(seen).tolist() for seen in dependence(middle, x, axis=1)] == wanted
    slope = np.asarray(jax.jit(jax.grad(lambda x: middle(x)[1]))(x))
    assert np.flatnonzero(slope.any((0, 2, 3, 4))).tolist() == wanted[1]


def learned_accuracy(fusion, clips, labels, frozen=(), steps=40):
    """Accuracy on the second half of the clips after training on the first, on all of it at each step."""
    model, half = ClipClassifier(2, fusion, width=8, hidden=8), len(clips) // 2
    optimizer = optax.adam(2e-2)
    params = weights(model, clips[:1])["params"]
    fixed = {name: params.pop(name) for name in frozen}

    def logits(params, clips):
        return model.apply({"params": {**params, **fixed}}, clips)

    def objective(params):
        losses = optax.softmax_cross_entropy_with_integer_labels(logits(params, clips[:half]), labels[:half])
        return losses.mean()

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(objective)(params), state)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)
        return logits(params, clips[half:]).argmax(-1)

    return float(np.mean(np.asarray(run(params)) == labels[half:]))


@pytest.fixture(scope="module")
def blinks():
    """Clips of two frames with noise, red before green or green before red, and which comes first."""
    rng = np.random.default_rng(0)
    clips, labels = rng.normal(0, 0.2, (48, 2, 4, 4, 3)).astype(np.float32), rng.integers(0, 2, 48)
    for clip, label in zip(clips, labels, strict=True):
        for frame, channel in enumerate((label, 1 - label)):
            clip[frame, ..., channel] += 1
    return clips, labels


@pytest.mark.slow
@pytest.mark.covers("VD-08")
def test_an_lstm_on_a_frozen_network_learns_the_order(blinks):
    assert learned_accuracy("lstm", *blinks, frozen=("net",)) >= 0.95


@pytest.mark.slow
@pytest.mark.covers("VD-02")
def test_a_single_frame_shows_appearance(blinks):
    clips = np.repeat(blinks[0][:, :1], 2, 1)  # the first frame alone: its color is the label
    assert learned_accuracy("single", clips, blinks[1], frozen=("net",)) >= 0.95


def test_widths_at_equal_parameters():
    # early: 9 12 w + w, 9 w 2w + 2w, 9 2w 2w + 2w, 2w 3 + 3 = 54 w^2 + 119 w + 3, 846 at 3
    count = lambda w: 54 * w**2 + 119 * w + 3  # noqa: E731
    assert count(3) == 846
    assert width_of("early", 850, 3, (4, 8, 8, 3)) == 3


def test_c3d_of_another_width_and_clips_that_are_too_small():
    x = jax.ShapeDtypeStruct((1, 16, 16, 16, 3), jnp.float32)
    params = jax.eval_shape(C3D(5, width=2, hidden=8).init, jax.random.key(0), x)["params"]
    # 16 frames and pixels, halved by four pools, the frames' sides padded to one by the last: 1 1 1 16 numbers.
    chex.assert_shape(params["conv5b"]["kernel"], (3, 3, 3, 16, 16))
    chex.assert_shape(params["fc6"]["kernel"], (16, 8))
    with pytest.raises(ValueError, match=r"no such clips; allowed: .B, T, H, W, C., T, H and W at least 16"):
        jax.eval_shape(C3D(5).init, jax.random.key(0), jnp.zeros((1, 8, 16, 16, 3)))


def test_bad_clips():
    with pytest.raises(ValueError, match=r"no clips; allowed: \[B, T, H, W, C\]"):
        jax.eval_shape(ClipClassifier(3, "slow").init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_the_wiring_of_slow_fast_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(ClipClassifier(2, "slowfast", 8), (1, 4, 8, 16, 3), [8.23605, 7.16655])


def test_the_wiring_of_clip_classifier_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(ClipClassifier(2, "slow", 4, 6, non_local=True), (1, 8, 8, 16, 3), [11.0267, 3.19645])


@pytest.mark.slow
def test_the_wiring_of_c3d_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(C3D(3, width=1, hidden=4), (1, 16, 16, 18, 2), [1.28552, -0.336118])
