"""S3D against torchvision, and its convolutions and head by NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch, torch_weights
from dlcore.models.normalization import OF_KINETICS, normalization
from dlcore.models.s3d import S3D, TORCH_NAMES, SeparableConv, _window_means
from dlcore.models.stored_counts import stored_models
from tests.models.parity import check_output, read_golden, weight_rule
from tests.models.tracing import layers_traced_once


@pytest.mark.weekly
@pytest.mark.covers("VD-20")
def test_s3d_equals_torchvision():
    golden, meta, weights = read_golden("tvvid_s3d")
    clips = jnp.asarray(weight_rule().det_input(meta["inputs"]["x"]).transpose(0, 2, 3, 4, 1))
    with layers_traced_once():
        variables = load_torch("s3d", weights)
    check_output(golden, meta, "logits", jax.jit(create_model("s3d").apply)(variables, clips))


@pytest.mark.slow
@pytest.mark.covers("VD-20")
def test_names_and_shapes_are_torchvisions():
    with layers_traced_once():
        leaves = torch_weights._leaves(torch_weights._variables("s3d", {}))
    names = {torch_weights._torch_name(path, TORCH_NAMES): leaf.shape for path, leaf in leaves.items()}
    state_dict = read_golden("tvvid_s3d", keep=lambda key: False)[1]["state_dict"]
    published = {name: shape for name, shape in state_dict if not name.endswith("num_batches_tracked")}
    assert names.keys() == published.keys()
    sides = {name: sorted(n for n in shape if n > 1) for name, shape in published.items()}
    assert {name: sorted(n for n in shape if n > 1) for name, shape in names.items()} == sides


def test_parameter_count_is_torchvisions():
    assert stored_models("video")["s3d"]["parameters"] == 8_320_048


@pytest.mark.covers("VD-20")
def test_a_separable_convolution_is_one_over_space_and_one_over_time():
    """In float64, at stride 2: relu(norm(conv)) of 1 x 3 x 3, then of 3 x 1 x 1, with zeros around the clip."""
    layer, rng = SeparableConv(2, 3, 2), np.random.default_rng(0)
    x = rng.normal(size=(1, 4, 4, 4, 2))
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), jnp.asarray(x), False))
    variables = jax.tree.map(lambda leaf: rng.uniform(0.1, 1, leaf.shape) - 0.4 * (len(leaf.shape) > 1), shapes)
    with jax.enable_x64(True):
        got = jax.jit(lambda variables, x: layer.apply(variables, x, False))(variables, x)[0]
    y = x[0]
    for name, kernel, stride in (("0", (1, 3, 3), (1, 2, 2)), ("1", (3, 1, 1), (2, 1, 1))):
        params, stats = variables["params"][name], variables["batch_stats"][name]["bn"]
        padded = np.pad(y, [(k // 2, k // 2) for k in kernel] + [(0, 0)])
        out = np.zeros((*(n // s for n, s in zip(y.shape[:3], stride, strict=True)), 2))
        for place in np.ndindex(out.shape[:3]):
            window = tuple(slice(p * s, p * s + k) for p, s, k in zip(place, stride, kernel, strict=True))
            out[place] = np.tensordot(padded[window], params["conv"]["kernel"], 4)
        norm = (out - stats["mean"]) / np.sqrt(stats["var"] + 1e-3)
        y = np.maximum(norm * params["bn"]["scale"] + params["bn"]["bias"], 0)
    np.testing.assert_allclose(got, y, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.covers("VD-20")
def test_the_head_averages_windows():
    """Of a map of 3 x 7 x 7, frames of 1, 2 and 6: windows of frames 0 and 1, and of 1 and 2. Smaller maps are one."""
    maps = np.float32([1, 2, 6]).reshape(1, 3, 1, 1, 1) * np.ones((1, 3, 7, 7, 1), np.float32)
    whole, part = jax.device_get(jax.jit(lambda x: (_window_means(x), _window_means(x[:, :1, :2, :2])))(maps))
    np.testing.assert_allclose(whole.ravel(), [1.5, 4], rtol=1e-6)
    np.testing.assert_allclose(part.ravel(), [1], rtol=1e-6)


@pytest.mark.slow
def test_the_smallest_clips_have_logits():
    with layers_traced_once():
        logits = jax.eval_shape(
            lambda: S3D(3, width_mult=0.05).init_with_output(jax.random.key(0), jnp.zeros((1, 5, 17, 17, 3)))[0]
        )
    chex.assert_shape(logits, (1, 3))


def test_clips_are_normalized_as_published():
    assert normalization("s3d") == OF_KINETICS
