"""Super-resolution: small images to large ones, by their difference alone (SRResNet) or also by an adversary (SRGAN).

Ledig et al. 2017, arXiv:1609.04802; pixel shuffle: Shi et al. 2016, arXiv:1609.05158.

    y = bicubic(x) + net(x)      net: conv -> residual blocks, + the first map -> [conv, pixel shuffle 2x] ... -> conv
    SRResNet minimizes |y - target|_1;  SRGAN adds a times -log D(y)

The adversary makes images sharper and their PSNR lower. Blocks have no batch norm (Lim et al. 2017, arXiv:1707.02921),
the loss is L1 in place of L2, and the content is compared by pixels; the papers add the net to nothing where we add it
to the bicubic image, so that training starts there.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.generative.image_to_image import l1, paired_learner
from dlcore.generative.pixels import normalize
from dlcore.generative.two_players import LossName
from dlcore.learner import Learner, Range, check_arguments
from dlcore.metrics.image_quality import psnr
from dlcore.nn import Conv
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.pixel_shuffle import pixel_shuffle
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype
from dlcore.ops.resize import resize

__all__ = ["SRResNet", "enlarge", "learner", "sharpness"]


def enlarge(x: jax.Array, factor: int, method: str = "bicubic") -> jax.Array:
    """Enlarge images as Pillow does.

    Args:
      x: [B, H, W, C], floating.
      factor: factor by which both sides shrink.
      method: bicubic, bilinear or nearest.

    Returns:
      [B, factor H, factor W, C].
    """
    check_shapes(x=(x, "B H W C"), factor=(factor, "int >= 1"))
    size = factor * x.shape[1], factor * x.shape[2]
    return resize(x, size, method, antialias=method != "nearest")


def sharpness(images: jax.Array) -> jax.Array:
    """Measure how much neighboring pixels differ.

    Args:
      images: [B, H, W, C].

    Returns:
      [B], the mean absolute difference of a pixel from its right and lower neighbors.
    """
    check_shapes(images=(images, "B H W C"), side=(min(images.shape[1:3]), ">= 2"))
    images = to_acc_dtype(images)
    across, down = images[:, :, 1:] - images[:, :, :-1], images[:, 1:] - images[:, :-1]
    return (jnp.abs(across).mean((1, 2, 3)) + jnp.abs(down).mean((1, 2, 3))) / 2


class SRResNet(nn.Module):
    """Enlarges images [B, H, W, C] to [B, factor H, factor W, C].

    Args:
      factor: factor of both sides: 2 or 4.
      width: channels.
      num_blocks: residual blocks.
    """

    factor: Annotated[int, Range(1)] = 2
    width: Annotated[int, Range(1)] = 32
    num_blocks: Annotated[int, Range(0)] = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Enlarge images: [B, H, W, C] in [-1, 1] -> [B, factor H, factor W, C], about [-1, 1]."""
        if self.factor not in (2, 4):
            raise ValueError(f"factor={self.factor}: not available; allowed: 2, 4")
        dtype = compute_dtype(self.dtype, x, self.variables)

        def conv(x, features, kernel, name, **options):
            return Conv(features, (kernel, kernel), dtype=dtype, name=name, **options)(x)

        first = h = nn.relu(conv(x, self.width, 5, "stem"))
        for k in range(self.num_blocks):
            h = h + conv(nn.relu(conv(h, self.width, 3, f"block{k}_conv0")), self.width, 3, f"block{k}_conv1")
        # Long skip connection around all blocks.
        h = first + conv(h, self.width, 3, "last")
        for k in range(self.factor // 2):
            # Sub-pixel convolution.
            h = nn.relu(pixel_shuffle(conv(h, 4 * self.width, 3, f"up{k}"), 2))
        h = conv(h, x.shape[-1], 3, "head", kernel_init=nn.initializers.normal(1e-3))
        # The network predicts the residual to bicubic enlargement.
        return enlarge(x, self.factor) + h.astype(acc_dtype_of(dtype or x.dtype))


@check_arguments
def learner(
    *,
    generator: SRResNet,
    discriminator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    loss: LossName = "non_saturating",
    adversarial_weight: Annotated[float, Range(0)] = 0.0,
) -> Learner:
    """Train on `{"low": [B, h, w, C], "image": [B, H, W, C], "index": [B]}`.

    Args:
      generator: the network that enlarges.
      discriminator: `__call__(y, train) -> logits [B, h, w]`; not used where its weight is 0.
      loss: adversarial, of both players: non_saturating, minimax, hinge or least_squares.
      adversarial_weight: weight of the generator's adversarial loss, beside an L1 loss in units of [-1, 1];
        0 is SRResNet.

    Returns:
      The learner. `evaluate` returns `psnr` in dB over the whole image, `psnr_bicubic`, `psnr_bilinear` and
      `psnr_nearest` of the baselines, and `sharpness` and `sharpness_bicubic` over that of the true image; `predict`
      needs `low`, and gives `{"sample": images in [0, 1]}`.
    """

    def measure(batch: dict, output: jax.Array, target: jax.Array) -> dict[str, jax.Array]:
        low = to_float(batch["low"])
        baselines = {
            f"psnr_{name}": jnp.clip(enlarge(low, generator.factor, name), 0, 1)
            for name in ("bicubic", "bilinear", "nearest")
        }
        numbers = {
            name: jnp.minimum(jax.vmap(psnr)(image, target), 100)
            for name, image in {"psnr": output, **baselines}.items()
        }
        target_sharpness = jnp.maximum(sharpness(target), 1e-6)
        return {
            **numbers,
            "sharpness": sharpness(output) / target_sharpness,
            "sharpness_bicubic": sharpness(baselines["psnr_bicubic"]) / target_sharpness,
        }

    return paired_learner(
        generator=generator,
        discriminator=discriminator,
        generator_optimizer=generator_optimizer,
        discriminator_optimizer=discriminator_optimizer,
        source=lambda batch: normalize(batch["low"]),
        target=lambda batch: normalize(batch["image"]),
        content=l1,
        measure=measure,
        loss=loss,
        adversarial_weight=adversarial_weight,
        content_weight=1.0,
        sees_source=False,
    )
