"""Linear classifiers on the features of every stage of a network: which of them fit other data best.

Where data is little and very different, an early stage is more useful than the last one, which knows what the network
was trained for (Yosinski et al. 2014, arXiv:1411.1792).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes

__all__ = ["probe_stages", "stage_features"]


def stage_features(
    model: nn.Module,
    variables: Any,
    images: np.ndarray,
    preprocess: Callable[[jax.Array], jax.Array] = lambda x: x,
    batch_size: int = 256,
) -> dict[str, np.ndarray]:
    """Compute the features of each stage, averaged over the image.

    Args:
      model: model with the method `features(x, train) -> {stage: [B, H, W, D]}`.
      variables: variables of the model.
      images: [N, H, W, C].
      preprocess: batch of images to the model's input.
      batch_size: images at a time.

    Returns:
      stage -> [N, D], from the first stage to the last.
    """
    check_whole_number("batch_size", batch_size, 1)
    check_shapes(images=(images, "N H W C"))
    if not len(images):
        raise ValueError("images=[0]: none; allowed: at least one")

    order = []  # jit sorts the keys of a dict

    @jax.jit
    def apply(variables, batch):
        maps = model.apply(variables, preprocess(batch), method="features")
        order[:] = maps
        return {name: x.astype(jnp.float32).mean((1, 2)) for name, x in maps.items()}

    rows = []
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        padded = np.concatenate([batch, np.repeat(batch[:1], batch_size - len(batch), 0)])
        rows.append({name: np.asarray(x)[: len(batch)] for name, x in apply(variables, padded).items()})
    return {name: np.concatenate([row[name] for row in rows]) for name in order}


def probe_stages(
    bank: dict[str, np.ndarray], labels: np.ndarray, queries: dict[str, np.ndarray], truth: np.ndarray
) -> dict[str, float]:
    """Measure a linear classifier on each stage.

    Args:
      bank: stage -> [N, D] features of labeled images.
      labels: [N] int, their classes.
      queries: stage -> [M, D] features of other images.
      truth: [M] int, their classes.

    Returns:
      stage -> accuracy on the other images.
    """
    if set(bank) != set(queries):
        raise ValueError(f"queries: stages {', '.join(queries)}; allowed: those of the bank, {', '.join(bank)}")
    for name in bank:
        check_shapes(queries=(queries[name], "M D"), truth=(truth, "int M"))
    from dlcore.classic_ml.logistic_probe import probe_predict

    return {name: float((probe_predict(bank[name], labels, queries[name]) == truth).mean()) for name in bank}
