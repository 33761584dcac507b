"""VideoMAE: masked autoencoding of clips, whose masks hide the same places in all frames (tubes).

Tong, Song, Wang & Wang, "VideoMAE: masked autoencoders are data-efficient learners for self-supervised video
pre-training" (2022), arXiv:2203.12602; the network is `dlcore.models.mae.VideoMAE`.

    r of the places of a frame are hidden, through all times;  the encoder reads the other tubelets
    L = mean over the hidden tubelets of |prediction - target|^2 / numbers of a tubelet
    target = the tubelet, or with `norm_pix_loss` (tubelet - mean) / (deviation + 1e-6) of each channel by itself

Neighboring frames are almost the same: a hidden patch could be copied from the next frame. A tube has no such neighbor,
and with 90 % of the places hidden the network must understand the motion. Everything else is
`dlcore.self_supervised.mae`, whose targets are normalized over all channels together.

The network's `mask_ratio` counts places here: of R x S places floor(R S (1 - r)) are seen, at all times.
"""

from typing import Any

import jax
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, check_arguments
from dlcore.models.mae import VideoMAE, visible_count
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.self_supervised.mae import filling_learner
from dlcore.self_supervised.tube_masks import tube_noise

__all__ = ["TubeMAE", "learner", "tubelet_targets"]


class TubeMAE(VideoMAE):
    """A `VideoMAE` whose share of hidden tubelets is one of places, so that no tube is cut.

    All fields of `VideoMAE`.
    """

    def num_visible(self, grid: tuple[int, ...]) -> int:
        """Count the tubelets that the encoder sees.

        Args:
          grid: (times, rows, columns) of tubelets.

        Returns:
          times floor(rows columns (1 - mask_ratio)).

        Raises:
          ValueError: no place would be seen, or none hidden.
        """
        return grid[0] * visible_count(grid[1] * grid[2], self.mask_ratio)


def tubelet_targets(tubelets: jax.Array, channels: int, norm_pix_loss: bool = True) -> jax.Array:
    """Build what is to be predicted of tubelets.

    Args:
      tubelets: [B, N, P], channels last in each pixel.
      channels: C, which divides P.
      norm_pix_loss: normalize each channel of a tubelet by its own mean and (unbiased) deviation.

    Returns:
      [B, N, P], at least float32.
    """
    check_shapes(tubelets=(tubelets, "B N P"), channels=(channels, "int >= 1"))
    if tubelets.shape[-1] % channels:
        raise ValueError(
            f"channels={channels}: not of tubelets of {tubelets.shape[-1]} numbers; allowed: divisors of it"
        )
    tubelets = to_acc_dtype(tubelets)
    if not norm_pix_loss:
        return tubelets
    pixels = tubelets.reshape(*tubelets.shape[:-1], -1, channels)
    if pixels.shape[-2] < 2:
        raise ValueError(
            f"tubelets={tubelets.shape}: one pixel has no deviation; allowed: at least 2, or norm_pix_loss=False"
        )
    mean, deviation = pixels.mean(-2, keepdims=True), pixels.std(-2, keepdims=True, ddof=1)
    return ((pixels - mean) / (deviation + 1e-6)).reshape(tubelets.shape)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda clips: clips,
    norm_pix_loss: bool = True,
) -> Learner:
    """Train an encoder of `{"image": [B, T, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `TubeMAE`.
      optimizer: any optax transformation.
      augment: `(key, preprocessed clip) -> clip`, such as a random crop; None leaves clips as they are.
      preprocess: batch of clips to the model's input.
      norm_pix_loss: predict each tubelet normalized by its own means and deviations.

    Returns:
      The learner, whose measures and predictions are those of `dlcore.self_supervised.mae`.
    """

    def targets(clips: jax.Array) -> Any:
        return tubelet_targets(model.patches(clips), clips.shape[-1], norm_pix_loss)

    return filling_learner(
        model=model, optimizer=optimizer, noise=tube_noise, targets=targets, augment=augment, preprocess=preprocess
    )
