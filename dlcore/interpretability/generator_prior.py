"""Class images with a generator as prior: ascend the class score over the code of an image, not over its pixels.

Nguyen, Dosovitskiy, Yosinski, Brox & Clune, "Synthesizing the preferred inputs for neurons in neural networks via deep
generator networks" (2016), arXiv:1605.09304.

    z* = argmax_z  s_c(G(z)) - lambda ||z||^2,      z ~ N(0, I) at the start

The gradient passes through the classifier and the generator G, so that the image stays among those that G can make;
with pixels as the parameters (`dlcore.interpretability.class_image`) most solutions look like noise. Where the codes of
G are standard normal, lambda = 1/2 makes the result the most probable one under that prior and exp(s_c). G may be the
decoder of a VAE or the generator of a GAN.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_class_ids, check_shapes

__all__ = ["ascend_code"]


def ascend_code(
    generate: Callable[[jax.Array], jax.Array],
    score: Callable[[jax.Array], jax.Array],
    codes: jax.Array,
    labels: jax.Array,
    optimizer: optax.GradientTransformation,
    *,
    steps: int = 200,
    weight: float = 0.5,
) -> tuple[jax.Array, jax.Array]:
    """Optimize codes for the scores of classes.

    Args:
      generate: codes [B, D] -> images [B, H, W, C], each of its own code.
      score: images [B, H, W, C] -> scores before the softmax [B, K], each of its own image.
      codes: [B, D], to start from.
      labels: [B] int, the class of each image.
      optimizer: optax transformation for the codes.
      steps: number of updates.
      weight: lambda, of the squared norm of a code.

    Returns:
      (codes [B, D], scores of the classes [steps + 1, B], from the start on).
    """
    check_whole_number("steps", steps)
    check_shapes(codes=(codes, "B D"), labels=(labels, "int B"))
    if steps < 1 or not weight >= 0:
        raise ValueError(f"steps={steps}, weight={weight}: out of range; allowed: at least 1, and at least 0")
    classes = jax.eval_shape(lambda z: score(generate(z)), codes).shape[-1]
    check_class_ids("labels", labels, classes)

    def score_of(z: jax.Array) -> jax.Array:
        return jnp.take_along_axis(score(generate(z)), labels[:, None], 1)[:, 0]

    def loss(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = score_of(z)  # [B]
        return (weight * jnp.square(z).sum(-1) - scores).sum(), scores

    def update(carry, _):
        z, state = carry
        # Ascend the class scores through the generator, under the normal prior of the codes.
        gradient, scores = jax.grad(loss, has_aux=True)(z)
        updates, state = optimizer.update(gradient, state, z)
        return (optax.apply_updates(z, updates), state), scores

    (codes, _), scores = jax.lax.scan(update, (codes, optimizer.init(codes)), None, length=steps)
    return codes, jnp.concatenate([scores, score_of(codes)[None]])
