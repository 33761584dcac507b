"""One rule of types for all public functions: the same numbers in another type, moved or scaled, give the same answer.

The functions are found by themselves: every public function of the rooms whose docstring says the shapes of its arrays
(`tests/documented_calls.py`). Each is called on whole numbers that all types hold exactly.

    types    bytes, int32, float16, bfloat16 and float64 against float32: to the precision of the type that comes back;
             as bytes also times 31, whose products and differences wrap elsewhere than those of 0 to 7
    places   float32 moved by 1e4, and scaled by 2^13 and 2^-13, against float64 under jax's x64 mode: to 2e-3

A ValueError is an answer too: it says that the type, or the place, is not allowed. What is in DIFFERS says why.
"""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from tests.documented_calls import MODULES, call_of, documented_functions

TYPES = {
    "uint8": np.uint8,
    "int32": np.int32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float64": np.float64,
}
PLACES = {"moved": lambda x: x + 10_000, "large": lambda x: x * 2**13, "small": lambda x: x / 2**13}
ELSEWHERE = " ".join(PLACES)
ROUNDED = "a resized image of integers is rounded to them"
DRAWS = "jax.random draws other numbers under x64"
SEPARABLE = "examples fewer than their dimensions are separable: no optimum is the only one"
DIFFERS: dict[str, tuple[str, str]] = {
    "dlcore.classic_ml.kmeans.kmeans": (ELSEWHERE, DRAWS),
    "dlcore.classic_ml.kmeans.kmeans_plus_plus": (ELSEWHERE, DRAWS),
    "dlcore.classic_ml.linear_training.descend": (ELSEWHERE, DRAWS),
    "dlcore.classic_ml.linear_training.minimize": (ELSEWHERE, SEPARABLE),
    "dlcore.classic_ml.linear_training.random_search": (ELSEWHERE, DRAWS),
    "dlcore.classic_ml.linear_training.train": (
        f"float64 {ELSEWHERE}",
        f"float64 examples train in x64, where {DRAWS}",
    ),
    "dlcore.classic_ml.logistic.train": (ELSEWHERE, SEPARABLE),
    "dlcore.classic_ml.mlp.train": (f"float64 {ELSEWHERE}", f"float64 trains in x64, where {DRAWS}"),
    "dlcore.classic_ml.points.product_rounding": (" ".join([*TYPES, *PLACES]), "the rounding of a type is the answer"),
    "dlcore.classic_ml.som.som": (ELSEWHERE, DRAWS),
    "dlcore.classical_vision.bag_of_words.random_patches": (ELSEWHERE, DRAWS),
    "dlcore.classical_vision.panorama.overlap_psnr": ("uint8 int32 bytes", "integers are shares of their type's range"),
    "dlcore.data.augment.crops.resized_crop": ("uint8 int32 bytes", ROUNDED),
    "dlcore.data.augment.crops.scale_shorter_side": ("uint8 int32 bytes", ROUNDED),
    "dlcore.data.augment.mixing.cutmix": ("large small", DRAWS),
    "dlcore.data.augment.mixing.mixup": ("large small", DRAWS),
    "dlcore.data.resizing.resize_bilinear": ("uint8 bytes", ROUNDED),
    "dlcore.classical_vision.pose.solve_pose": (
        " ".join([*TYPES, *PLACES]),
        "pixels at random are the image of no pose: the least singular values nearly tie, and rounding chooses",
    ),
    "dlcore.generative.adaptive_augmentation.augment_images": (ELSEWHERE, DRAWS),
    "dlcore.generative.ddpm.diffuse": ("small", DRAWS),
    "dlcore.generative.denoising.example_noise": (ELSEWHERE, DRAWS),
    "dlcore.generative.vae.reparameterize": (ELSEWHERE, DRAWS),
    "dlcore.interpretability.class_image.random_shift": ("large small", DRAWS),
    "dlcore.diagnostics.simple_methods.flat": ("uint8 bytes", "bytes are pixels, divided by 255"),
    "dlcore.losses.contrastive.uniformity_loss": ("small", "log(1 - 1e-6): float32 has steps of 6e-8 below 1"),
    "dlcore.losses.distillation.distillation_loss": ("small", "a divergence of 1e-8 between log-probabilities of 1"),
    "dlcore.losses.metric_learning.sample_semi_hard_negatives": ("small", DRAWS),
    "dlcore.nn.activations.stochastic_gelu": ("small", DRAWS),
    "dlcore.nn.attention.attention_weights": ("moved", "scores of 1e8 have no fractions in float32"),
    "dlcore.nn.stochastic.stochastic_depth": (ELSEWHERE, DRAWS),
    "dlcore.ops.cpu.dense.dense_product": ("bytes", "a product of matrices has their type, as in NumPy"),
    "dlcore.ops.camera.distort": ("float16", "the eighth power of 7 is above what float16 holds"),
    "dlcore.ops.categorical.sample_categorical": ("moved small", DRAWS),
    "dlcore.segmentation.mask_losses.match_masks": ("moved small", "moved, targets leave [0, 1]; small, all masks tie"),
    "dlcore.self_supervised.deep_cluster.cluster": (ELSEWHERE, DRAWS),
    "dlcore.self_supervised.inpainting.hole": (ELSEWHERE, DRAWS),
    "dlcore.self_supervised.outpainting.crop_alone": (ELSEWHERE, DRAWS),
    "dlcore.self_supervised.prototypes.sinkhorn": ("large", "scores of 1e6 temperatures have no fractions in float32"),
    "dlcore.self_supervised.unrotation.rotate_image": ("large small", DRAWS),
    "dlcore.sequence.decoding.sample_token": ("moved small", DRAWS),
    "dlcore.video.trajectories.subtract_camera": (ELSEWHERE, DRAWS),
    "dlcore.vision3d.pointnet.augment_points": (ELSEWHERE, DRAWS),
}
"""Functions that answer otherwise by design: in which types and places, and why."""


