"""Input that would give wrong numbers silently is refused: shapes that broadcast, codes and counts out of range."""

import ast
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import metrics, nn
from dlcore.classic_ml import kmeans, linear_training, mixture, pca, perceptron, splits, tsne
from dlcore.data import augment
from dlcore.generative import likelihood, var, vq_vae
from dlcore.losses import multi_task_loss
from dlcore.metrics.detection import average_precision
from dlcore.ops import mu_law_encode
from dlcore.ops.moments import nearest_points
from dlcore.rl.mdp import discounted_sum
from dlcore.search import halving
from dlcore.vision3d.nerf import volume_render
from dlcore.vision3d.voxnet import voxelize

KEY = jax.random.key(0)
ROOT = Path(__file__).resolve().parents[1]
Z, CODES, ONES = jnp.ones((3, 2)), jnp.array([0, 1, 1]), jnp.ones(3)
IMAGES = jnp.ones((2, 4, 4, 1))
CASES = {
    "no points": (lambda: nearest_points(Z, jnp.ones((0, 2))), r"y.shape=\(0, 2\): no points; allowed: at least one"),
    "no outputs": (lambda: vq_vae.codebook_from(KEY, Z[:0], 2), r"z.shape=\(0, 2\): no outputs; allowed: at least one"),
    "scales": (lambda: var.scale_mask((1, 2.5)), r"scales=\(1, 2.5\): no rising sides; allowed: such as 1,2,4"),
    "logits": (
        lambda: likelihood.bernoulli_log_likelihood(jnp.ones((4, 2)), jnp.ones((2, 4))),
        r"logits.shape=\(4, 2\): do not fit x; allowed: \(2, 4\)",
    ),
    "samples": (
        lambda: mu_law_encode(jnp.array([-3000, 200], jnp.int16)),
        r"waveform.dtype=int16: not in \[-1, 1\]; allowed: floating dtypes",
    ),
    "truth": (lambda: average_precision(np.ones(5), np.arange(5.0), 2), "num_truth=2: below the 5 correct detections"),
    "confusion": (lambda: metrics.cohen_kappa(np.array([[np.inf, 1], [1, 1]])), r"confusion\[0, 0\]=inf: no count"),
    "window": (lambda: metrics.ssim(Z, Z, window_size=7.0), "window_size=7.0: no whole number; allowed: integers"),
    "tasks": (lambda: multi_task_loss({"a": ONES}, {"a": 1.0}), r"losses\['a'\]=float32\[3\]: wrong shape"),
    "colors": (lambda: augment.gray(jnp.ones((2, 2, 4))), r"image.shape=\(2, 2, 4\): no colors; allowed"),
    "hue": (lambda: augment.adjust_hue(jnp.ones((2, 2, 2)), 0.1), r"image.shape=\(2, 2, 2\): no colors"),
    "jitter": (lambda: augment.color_jitter(math.nan), "brightness=nan: out of range; allowed: at least 0"),
    "statistics": (
        lambda: augment.normalize([0.5] * 3, [0.5] * 3)(None, IMAGES[0]),
        r"image.shape=\(4, 4, 1\): other channels; allowed: 3 channels, as of mean and std",
    ),
    "labels to mix": (lambda: augment.mixup(KEY, IMAGES, CODES[:2]), "targets.dtype=int32: no blend of integers"),
    "images to mix": (
        lambda: augment.mixup(KEY, IMAGES.astype(jnp.uint8), jnp.eye(2)),
        "images.dtype=uint8: no blend of integers; allowed: floating dtypes",
    ),
    "scale of a map": (lambda: augment.affine(IMAGES[0], scale=0.0), "scale=0: the map has no inverse"),
    "corners": (
        lambda: augment.perspective_warp(jnp.array([[0.0, 0], [1, 1], [2, 2], [0, 1]]), jnp.eye(4)[:, :2]),
        r"start=.*: three on a line; allowed: no three on a line",
    ),
    "clusters": (lambda: kmeans.kmeans_plus_plus(KEY, Z, 4), "num_clusters=4: out of range; allowed: 1..3"),
    "descent": (lambda: tsne.tsne(np.eye(8), perplexity=2.0, learning_rate=-1.0), "learning_rate=-1: out of range"),
    "mixture": (
        lambda: mixture.fit_mixture(Z, mixture.start_from(Z)._replace(weights=2 * ONES)),
        r"start.weights=.*: sums to 6; allowed: probabilities that sum to 1",
    ),
    "rate": (lambda: linear_training.train(Z, CODES, learning_rate=-0.1), "learning_rate=-0.1: out of range; allowed"),
    "test set": (
        lambda: splits.TestExamples(Z, CODES).evaluate(lambda images: CODES[:, None]),
        r"predict=\(3, 1\): wrong shape; allowed: \(3,\), as the labels",
    ),
    "margin": (lambda: perceptron.margin(np.zeros(2), np.eye(2), np.array([1, -1])), r"w=\[0.0, 0.0\]: no direction"),
    "variance": (lambda: pca.cumulative_variance([1.0, np.nan]), r"variance=.*: not descending"),
    "values": (
        lambda: nn.dot_product_attention(IMAGES, IMAGES, IMAGES[:1]),
        r"value.shape=\(1, 4, 4, 1\): does not fit key; allowed: \(2, 4, 4, 'E'\)",
    ),
    "depth": (
        lambda: volume_render(ONES, jnp.ones((3, 3)), -jnp.arange(3.0), 2.0),
        "depths: not ascending up to far; allowed: ascending depths",
    ),
    "radius": (lambda: voxelize(np.ones((1, 2, 3)), 4, 0.0), "radius=0.0: out of range; allowed: above 0, finite"),
    "rungs": (lambda: halving.rungs(np.nan, 1, 9), "trials=nan: no whole number; allowed: integers from 1"),
}


