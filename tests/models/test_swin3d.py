"""Video Swin: attention in shifted windows of frames by NumPy, torchvision's names and parameter counts."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore.models import create_model, load_torch
from dlcore.models.normalization import IMAGENET, normalization
from dlcore.models.stored_counts import stored_models
from dlcore.models.swin import join_windows, shift_mask, windows
from dlcore.models.swin3d import SwinBlock3D
from dlcore.pretrained import from_pretrained
from tests.models.tracing import layers_traced_once

TINY = {"stages": (1, 1), "width": 4, "num_heads": (1, 2), "window_size": 2, "num_classes": 3}


def normalized(x, params):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * params["scale"] + params["bias"]


def attended(x, params, window, shift):
    """Attention [T, H, W, C] of each pixel over those of its window that were its neighbors before the shift."""
    sides = x.shape[:3]
    sizes = [min(n, w) for n, w in zip(sides, window, strict=True)]
    padded = np.pad(x, [(0, -n % w) for n, w in zip(sides, sizes, strict=True)] + [(0, 0)])
    shift = [s if n > w else 0 for s, n, w in zip(shift, padded.shape, sizes, strict=False)]
    qkv = padded @ params["attn"]["qkv"]["kernel"] + params["attn"]["qkv"]["bias"]
    heads = params["bias_table"]["embedding"].shape[1]
    query, key, value = np.moveaxis(qkv.reshape(*padded.shape[:3], 3, heads, -1), 3, 0)
    pixels = np.array(list(np.ndindex(padded.shape[:3])))
    rolled = (pixels - shift) % padded.shape[:3]
    inside = np.ravel_multi_index(tuple((rolled % sizes).T), sizes)  # row order of the window as it is
    whole = np.stack(np.unravel_index(inside, window), -1)  # the place of that index in the whole window
    out = np.zeros((*padded.shape[:3], heads, query.shape[-1]))
    for i, p in enumerate(pixels):
        same = [
            j
            for j, q in enumerate(pixels)
            if (rolled[i] // sizes == rolled[j] // sizes).all() and (rolled[i] - rolled[j] == p - q).all()
        ]
        for head, j in itertools.product(range(heads), (tuple(same),)):
            offsets = tuple((whole[i] - whole[list(j)] + np.array(window) - 1).T)
            rows = np.ravel_multi_index(offsets, [2 * w - 1 for w in window])
            keys = key[tuple(pixels[list(j)].T)][:, head]
            scores = keys @ query[tuple(p)][head] / np.sqrt(query.shape[-1])
            weights = np.exp(scores + params["bias_table"]["embedding"][rows, head])
            out[tuple(p)][head] = weights / weights.sum() @ value[tuple(pixels[list(j)].T)][:, head]
    y = out.reshape(*padded.shape[:3], -1) @ params["attn"]["proj"]["kernel"] + params["attn"]["proj"]["bias"]
    return y[tuple(map(slice, sides))]


@pytest.mark.covers("VD-20")
@pytest.mark.parametrize(
    ("sides", "shift"),
    [
        pytest.param((3, 3, 5), 1, id="padded and shifted along all axes"),
        pytest.param((2, 1, 3), 1, id="rows shrink the window, and columns shift"),
    ],
)
def test_attention_is_that_of_numpy(sides, shift):
    """In float64, two heads, windows of 2 x 2 x 2; the MLP's last layer is 0."""
    block, rng = SwinBlock3D(2, 2, shift, hidden=2, window_frames=2, shift_frames=shift), np.random.default_rng(0)
    x = rng.normal(size=(1, *sides, 4))
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), jnp.asarray(x)))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
    params["mlp"]["fc2"] = jax.tree.map(np.zeros_like, params["mlp"]["fc2"])
    with jax.enable_x64(True):
        got = jax.jit(block.apply)({"params": params}, x)[0]
    expected = x[0] + attended(normalized(x[0], params["norm1"]), params, (2, 2, 2), (shift,) * 3)
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.covers("VD-20")
def test_windows_of_clips_by_hand():
    """Of 2 x 2 x 4 pixels, windows of 2 x 1 x 2: pixels 0 and 1 with those of the next frame, 8 further."""
    x = jnp.arange(16).reshape(1, 2, 2, 4)
    cut = windows(x, (2, 1, 2))
    np.testing.assert_array_equal(cut[0], [[0, 1, 8, 9], [2, 3, 10, 11], [4, 5, 12, 13], [6, 7, 14, 15]])
    np.testing.assert_array_equal(join_windows(cut[..., None], (2, 2, 4), (2, 1, 2))[..., 0], x)
    # Rolled by one frame of four: the last window of two frames holds frames 3 and 0.
    mask = shift_mask((4, 1, 1), (2, 1, 1), (1, 0, 0))
    np.testing.assert_array_equal(mask, [np.ones((2, 2)), np.eye(2)])


