"""ConvNeXt, Swin and Swin V2 by timm's names: arrays named by hand as timm's files name them; no golden has these."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore.pretrained import from_pretrained
from dlcore.pretrained.family import find_family


def layer(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    """A weight, and a bias of its first axis."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def convnext(depths, dims) -> dict[str, tuple[int, ...]]:
    shapes = layer("stem.0", dims[0], 3, 4, 4) | layer("stem.1", dims[0])
    for i, (depth, width) in enumerate(zip(depths, dims, strict=True)):
        if i:
            shapes |= layer(f"stages.{i}.downsample.0", dims[i - 1])
            shapes |= layer(f"stages.{i}.downsample.1", width, dims[i - 1], 2, 2)
        for j in range(depth):
            block = f"stages.{i}.blocks.{j}"
            shapes |= {f"{block}.gamma": (width,)} | layer(f"{block}.conv_dw", width, 1, 7, 7)
            shapes |= layer(f"{block}.norm", width) | layer(f"{block}.mlp.fc1", 4 * width, width)
            shapes |= layer(f"{block}.mlp.fc2", width, 4 * width)
    return shapes | layer("head.norm", dims[-1]) | layer("head.fc", 5, dims[-1])


def swin(depths, width, heads, window, second: bool) -> dict[str, tuple[int, ...]]:
    shapes = layer("patch_embed.proj", width, 3, 4, 4) | layer("patch_embed.norm", width)
    for i, (depth, head) in enumerate(zip(depths, heads, strict=True)):
        w = width * 2**i
        if i:
            merging = f"layers.{i}.downsample"
            shapes |= layer(f"{merging}.norm", w if second else 2 * w) | {f"{merging}.reduction.weight": (w, 2 * w)}
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}"
            attention = f"{block}.attn"
            shapes |= layer(f"{block}.norm1", w) | layer(f"{block}.norm2", w) | layer(f"{attention}.proj", w, w)
            shapes |= layer(f"{block}.mlp.fc1", 4 * w, w) | layer(f"{block}.mlp.fc2", w, 4 * w)
            if second:
                shapes |= {f"{attention}.qkv.weight": (3 * w, w), f"{attention}.logit_scale": (head, 1, 1)}
                shapes |= {f"{attention}.q_bias": (w,), f"{attention}.v_bias": (w,)}
                shapes |= layer(f"{attention}.cpb_mlp.0", 512, 2) | {f"{attention}.cpb_mlp.2.weight": (head, 512)}
            else:
                shapes |= layer(f"{attention}.qkv", 3 * w, w)
                shapes |= {f"{attention}.relative_position_bias_table": ((2 * window - 1) ** 2, head)}
    return shapes | layer("norm", 8 * width) | layer("head.fc", 5, 8 * width)


DEPTHS = [1, 1, 2, 1]
SWIN = {"depths": DEPTHS, "embed_dim": 8, "num_heads": [1, 1, 2, 2]}
CASES = {
    "convnext_tiny": ({"depths": DEPTHS, "dims": [4, 6, 8, 10]}, convnext(DEPTHS, [4, 6, 8, 10])),
    "swin_tiny_patch4_window7_224": (SWIN, swin(DEPTHS, 8, (1, 1, 2, 2), 7, False)),
    "swin_base_patch4_window12_384": (SWIN, swin(DEPTHS, 8, (1, 1, 2, 2), 12, False)),
    "swinv2_small_window8_256": (SWIN, swin(DEPTHS, 8, (1, 1, 2, 2), 8, True)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_arrays_of_timm_all_find_their_place(name, tmp_path):
    arguments, shapes = CASES[name]
    rng = np.random.default_rng(0)
    arrays = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    save_file(arrays, tmp_path / "model.safetensors")
    config = {"architecture": name, "num_classes": 5, "model_args": arguments}
    (tmp_path / "config.json").write_text(json.dumps(config))
    params = from_pretrained(tmp_path).variables["params"]
    assert sum(leaf.size for leaf in _leaves(params)) == sum(array.size for array in arrays.values())
    np.testing.assert_array_equal(params["head"]["kernel"], arrays["head.fc.weight"].T)
    stem = next(leaf for leaf in _leaves(params) if leaf.shape[:3] == (4, 4, 3))
    expected = arrays["stem.0.weight" if "convnext" in name else "patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(stem, expected)


def _leaves(tree):
    return [leaf for value in tree.values() for leaf in (_leaves(value) if isinstance(value, dict) else [value])]


@pytest.mark.parametrize(
    ("name", "model", "fields"),
    [
        ("convnext_base", "convnext_base", {}),
        ("swin_small_patch4_window7_224", "swin_s", {"windows": (7, 7, 7, 7)}),
        ("swin_base_patch4_window12_384", "swin_b", {"windows": (12, 12, 12, 12)}),
        ("swinv2_tiny_window8_256", "swin_v2_t", {"windows": (8, 8, 8, 8)}),
        # The last map of 256 pixels has 256 / 32 = 8 x 8 patches.
        ("swinv2_tiny_window16_256", "swin_v2_t", {"windows": (16, 16, 16, 8)}),
    ],
)
def test_a_name_gives_the_model_and_its_window(name, model, fields):
    config = {"architecture": name, "num_classes": 3}
    assert find_family(config).model(config) == (model, {"num_classes": 3, **fields})


def test_arguments_replace_what_the_name_of_a_swin_says():
    arguments = {"embed_dim": 12, "depths": [1, 2], "num_heads": [3, 6]}
    config = {"architecture": "swinv2_small_window8_256", "model_args": arguments}
    fields = {"num_classes": 1000, "windows": (8, 8), "width": 12, "stages": (1, 2), "num_heads": (3, 6)}
    assert find_family(config).model(config) == ("swin_v2_s", fields)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_tiny", r"^model_args: act_layer not in dlcore's convnext_tiny; allowed: num_classes, depths, dims"),
        (
            "swin_tiny_patch4_window7_224",
            r"^model_args: act_layer not in dlcore's swin_tiny_patch4_window7_224; allowed: num_classes, embed_dim, ",
        ),
    ],
)
def test_arguments_that_dlcore_lacks_are_refused(name, message):
    config = {"architecture": name, "model_args": {"act_layer": "gelu_tanh"}}
    with pytest.raises(ValueError, match=message):
        find_family(config).model(config)
