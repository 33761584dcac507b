"""Segmentation of volumes: a network learns from patches, and predicts the whole by windows.

Isensee et al., "nnU-Net: self-adapting framework for U-Net-based medical image segmentation" (2018), arXiv:1809.10486.

    patch   w voxels; with probability p its center is a random voxel of a random organ of the volume, as far as the
            edge of the volume allows, else the patch lies anywhere
    L       cross-entropy of the patches' voxels + v mean over patches of the Dice loss   `semantic.pixel_loss`
    use     logits of overlapping windows of w voxels, averaged with Gaussian weights     `sliding_window`

Most voxels of a scan are background, and patches anywhere would seldom show a small organ; each organ of a volume has
the same chance to be a center, whatever its size. Deviations from the paper: the Dice loss includes the background, and
there is neither deep supervision nor an ensemble of networks. The network is `unet_3d.UNet3D` or any other.
"""

from collections.abc import Callable
from typing import Annotated, Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.data.augment.examples import augment_examples
from dlcore.learner import Labels, Learner, Metric, Metrics, ModelState, Range, check_arguments, example_keys, mask_of
from dlcore.nn.apply import apply_model
from dlcore.ops.checks import check_class_ids, check_shapes
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients, init_model_state
from dlcore.segmentation.semantic import pixel_loss
from dlcore.segmentation.sliding_window import predict_volume, window_starts

__all__ = ["OrganDice", "learner", "patch_start"]


class OrganDice(Metric):
    """Dice coefficients 2 |A and B| / (|A| + |B|) of organs, each of one volume, averaged over volumes.

    Args:
      total: [C - 1], sums over the volumes whose truth or prediction has the organ.
      count: [C - 1] int32, numbers of these volumes.
    """

    total: jax.Array
    count: jax.Array

    @classmethod
    def of(cls, classes: jax.Array, labels: jax.Array, valid: jax.Array, num_classes: int) -> Self:
        """Measure a batch.

        Args:
          classes: [B, D, H, W] int, predictions.
          labels: [B, D, H, W] int, 0 for the background.
          valid: [B, D, H, W] bool, voxels that count.
          num_classes: C, with the background.
        """
        check_whole_number("num_classes", num_classes, 2)
        check_shapes(classes=(classes, "B D H W"), labels=(labels, "B D H W"), valid=(valid, "mask B D H W"))
        for name, values in (("classes", classes), ("labels", labels)):
            check_class_ids(name, values, num_classes, valid=valid)
        totals, counts = [], []
        for organ in range(1, num_classes):
            a, b = ((values == organ) & valid for values in (classes, labels))
            both, sizes = ((x.sum((1, 2, 3), dtype=jnp.int32)) for x in (a & b, a.astype(jnp.int32) + b))  # [B]
            totals.append((2 * both / jnp.maximum(sizes, 1)).sum(dtype=jnp.float32))
            counts.append((sizes > 0).sum(dtype=jnp.int32))
        return cls(jnp.stack(totals), jnp.stack(counts))

    def compute(self) -> dict[str, Any] | None:
        """Read the coefficients.

        Returns:
          The mean over organs under the metric's own name, and by_organ: [C - 1], NaN for an organ of no volume. None
          where no volume has an organ.
        """
        count = np.asarray(self.count)
        if not count.any():
            return None
        by_organ = np.where(count > 0, np.asarray(self.total, np.float64) / np.maximum(count, 1), np.nan)
        return {"": float(np.nanmean(by_organ)), "by_organ": by_organ}


def _random_true(key: jax.Array, mask: jax.Array) -> jax.Array:
    """Draw the index of one True of [N] bool; 0 if there is none."""
    rank = jax.random.randint(key, (), 0, jnp.maximum(mask.sum(), 1))
    return jnp.searchsorted(jnp.cumsum(mask), rank + 1) % len(mask)