@pytest.mark.parametrize("case", CASES)
def test_silently_wrong_input_is_named(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_crops_and_blurs_of_bytes_are_those_of_fractions():
    """In whole numbers a scale of 1.5 would be 1, and the weights of a blur 0."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    functions = augment.random_resized_crop(), augment.random_blur(probability=1.0)
    both = jax.jit(lambda x: [(f(KEY, x), f(KEY, x / jnp.float32(255))) for f in functions])(pixels)
    for of_bytes, of_fractions in both:
        assert of_bytes.dtype == jnp.uint8
        np.testing.assert_allclose(np.asarray(of_bytes, int), np.round(255 * np.asarray(of_fractions)), atol=1)


def test_rewards_of_whole_numbers_are_discounted():
    """Half in whole numbers would be 0, and the first reward alone would count."""
    assert float(discounted_sum(jnp.array([4, 2, 4]), 0.5)) == 4 + 1 + 1


def silent_zips(text):
    """Lines of the calls of `zip` that drop what is left over without a comment that says what."""
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    zips = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "zip"]
    is_strict = [any(word.arg == "strict" and word.value.value for word in call.keywords) for call in zips]
    lines = [call.end_lineno for call, strict in zip(zips, is_strict, strict=True) if not strict]
    return [line for line in lines if "  # " not in text.splitlines()[line - 1]]


def test_a_zip_drops_elements_only_where_a_comment_says_which():
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "dlcore").rglob("*.py"))}
    found = {path: silent_zips(text) for path, text in texts.items() if "zip(" in text}
    assert not [f"{path.relative_to(ROOT)}:{line}" for path, lines in found.items() for line in lines]


def test_a_zip_without_a_comment_is_found():
    code = ["zip(a, b)", "zip(a, b, strict=True)", "zip(a, b, strict=False)", "zip(a, b, strict=False)  # the last"]
    assert silent_zips("\n".join(code)) == [1, 3]
