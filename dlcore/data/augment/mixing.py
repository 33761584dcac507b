"""Mixup and CutMix: mix the images and labels of two examples of a batch.

    mixup:   x = lam a + (1 - lam) b,   q = lam q_a + (1 - lam) q_b,   lam ~ Beta(alpha, alpha)
    CutMix:  x = b inside a box, a outside,   q as above with 1 - lam = the fraction of pixels inside the box

Zhang, Cisse, Dauphin & Lopez-Paz 2017, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899. The sides of the box are
sqrt(1 - lam) times the image's. Its center is uniform over the image and the border clips it; the labels are mixed by
the area that is left. Each example draws its own lam and box here; the papers draw one for a batch. b is the batch in a
random order.
"""

from numbers import Real
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.augment.compose import Augmentation
from dlcore.data.image_headers import target_size
from dlcore.learner import Range, example_keys, mask_of
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import replica_key

__all__ = ["Mixed", "Mixing", "augmented_batch", "cutmix", "cutmix_box", "mix_batch", "mixup"]

Mixed = tuple[jax.Array, jax.Array]


class Mixing(NamedTuple):
    """Settings of mixup and CutMix.

    Args:
      mixup_alpha: alpha of mixup, which blends pairs of training examples by weights from Beta(alpha, alpha); 0: off.
      cutmix_alpha: alpha of CutMix, which pastes a box of one example into another; 0: off. With both on, each batch
        gets one of the two.
    """

    mixup_alpha: Annotated[float, Range(0)] = 0.0
    cutmix_alpha: Annotated[float, Range(0)] = 0.0

    @property
    def is_used(self) -> bool:
        """Whether any examples are mixed."""
        return not all(isinstance(alpha, Real) and alpha == 0 for alpha in self)


def mixup(
    key: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    alpha: float = 0.2,
    mask: jax.Array | None = None,
    keep_most: bool = False,
) -> Mixed:
    """Blend each example with another one of the batch.

    Args:
      key: PRNG key of the mixing ratios and partners.
      images: [B, ...] float.
      targets: [B, C], class probabilities or any vectors to blend.
      alpha: parameter of Beta(alpha, alpha); 0 mixes nothing.
      mask: [B]; where an example or its partner is padding (0) nothing is mixed.
      keep_most: take max(lam, 1 - lam), so that an example stays nearer to itself than to its partner.

    Returns:
      (images, targets), blended.
    """
    images, targets = jnp.asarray(images), jnp.asarray(targets)
    _check_floating("images", images)
    lam, partner_idx = _draw(key, images, targets, alpha, mask)
    lam = jnp.maximum(lam, 1 - lam) if keep_most else lam
    return _blend(lam, images, partner_idx), _blend(lam, targets, partner_idx)


def cutmix(
    key: jax.Array, images: jax.Array, targets: jax.Array, alpha: float = 1.0, mask: jax.Array | None = None
) -> Mixed:
    """Paste a box of another example of the batch into each example.

    Args:
      key: PRNG key of the mixing ratios and partners.
      images: [B, H, W, C].
      targets: [B, K], probabilities, or any vectors to blend.
      alpha: parameter of Beta(alpha, alpha); 0 mixes nothing.
      mask: [B]; where an example or its partner is padding (0) nothing is mixed.

    Returns:
      (images, targets), mixed.
    """
    images, targets = jnp.asarray(images), jnp.asarray(targets)
    if images.ndim != 4:
        raise ValueError(f"images has shape {images.shape}; allowed: [B, H, W, C]")
    drawing, placing = jax.random.split(key)
    lam, partner_idx = _draw(drawing, images, targets, alpha, mask)
    height, width = images.shape[1:3]
    center = jax.random.uniform(placing, (images.shape[0], 2)) * jnp.array([height, width])
    inside = jax.vmap(lambda s, c: cutmix_box(s, c, (height, width)))(lam, center)
    lam = 1 - inside.mean((1, 2), dtype=jnp.float32)
    return jnp.where(inside[..., None], images[partner_idx], images), _blend(lam, targets, partner_idx)


