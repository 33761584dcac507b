"""NaN and infinity in place of a number that a function or layer of `ops` or `nn` takes are named, in one line."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen

from dlcore import nn, ops

KEY = jax.random.key(0)
IMAGE, ROWS, HEADS = np.ones((4, 4, 4), np.float32), np.ones((2, 4), np.float32), np.ones((1, 3, 1, 4), np.float32)
BOXES, SCORES = np.array([[0.0, 0, 2, 2]], np.float32), np.ones(1, np.float32)
BATCH_NORM = ({"kernel": ROWS}, {}, {"mean": np.zeros(4), "var": np.ones(4)})

OTHERS: dict[str, Any] = {
    "box_fusion.soft_nms": {"boxes": BOXES, "scores": SCORES},
    "box_fusion.weighted_boxes_fusion": {"boxes": BOXES, "scores": SCORES},
    "boxes.encode_boxes": {"boxes": BOXES, "anchors": BOXES},
    "boxes.decode_boxes": {"deltas": BOXES, "anchors": BOXES},
    "categorical.sample_categorical": {"key": KEY, "logits": SCORES},
    "l2_normalize.l2_normalize": {"x": SCORES},
    "filters.gaussian_filter": {"image": IMAGE, "sigma": 1.0},
    "fractional_pooling.fractional_starts": {"size": 4, "output_size": 2},
    "fractional_pooling.fractional_max_pool": {"key": KEY, "x": IMAGE},
    "mesh.icosphere": {"subdivisions": 0},
    "nms.nms": {"boxes": BOXES, "scores": SCORES},
    "resize.resize": {"x": IMAGE, "size": 8, "method": "bicubic"},
    "roi.roi_align": {"features": IMAGE, "boxes": BOXES, "output_size": 1},
    "roi.multiscale_roi_align": {"levels": [IMAGE], "boxes": BOXES, "output_size": 1, "assigned": np.zeros(1, int)},
    "roi.roi_pool": {"features": IMAGE, "boxes": BOXES, "output_size": 1},
    "surface_nets.surface_nets": {"values": np.pad(np.ones((1, 1, 1)), 1)},
    "activations.relu": {"x": ROWS},
    "activations.leaky_relu": {"x": ROWS},
    "activations.soft_shrink": {"x": ROWS},
    "activations.hard_shrink": {"x": ROWS},
    "attention.attention_weights": {"query": HEADS, "key": HEADS},
    "attention.dot_product_attention": {"query": HEADS, "key": HEADS, "value": HEADS},
    "attention.MultiHeadAttention": {"num_heads": 1},
    "conv_recurrent.ConvRecurrent": {"features": 1},
    "deformable_attention.DeformableAttention": {"num_heads": 1},
    "deformable_encoder.DeformableEncoderLayer": {"num_heads": 1, "hidden_features": 1},
    "group_norm.local_response_norm": {"x": ROWS},
    "normalization.fold_batch_norm": dict(zip(("layer", "params", "batch_stats"), BATCH_NORM, strict=True)),
    "position.grid_positions": {"rows": 2, "columns": 2, "features": 4},
    "position.sinusoidal_encoding": {"positions": 2, "features": 4},
    "position.sinusoidal_encoding_2d": {"height": 2, "width": 2, "features": 4},
    "recurrent.Recurrent": {"features": 1},
    "rotary.axial_angles": {"rows": np.zeros(2), "columns": np.zeros(2), "features": 4},
    "rotary.rotary": {"x": HEADS, "positions": np.zeros((1, 3), int)},
    "stochastic.DropConnect": {"features": 1},
    "stochastic.drop_connect": {"key": None, "kernel": ROWS},
    "stochastic.inverted_dropout": {"key": None, "x": ROWS},
    "stochastic.stochastic_depth": {"key": None, "branch": ROWS},
    "stochastic.survival_probabilities": {"num_blocks": 2},
    "stochastic.vanilla_dropout": {"key": None, "x": ROWS},
    "style_norm.ConditionalInstanceNorm": {"num_styles": 1},
    "style_norm.adaptive_instance_norm": {"content": HEADS, "style": HEADS},
    "transformer.FeedForward": {"hidden_features": 1},
    "transformer.TransformerBlock": {"num_heads": 1, "hidden_features": 1},
    "transformer.TransformerDecoderBlock": {"num_heads": 1, "hidden_features": 1},
    "transformer.TransformerEncoderBlock": {"num_heads": 1, "hidden_features": 1},
    "transformer.drop_path": {"branch": ROWS, "train": False},
    "transformer_xl.TransformerXL": {"vocab_size": 4},
    "weight_norm.WeightStandardization": {"layer_instance": linen.Dense(1)},
    "weight_norm.spectral_norm": {"kernel": ROWS, "u": np.ones(4)},
    "weight_norm.standardize_weight": {"kernel": ROWS},
    "weight_norm.weight_norm": {"v": ROWS},
}
"""The other arguments of a call, where it needs any."""

ELSEWHERE = {
    "attention_kernels.suitable_kernels": "attention.dot_product_attention names it",
    "camera.intrinsic_matrix": "test_camera.py: the matrix names it",
    "box_fusion.DetectorView": "test_box_fusion.py: image_view names it",
    "box_fusion.fuse_views": "weighted_boxes_fusion names it",
    "camera.look_at": "test_camera.py: an array",
    "safe_product.safe_product": "an array, whose NaN stays NaN",
}


def numbers() -> Iterator[tuple[str, str]]:
    """Every parameter that is a float, or several, of what the modules of `ops` and `nn` make public, by module."""
    for package in (ops, nn):
        for info in pkgutil.iter_modules(package.__path__):
            if info.ispkg or info.name.startswith("_") or info.name == "checks":
                continue
            path = f"{package.__name__}.{info.name}"
            module = importlib.import_module(path)
            for name in module.__all__:
                value, place = getattr(module, name), f"{info.name}.{name}"
                if getattr(value, "__module__", "") == module.__name__ and callable(value) and place not in ELSEWHERE:
                    for parameter in inspect.signature(value).parameters.values():
                        if re.search(r"\bfloat\b", str(parameter.annotation)):
                            yield f"{path}.{name}", parameter.name


NUMBERS = sorted(numbers())


@pytest.mark.parametrize(("place", "parameter"), NUMBERS, ids=[f"{p.removeprefix('dlcore.')}-{n}" for p, n in NUMBERS])
def test_nan_is_named(place, parameter):
    path, _, name = place.rpartition(".")
    function = getattr(importlib.import_module(path), name)
    others = dict(OTHERS.get(f"{path.rpartition('.')[2]}.{name}", {}))
    if name == "resize" and parameter == "scale":
        del others["size"]
    annotation = str(inspect.signature(function).parameters[parameter].annotation)
    several = re.search(r"tuple\[(float(?:, float)*)\]", annotation)
    number = (np.nan,) * (several[1].count("float") if several else 1)
    with pytest.raises(ValueError, match=rf"\b{parameter}\b.*nan.*; allowed: "):
        function(**others | {parameter: number if several or parameter == "strides" else np.nan})


def test_a_layer_names_a_number_out_of_its_range():
    with pytest.raises(ValueError, match=r"^epsilon=-1.0: out of range; allowed: at least 0$"):
        nn.LayerNorm(epsilon=-1.0)


@pytest.mark.parametrize("slope", [np.nan, np.inf, np.array([0.1, np.nan])])
def test_a_slope_that_is_not_finite_is_named_and_a_traced_one_passes(slope):
    with pytest.raises(ValueError, match=r"^negative_slope(\[1\])?=(nan|inf): not finite"):
        nn.leaky_relu(-np.ones(2), slope)
    np.testing.assert_array_equal(
        np.isfinite(jax.jit(nn.leaky_relu)(-np.ones(2), slope)), np.isfinite(slope * np.ones(2))
    )