def patch_start(
    key: jax.Array, labels: jax.Array, window: tuple[int, int, int], num_classes: int, foreground: float | jax.Array
) -> jax.Array:
    """Draw the first voxel of a patch of a volume.

    Args:
      key: PRNG key.
      labels: [D, H, W] int, 0 for the background.
      window: (d, h, w), size of the patch in voxels, at most (D, H, W).
      num_classes: C, with the background.
      foreground: probability that the center is a voxel of an organ, if the volume has one.

    Returns:
      [3] int32.
    """
    check_shapes(labels=(labels, "int D H W"), foreground=(foreground, "0 to 1"))
    check_whole_number("num_classes", num_classes, 2)
    window_starts(labels.shape, window)  # refuses a window that does not fit
    keys = jax.random.split(key, 4)
    last = jnp.asarray([whole - side for whole, side in zip(labels.shape, window, strict=True)], jnp.int32)
    # One of the organs of this volume, then one of its voxels.
    organs = jnp.stack([(labels == k).any() for k in range(1, num_classes)])  # [C - 1]
    organ = 1 + _random_true(keys[0], organs)
    index = _random_true(keys[1], (labels == organ).reshape(-1))
    center = jnp.stack(jnp.unravel_index(index, labels.shape)).astype(jnp.int32)
    around = jnp.clip(center - jnp.asarray(window, jnp.int32) // 2, 0, last)
    anywhere = jax.random.randint(keys[2], (3,), 0, last + 1)
    return jnp.where(jax.random.bernoulli(keys[3], foreground) & organs.any(), around, anywhere)


def _cut(volumes: jax.Array, starts: jax.Array, window: tuple[int, int, int]) -> jax.Array:
    """Cut a patch out of each volume: [B, D, H, W, ...], [B, 3] -> [B, d, h, w, ...]."""

    def cut(volume: jax.Array, start: jax.Array) -> jax.Array:
        corner = (*start, *(0,) * (volume.ndim - 3))
        return jax.lax.dynamic_slice(volume, corner, (*window, *volume.shape[3:]))

    window_starts(volumes.shape[1:4], window)  # refuses a window that does not fit
    return jax.vmap(cut)(volumes, starts)


def _predict_volumes(
    predict: Callable[[jax.Array], jax.Array],
    volumes: jax.Array,
    window: tuple[int, int, int],
    overlap: float,
    sigma: float,
) -> jax.Array:
    """Predict each of [B, D, H, W, C] by windows, with a function of a batch of windows."""

    def predict_one(volume: jax.Array) -> jax.Array:
        return predict_volume(lambda patch: predict(patch[None])[0], volume, window, overlap, sigma)

    return jax.vmap(predict_one)(volumes)


def _flat(volumes: jax.Array) -> jax.Array:
    """[B, D, H, W, ...] -> [B, D, H W, ...], maps of two axes for the losses of images."""
    return volumes.reshape(*volumes.shape[:2], -1, *volumes.shape[4:])


def _valid_voxels(labels: jax.Array, batch: dict, void_label: int) -> jax.Array:
    """Find the voxels that count, [B, D, H, W] bool: neither void nor of padded examples."""
    return (labels != void_label) & (mask_of(batch) > 0)[:, None, None, None]


def _volume_loss(
    logits: jax.Array, labels: jax.Array, valid: jax.Array, dice_weight: float | jax.Array
) -> tuple[jax.Array, Metrics]:
    """Cross-entropy and Dice loss of logits [B, D, H, W, C] over the valid voxels."""
    if logits.shape[:-1] != labels.shape:
        raise ValueError(f"model: logits {logits.shape} for labels {labels.shape}; allowed: one a voxel")
    labels = jnp.where(valid, labels.astype(jnp.int32), 0)
    maps = {"out": _flat(logits)}, _flat(labels), _flat(valid)
    return pixel_loss(*maps, overlap="dice", overlap_weight=dice_weight)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    augment: Any = None,
    void_label: Annotated[int, Range(0, 255)] = 255,
    window: Annotated[tuple[int, int, int], Range(1)] = (8, 16, 16),
    foreground: Annotated[float, Range(0, 1)] = 0.5,
    dice_weight: Annotated[float, Range(0)] = 1.0,
    overlap: Annotated[float, Range(0, 0.95)] = 0.5,
    sigma: Annotated[float, Range(0.1)] = 0.125,
) -> Learner:
    """Train a segmenter of `{"image": [B, D, H, W, K], "semantic": [B, D, H, W] uint8, "index": [B]}`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, d, h, w, C]` of patches; class 0 is the background.
      preprocess: batch of volumes to the model's input, of the same size.
      augment: `(key, example) -> example` of one patch, which holds image and semantic; None for none.
      void_label: label of voxels that count nowhere.
      window: depth, height and width of patches and windows in voxels.
      foreground: share of training patches whose center is a voxel of an organ.
      dice_weight: weight of the Dice loss beside the cross-entropy.
      overlap: least fraction of a side that neighboring windows share.
      sigma: standard deviation of the windows' Gaussian weights as a fraction of each side.

    Returns:
      The learner; predict returns `{"classes": [B, D, H, W] uint8}`, and `size` where the batch has it.
    """

    def patch_input(batch: dict) -> jax.Array:
        images = preprocess(batch["image"])
        return _cut(images, jnp.zeros((len(images), 3), jnp.int32), window)

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, patch_input(batch))

    def forward(params, model_state, patches, rng=None):
        return apply_model(model, params, model_state, patches, train=rng is not None, rng=rng)

    def class_count(state: ModelState, batch: dict) -> int:
        patches = jax.eval_shape(patch_input, batch)
        return jax.eval_shape(forward, state.params, state.model_state, patches)[0].shape[-1]

    def whole_logits(params: Any, model_state: Any, batch: dict) -> jax.Array:
        predict, volumes = lambda x: forward(params, model_state, x)[0], preprocess(batch["image"])
        return _predict_volumes(predict, volumes, window, overlap, sigma)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        valid = _valid_voxels(batch["semantic"], batch, void_label)
        return _volume_loss(whole_logits(params, state.model_state, batch), batch["semantic"], valid, dice_weight)

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        keys = example_keys(jax.random.fold_in(rng, 0), batch)  # [B]
        # One patch of each volume, centered on an organ or anywhere.
        labels, count = jnp.asarray(batch["semantic"]), class_count(state, batch)
        starts = jax.vmap(lambda key, y: patch_start(key, y, window, count, foreground))(keys, labels)  # [B, 3]
        patches, labels = (_cut(x, starts, window) for x in (preprocess(batch["image"]), labels))
        example = augment_examples(augment, keys, patches, {"semantic": labels})

        # Gradient of the cross-entropy and the Dice loss.
        def total(params: Any) -> tuple[jax.Array, tuple[Any, Metrics]]:
            dropout, labels = replica_key(jax.random.fold_in(rng, 1)), example["semantic"]
            logits, model_state = forward(params, state.model_state, example["image"], dropout)
            value, metrics = _volume_loss(logits, labels, _valid_voxels(labels, batch, void_label), dice_weight)
            return value, (model_state, metrics)

        gradients, (model_state, metrics) = jax.grad(total, has_aux=True)(state.params)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        logits, labels = whole_logits(state.params, state.model_state, batch), batch["semantic"]
        valid = _valid_voxels(labels, batch, void_label)
        dice = OrganDice.of(logits.argmax(-1), labels, valid, logits.shape[-1])
        return _volume_loss(logits, labels, valid, dice_weight)[1] | {"dice": dice}

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        logits = whole_logits(state.params, state.model_state, batch)
        return {"classes": logits.argmax(-1).astype(jnp.uint8)} | {k: batch[k] for k in ("size",) if k in batch}

    def classes(state: ModelState, batch: dict) -> dict[str, Labels]:
        return {"semantic": Labels(class_count(state, batch), void_label)}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss, classes=classes)