def cutmix_box(share: jax.Array, center: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Return the mask of CutMix's box.

    Its sides are H sqrt(1 - share) and W sqrt(1 - share), rounded down to an even number of pixels as in the paper's
    code; the border of the image clips it.

    Args:
      share: lam, the fraction of the image outside the box before it is clipped.
      center: [2], row and column of the box's center in pixels.
      size: (H, W) of the image.

    Returns:
      [H, W] bool, True inside.
    """
    check_shapes(share=(share, "0 to 1"), center=(center, "2 finite"))
    size = target_size(size, "size")
    half = (jnp.array(size) * jnp.sqrt(jnp.maximum(1 - share, 0))).astype(jnp.int32) // 2
    middle = center.astype(jnp.int32)
    low, high = jnp.clip(middle - half, 0, jnp.array(size)), jnp.clip(middle + half, 0, jnp.array(size))
    y, x = jnp.arange(size[0])[:, None], jnp.arange(size[1])[None]
    return (y >= low[0]) & (y < high[0]) & (x >= low[1]) & (x < high[1])


def mix_batch(
    key: jax.Array,
    images: jax.Array,
    targets: jax.Array,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
    mask: jax.Array | None = None,
) -> Mixed:
    """Apply mixup, CutMix, or a random one of the two to a batch.

    Args:
      key: PRNG key of the mixing ratios and partners.
      images: [B, H, W, C].
      targets: [B, K], probabilities, or any vectors to blend.
      mixup_alpha: alpha of mixup; 0 leaves it out.
      cutmix_alpha: alpha of CutMix; 0 leaves it out. With both on, a batch gets one of them with equal probability.
      mask: [B]; where an example or its partner is padding (0) nothing is mixed.

    Returns:
      (images, targets), mixed.
    """
    check_shapes(mixup_alpha=(mixup_alpha, ">= 0"), cutmix_alpha=(cutmix_alpha, ">= 0"))
    blends, pastes = (not isinstance(alpha, Real) or alpha != 0 for alpha in (mixup_alpha, cutmix_alpha))
    choice, inner = jax.random.split(key)
    if blends and pastes:
        return jax.lax.cond(
            jax.random.bernoulli(choice),
            lambda: mixup(inner, images, targets, mixup_alpha, mask),
            lambda: cutmix(inner, images, targets, cutmix_alpha, mask),
        )
    if blends:
        return mixup(inner, images, targets, mixup_alpha, mask)
    return cutmix(inner, images, targets, cutmix_alpha, mask) if pastes else (images, targets)


def augmented_batch(
    rng: jax.Array, images: jax.Array, batch: dict, augment: Augmentation | None, mixing: Mixing, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Augment and mix the images of a training step.

    Args:
      rng: PRNG key of the step.
      images: [B, H, W, C], preprocessed.
      batch: batch with `label: [B]` and `index`.
      augment: `(key, image [H, W, C]) -> image`; None for none.
      mixing: alphas of mixup and CutMix.
      num_classes: number of classes, K.

    Returns:
      (images, labels): labels are [B] ints, or class probabilities [B, K] where examples are mixed.
    """
    check_whole_number("num_classes", num_classes, 1)
    targets = batch["label"]
    # Augment each image under a key of its own.
    if augment is not None:
        images = jax.vmap(augment)(example_keys(jax.random.fold_in(rng, 0), batch), images)
    # MixUp and CutMix across the batch; replicas draw different mixtures.
    if mixing.is_used:
        key = replica_key(jax.random.fold_in(rng, 2))
        images, targets = mix_batch(key, images, jax.nn.one_hot(targets, num_classes), *mixing, mask_of(batch))
    return images, targets


def _draw(key, images, targets, alpha, mask) -> tuple[jax.Array, jax.Array]:
    """Draw (lam [B] float32, index of each example's partner [B])."""
    check_shapes(alpha=(alpha, ">= 0"))
    if isinstance(alpha, Real) and not 0 <= alpha < np.inf:
        raise ValueError(f"alpha={alpha}: out of range; allowed: at least 0, finite")
    _check_floating("targets", targets)
    batch = images.shape[0]
    if targets.shape[:1] != (batch,):
        raise ValueError(f"{targets.shape=}: does not fit {images.shape=}; allowed: one target an image")
    check_shapes(mask=(mask, f"mask {batch} or None"))
    drawing, ordering = jax.random.split(key)
    positive = jnp.asarray(alpha, jnp.float32)
    safe = jnp.where(positive > 0, positive, 1)
    lam = jnp.where(positive > 0, jax.random.beta(drawing, safe, safe, (batch,)), 1.0)
    partner_idx = jax.random.permutation(ordering, batch)
    if mask is not None:
        lam = jnp.where((mask > 0) & (mask[partner_idx] > 0), lam, 1.0)
    return lam, partner_idx


def _check_floating(name: str, values: jax.Array) -> None:
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(f"{name}.dtype={values.dtype}: no blend of integers; allowed: floating dtypes")


def _blend(lam: jax.Array, values: jax.Array, partner_idx: jax.Array) -> jax.Array:
    lam, dtype, values = lam.reshape(lam.shape + (1,) * (values.ndim - 1)), values.dtype, to_acc_dtype(values)
    return (lam * values + (1 - lam) * jnp.where(lam < 1, values[partner_idx], 0)).astype(dtype)