def torchvision_state(rng):
    """A state dict of a tiny network under the names that torchvision gives."""
    shapes = {"patch_embed.proj.weight": (4, 3, 2, 4, 4), "patch_embed.proj.bias": (4,)}

    def norm(name, width):
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    def linear(name, inputs, outputs):
        return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

    shapes |= norm("patch_embed.norm", 4)
    for name, width, heads in (("features.0.0", 4, 1), ("features.2.0", 8, 2)):
        shapes |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
        shapes |= linear(f"{name}.attn.qkv", width, 3 * width) | linear(f"{name}.attn.proj", width, width)
        shapes |= linear(f"{name}.mlp.0", width, 4 * width) | linear(f"{name}.mlp.3", 4 * width, width)
        shapes[f"{name}.attn.relative_position_bias_table"] = (15 * 3 * 3, heads)
    shapes |= {"features.1.reduction.weight": (8, 16)} | norm("features.1.norm", 16)
    shapes |= norm("norm", 8) | linear("head", 8, 3)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.slow
@pytest.mark.covers("VD-20")
def test_load_torch_takes_torchvisions_names():
    state = torchvision_state(np.random.default_rng(0))
    stored = {"features.0.0.attn.relative_position_index": np.zeros((32, 32), int)}
    with layers_traced_once():
        params = load_torch("swin3d_t", {**state, **stored}, **TINY)["params"]
        with pytest.raises(ValueError, match=r"does not fit Swin3D; 1 left over: head\.gain"):
            load_torch("swin3d_t", {**state, "head.gain": np.zeros(3, np.float32)}, **TINY)
    kernel = state["patch_embed.proj.weight"].transpose(2, 3, 4, 1, 0)
    np.testing.assert_array_equal(params["features_0_0"]["kernel"], kernel)
    table = state["features.2.0.attn.relative_position_bias_table"]
    np.testing.assert_array_equal(params["features_3_0"]["bias_table"]["embedding"], table)
    np.testing.assert_array_equal(params["features_2"]["reduction"]["kernel"], state["features.1.reduction.weight"].T)


@pytest.mark.slow
@pytest.mark.covers("VD-20")
def test_from_pretrained_takes_torchvisions_name_and_file(tmp_path):
    rng = np.random.default_rng(0)
    state = torchvision_state(rng)
    state |= {"head.weight": rng.normal(size=(400, 8)), "head.bias": rng.normal(size=400)}
    save_file({name: value.astype(np.float32) for name, value in state.items()}, tmp_path / "tiny.safetensors")
    fields = {name: value for name, value in TINY.items() if name != "num_classes"}
    name, file = "Swin3D_T_Weights.KINETICS400_V1", tmp_path / "tiny.safetensors"
    with layers_traced_once():
        published = from_pretrained(name, file=file, **fields)
    nets = [published, from_pretrained(name, file=file, num_classes=3, **fields)]
    chex.assert_shape([net.variables["params"]["head"]["kernel"] for net in nets], [(8, 400), (8, 3)])
    assert nets[0].preprocess.mean == IMAGENET.mean
    chex.assert_shape(nets[1](x=np.zeros((1, 2, 8, 8, 3), np.float32))["logits"], (1, 3))


@pytest.mark.covers("VD-20")
@pytest.mark.parametrize(
    ("name", "count"), [("swin3d_t", 28_158_070), ("swin3d_s", 49_816_678), ("swin3d_b", 88_048_984)]
)
def test_parameter_counts_are_torchvisions(name, count):
    assert stored_models("video")[name]["parameters"] == count


@pytest.mark.slow
def test_merging_halves_the_sides_and_keeps_time():
    """Of 5 x 18 x 10, padded to 6 x 20 x 12: 3 x 5 x 3 patches, then 3 x 3 x 2."""
    model = create_model("swin3d_t", **TINY)

    def run(x):
        variables = model.init(jax.random.key(0), x)
        return model.apply(variables, x, method="features"), model.apply(variables, x)

    with layers_traced_once():
        maps, logits = jax.eval_shape(run, jnp.zeros((2, 5, 18, 10, 3)))
    chex.assert_shape([maps["stage1"], maps["stage2"], logits], [(2, 3, 5, 3, 4), (2, 3, 3, 2, 8), (2, 3)])


def test_clips_are_normalized_as_published():
    assert normalization("swin3d_t") == IMAGENET