@pytest.mark.slow(unless=["dlcore.ops.mu_law", "dlcore.ops.depth_maps"])
@pytest.mark.parametrize("module", MODULES)
def test_answers_depend_on_neither_the_type_nor_the_place_of_numbers(module):
    faults, count = {}, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, function in documented_functions(module):
            if (made := call_of(function)) is None:
                continue
            count += 1
            allowed = DIFFERS.get(f"{module}.{name}", ("", ""))[0].split()
            found = {**in_other_types(function, *made), **at_other_places(function, made[0])}
            faults |= {f"{name}, {case}": fault for case, fault in found.items() if case not in allowed}
    assert not faults
    if not count:
        pytest.skip("no docstring says enough for a call")


def in_other_types(function, call, answer) -> dict[str, str]:
    faults = {}
    for case, dtype in {**TYPES, "bytes": np.uint8}.items():
        if case == "bytes":
            call = call | {n: a._replace(value=31 * a.value) for n, a in call.items() if is_small(a)}
            try:
                answer = function(**{name: a.value for name, a in call.items()})
            except Exception:  # out of what the function takes
                break
        changed = {
            name: a.value.astype(dtype)
            for name, a in call.items()
            if a.is_data and (a.value.astype(dtype).astype(np.float32) == a.value).all()
        }
        try:
            given = function(**{name: a.value for name, a in call.items()} | changed) if changed else answer
        except ValueError:
            continue
        except Exception as error:
            faults[case] = f"{type(error).__name__}: {error}"
            continue
        if fault := difference(answer, given, lambda dtype: 4 * max(_epsilon(dtype), 2e-6)):
            faults[case] = fault
    return faults


def is_small(argument) -> bool:
    """Whether numbers are data, whole and from 0 to 8: 31 times as large, they are bytes."""
    return argument.is_data and bool(np.isin(argument.value, np.arange(9)).all())


def at_other_places(function, call) -> dict[str, str]:
    faults = {}
    for case, move in PLACES.items():
        values = {name: move(a.value) if a.is_data else a.value for name, a in call.items()}
        try:
            with jax.enable_x64(True):
                exact = function(**{n: v.astype(np.float64) if call[n].is_data else v for n, v in values.items()})
            given = function(**values)
        except Exception:  # out of what the function takes
            continue
        if fault := difference(exact, given, lambda dtype: 2e-3):
            faults[case] = fault
    return faults


def difference(expected: Any, given: Any, tolerance) -> str | None:
    """What differs by more than the tolerance of the largest number; None where nothing does."""
    expected, given = _numbers(expected), _numbers(given)
    if len(expected) != len(given):
        return f"{len(given)} arrays for {len(expected)}"
    for a, b in zip(expected, given, strict=True):
        if a.shape != b.shape:
            return f"shape {b.shape} for {a.shape}"
        dtype, a, b = b.dtype, *(x if x.dtype.kind == "c" else x.astype(np.float64) for x in (a, b))
        finite = np.isfinite(a)
        if not (np.isfinite(b) == finite).all() or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return "NaN or infinite elsewhere"
        if finite.any() and np.abs(a - b)[finite].max() > tolerance(dtype) * np.abs(a[finite]).max():
            return f"{np.abs(a - b)[finite].max():.3g} of {np.abs(a[finite]).max():.3g} ({dtype})"
    return None


def _numbers(tree: Any) -> list[np.ndarray]:
    arrays = []
    for leaf in jax.tree.leaves(tree):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        if isinstance(leaf, int | float | np.ndarray | np.generic | jax.Array) and not is_key:
            arrays.append(np.asarray(leaf))
    return [array for array in arrays if array.dtype.kind in "biufc" or array.dtype == ml_dtypes.bfloat16]


def _epsilon(dtype: np.dtype) -> float:
    return float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
