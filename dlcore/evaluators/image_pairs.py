"""PSNR and LPIPS of images and their targets, each with the interval of its mean.

Zhang et al. 2018, arXiv:1801.03924 (learned perceptual image patch similarity).

    PSNR = mean over images of min(-10 log10(mean squared error), 100)
    LPIPS = mean over images of the squared distances of a network's normalized maps, `dlcore.metrics.lpips`
    interval = 1.96 s / sqrt(n), s over the n images
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment import to_float
from dlcore.data.normalization import normalizer
from dlcore.data.splits import Splits
from dlcore.evaluators.manifold import half_interval
from dlcore.experiment.parts import Run
from dlcore.learner import CheckedRecord, Evaluator
from dlcore.metrics import lpips, psnr
from dlcore.weights.network import PACKED, load_network

__all__ = ["TargetSimilarity", "image_pair_evaluator", "target_evaluators"]

MAX_PSNR = 100.0
"""PSNR in dB that counts for equal images, whose own is infinite."""


def image_pair_evaluator(
    maps: Callable[[jax.Array], Mapping[str, jax.Array]], pairs: Mapping[str, str], source: Any = None
) -> Evaluator:
    """Build the evaluator of images that have targets: `psnr` in dB, and `lpips`, with half of their 95 % intervals.

    Args:
      maps: images [B, H, W, C] in [0, 1] -> maps by layer, [B, h, w, D] each.
      pairs: images among the outputs of `predict` -> their targets in the batch, uint8 or in [0, 1].
      source: inputs of `predict`; None stands for the split that is being measured.

    Returns:
      The evaluator of `psnr`, `psnr_interval`, `lpips` and `lpips_interval`, over the images of all pairs.
    """
    if not pairs:
        raise ValueError("pairs={}: nothing to compare; allowed: at least one image and its target")

    @jax.jit
    def compare(images: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        targets = to_float(targets)
        signal = jnp.minimum(jax.vmap(psnr)(images, targets), MAX_PSNR)
        return signal, lpips(maps(images), maps(targets))

    def add(acc, outputs, rows):
        for image, target in pairs.items():
            acc = [*(acc or []), jax.device_get(compare(outputs[image], rows[target]))]
        return acc

    def finish(acc):
        values = dict(zip(("psnr", "lpips"), map(np.concatenate, zip(*acc, strict=True)), strict=True))
        if len(values["psnr"]) < 2:
            raise ValueError(f"{len(values['psnr'])} image: too few for an interval; allowed: at least 2")
        means = {name: float(value.mean()) for name, value in values.items()}
        return means | {f"{name}_interval": half_interval(value) for name, value in values.items()}

    return Evaluator(add, finish, source, ("psnr", "psnr_interval", "lpips", "lpips_interval"))


def target_evaluators(pairs: Mapping[str, str], splits: Splits, split: str) -> list[Evaluator]:
    """Build the evaluator of the similarity of translated test images to their targets.

    Args:
      pairs: images among the outputs of `predict` -> their targets in the data.
      splits: the data.
      split: "valid" while training, or "test".

    Returns:
      PSNR and LPIPS, in the maps of the small VGG that dlcore ships, each weighted by 1; none for "valid", and none
      where the test images have no targets.
    """
    test_pairs = {image: target for image, target in pairs.items() if target in splits.test.arrays}
    if split == "valid" or not test_pairs or len(splits.test) < 2:
        return []
    network = load_network(PACKED)
    normalize = normalizer(network.mean, network.std, size=network.side)

    def maps(images: jax.Array) -> dict[str, jax.Array]:
        return network.model.apply(network.variables, normalize(images), train=False, method="features")

    return [image_pair_evaluator(maps, test_pairs)]


@dataclasses.dataclass(frozen=True)
class TargetSimilarity(CheckedRecord):
    """A measure of the technique, and PSNR and LPIPS of translated test images that have a target.

    Args:
      metric: metric of the technique that is the headline
      pairs: images among the outputs of `predict` -> their targets in the data
      mode: whether the best value of the metric is the largest or the smallest
      monitor: metric that selects the checkpoint; None for the last
    """

    metric: Annotated[str, "no flag"]
    pairs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mode: Annotated[Literal["max", "min"], "no flag"] = "min"
    monitor: Annotated[str | None, "no flag"] = None

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator of the test images."""
        return target_evaluators(self.pairs, splits, split)
