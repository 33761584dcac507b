"""pix2pix: turn images into their partners, by an L1 loss and a discriminator that sees both.

Isola, Zhu, Zhou & Efros 2017, arXiv:1611.07004.

    G minimizes   -log D(x, G(x)) + lambda |y - G(x)|_1                             x: what is given, y: what is wanted
    D minimizes   -log D(x, y) - log(1 - D(x, G(x)))                                averaged over the patches

The paper halves D's loss, which slows D down; here both players have their own optimizer for that.
"""

from typing import Annotated

import optax
from flax import linen as nn

from dlcore.generative.image_to_image import l1, paired_learner
from dlcore.generative.pixels import normalize
from dlcore.generative.two_players import LossName
from dlcore.learner import Learner, Range, check_arguments

__all__ = ["learner"]


@check_arguments
def learner(
    *,
    generator: nn.Module,
    discriminator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    loss: LossName = "non_saturating",
    l1_weight: Annotated[float, Range(0)] = 100.0,
    adversarial_weight: Annotated[float, Range(0)] = 1.0,
) -> Learner:
    """Train on pairs `{"source": [B, H, W, C], "image": [B, H, W, C'], "index": [B]}`.

    Args:
      generator: `__call__(x, train) -> y`, both in [-1, 1].
      discriminator: `__call__(x, y, train) -> logits [B, h, w]`.
      loss: adversarial, of both players: non_saturating, minimax, hinge or least_squares.
      l1_weight: lambda, weight of the mean absolute difference, in units of [-1, 1].
      adversarial_weight: weight of the generator's adversarial loss; 0 trains by the L1 loss alone.

    Returns:
      The learner. `evaluate` returns `l1`, the mean absolute difference in [0, 1]; `predict` needs `source`, and gives
      `{"sample": images in [0, 1]}`.
    """
    return paired_learner(
        generator=generator,
        discriminator=discriminator,
        generator_optimizer=generator_optimizer,
        discriminator_optimizer=discriminator_optimizer,
        source=lambda batch: normalize(batch["source"]),
        target=lambda batch: normalize(batch["image"]),
        content=l1,
        measure=lambda batch, output, target: {"l1": l1(output, target)},
        loss=loss,
        adversarial_weight=adversarial_weight,
        content_weight=l1_weight,
        sees_source=True,
    )
