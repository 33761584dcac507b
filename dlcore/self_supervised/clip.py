"""CLIP: captions in place of labels. An image finds its own caption among those of the batch, and a caption its image.

Radford et al. 2021, arXiv:2103.00020; Zhai et al. 2023, arXiv:2303.15343 (SigLIP, with a learned b); the networks are
in `dlcore.models.clip`.

    s_ij = e^s cos(f(image_i), g(text_j)),   e^s <= 100
    CLIP     L = 1/2N sum_i -log softmax_j(s_ij)_i - log softmax_j(s_ji)_i
    SigLIP   L = 1/N sum_ij -log sigma(z_ij (s_ij + b)),   z_ij = 1 for i = j, else -1
    zero-shot: the class whose prompts' mean vector, "a photo of a dog" and the like, is nearest to the image

The learner is that of `dlcore.vision_language.retrieval`, under which vectors of all replicas are gathered, with their
gradients. After each step s is put back to at most log 100, where the loss would have no gradient to bring it back.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, State, check_arguments
from dlcore.losses import siglip_loss
from dlcore.models.clip import LARGEST_SCALE
from dlcore.ops import l2_normalize
from dlcore.ops.checks import check_shapes
from dlcore.vision_language import retrieval

__all__ = ["class_vectors", "learner"]


def class_vectors(model: nn.Module, params: Any, prompts: jax.Array) -> jax.Array:
    """Describe classes by their prompts.

    Args:
      model: model with a method `encode_text`.
      params: parameters of the model.
      prompts: [K, P, T] int, tokens of P prompts for each of K classes.

    Returns:
      [K, D], the mean of a class's vectors, of length 1.
    """
    check_shapes(prompts=(prompts, "int K P T"))
    if not prompts.size:
        raise ValueError(f"prompts={list(prompts.shape)}: none; allowed: [K, P, T], none of them 0")
    count, several, length = prompts.shape
    vectors = model.apply({"params": params}, prompts.reshape(-1, length), method="encode_text")
    mean = vectors.reshape(count, several, -1).mean(1)
    return l2_normalize(mean)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda images: images,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    loss: Literal["softmax", "sigmoid"] = "softmax",
) -> Learner:
    """Train on `{"image": [B, H, W, C], "captions": [B, R, T] int32, "index": [B]}`; labels are not used.

    Args:
      model: `CLIP` or `SigLIP`, or any with its call and a parameter `logit_scale`; for sigmoid also `logit_bias`.
      optimizer: any optax transformation.
      preprocess: images to the model's input.
      augment: `(key, image [H, W, C]) -> image`, applied to each preprocessed training image; None for none.
      loss: softmax, CLIP's, or sigmoid, SigLIP's.

    Returns:
      The learner of `retrieval`: training draws one caption an example in each step; `predict` returns the vectors
      `clip`, of the image, and `sentence`, of the first caption, both [B, D].
    """

    def sigmoid_contrast(params, images, captions, scale, mask):
        return siglip_loss(images, captions, 1 / scale.reshape(()), params["logit_bias"].reshape(()), mask)

    contrast = sigmoid_contrast if loss == "sigmoid" else retrieval.softmax_contrast
    base = retrieval.learner(
        model=model, optimizer=optimizer, preprocess=preprocess, augment=augment, contrast=contrast
    )

    def init(rng: jax.Array, batch: dict) -> State:
        if missing := {"image", "captions"} - set(batch):
            raise ValueError(f"batch={sorted(batch)}: no {min(missing)}; allowed: images with captions")
        return base.init(rng, batch)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Contrastive step on images and captions.
        state, metrics = base.update(state, batch)
        # Clip the logit scale, as CLIP does.
        scale = jnp.minimum(state.params["logit_scale"], jnp.log(LARGEST_SCALE))
        return state.replace(params={**state.params, "logit_scale": scale}), metrics

    return base._replace(init=init, update=update)
