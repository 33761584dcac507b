"""SupCon (supervised contrastive learning): all views of all images of a class attract each other.

Khosla et al. 2020, arXiv:2004.11362 (the form with the sum outside of the logarithm).

    L_i = -1/|P(i)| sum_{p in P(i)} log e^{cos(z_i, z_p) / tau} / sum_{k != i} e^{cos(z_i, z_k) / tau}

over the 2N views i of a batch; P(i) are the other views of the same label, the image's own second view among them. With
labels that are all different it is SimCLR's loss. It is supervised: it stands here for the comparison with techniques
that find positives without labels.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean, nt_xent_scores
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import all_gather
from dlcore.self_supervised.siamese import Outputs, siamese_learner

__all__ = ["learner", "supcon_losses"]


def supcon_losses(
    a: jax.Array, b: jax.Array, labels: jax.Array, temperature: float | jax.Array = 0.1, mask: jax.Array | None = None
) -> jax.Array:
    """Contrast each of 2N views with all views; those of its label are positives, on all devices.

    Args:
      a: [N, D], embeddings of one view of N images.
      b: [N, D], embeddings of the other view of the same images.
      labels: [N] int, classes.
      temperature: tau > 0 that divides the cosines.
      mask: [N]; images of mask 0 are nobody's positives and negatives. None counts all.

    Returns:
      [2N], in nats.
    """
    check_shapes(labels=(labels, "int N"), a=(a, "N D"))
    scores, positives = nt_xent_scores(a, b, temperature, mask)  # [2N, 2M], [2N]
    log_probs = jax.nn.log_softmax(scores)
    columns = jnp.tile(all_gather(labels), 2)  # [2M]
    is_positive = (jnp.tile(labels, 2)[:, None] == columns) & jnp.isfinite(scores)
    is_positive |= jnp.arange(len(columns)) == positives[:, None]
    return -jnp.where(is_positive, log_probs, 0).sum(-1) / is_positive.sum(-1)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    preprocess: Preprocess = lambda images: images,
    temperature: Annotated[float, Range(1e-3)] = 0.1,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "label": [B], "index": [B]}`; labels say which images are alike.

    Args:
      model: `__call__(x, train) -> {"features": [B, D], "embeddings": [B, E]}`, see `SiameseNet` and `Embedder`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      preprocess: batch of views to the model's input.
      temperature: tau, by which cosines are divided.

    Returns:
      The learner. `evaluate` contrasts the images of a batch, so its loss depends on the batch's size. `predict`
      returns `features`, `embeddings` and `untrained`.
    """

    def compare(outputs: Outputs, batch: dict[str, Any]) -> tuple[jax.Array, Metrics]:
        first, second = (view["embeddings"] for view in outputs)
        mask = mask_of(batch)
        # Every view against all others; those of its label are positives.
        losses = supcon_losses(first, second, batch["label"], temperature, mask)  # [2B]
        mask = jnp.concatenate([mask, mask])
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask)}

    return siamese_learner(model, optimizer, augment, preprocess, compare)
