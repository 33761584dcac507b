"""Masked autoencoders of images and of clips as networks of pages."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models.encoder import Encoder, module_encoder
from dlcore.models.mae import MAE
from dlcore.ops import unpatchify
from dlcore.report.context import ReportContext
from dlcore.self_supervised import encoders
from dlcore.self_supervised.video_mae import TubeMAE

__all__ = ["MaskedAutoencoder", "TubeAutoencoder"]


@dataclasses.dataclass(frozen=True)
class MaskedAutoencoder:
    """A transformer that sees a few patches of an image and paints the others; its flags are `--mae.FIELD`.

    Args:
      fields: fields of `MAE`
    """

    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    own_fields: ClassVar[tuple[str, ...]] = ("mae.mask_ratio", "mae.decoder_depth")

    @property
    def modules(self) -> dict[str, Callable]:
        """The network by the prefix of its flags."""
        return {"mae": partial(MAE, **self.fields)}

    def with_flags(self, flags: Any) -> "MaskedAutoencoder":
        """Return the network with the values of its flags in its fields."""
        return MaskedAutoencoder(flags.group("mae"))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": MAE(run.facts.image_shape[-1], **self.fields, dtype=run.dtype)}

    def encoder(self, run: Any) -> Encoder:
        """Describe the encoder, whose features are the mean of the patches' tokens."""
        return encoders.encoder(
            run,
            self.arguments(run)["model"],
            lambda state: {"params": state.params},
            method="encode",
            read=lambda tokens: tokens[:, 1:].mean(1),
        )

    def pretext_panels(self, context: ReportContext, run: Any) -> list:
        """Show images, the patches that the encoder saw, and the masked ones filled in."""
        from dlcore.report.self_supervised import reconstructions

        size, channels = self.fields["patch_size"], run.facts.image_shape[-1]
        prediction, target, masked = (np.asarray(context.outputs[n][:12]) for n in ("prediction", "target", "masked"))
        side = round(prediction.shape[1] ** 0.5) * size
        masked = np.repeat(masked[..., None], prediction.shape[-1] // channels, -1)

        def pixels(patches: jax.Array) -> np.ndarray:
            return np.asarray(unpatchify(jnp.asarray(patches), size, side, side))

        if context.flags.norm_pix_loss:  # each patch has mean 0 and variance 1
            target, filled = (np.clip(0.5 + pixels(x) / 4, 0, 1) for x in (target, prediction))
        else:
            target, filled = (pixels(x) * run.facts.std + run.facts.mean for x in (target, prediction))
        caption = (
            f"Test images, what the encoder saw of them, and the masked patches filled in. Squared error of these "
            f"{context.numbers['loss']:.3f}; the mean of the seen patches has {context.numbers['mean_patch']:.3f}."
        )
        return [reconstructions(np.clip(target, 0, 1), pixels(masked), filled, caption)]


@dataclasses.dataclass(frozen=True)
class TubeAutoencoder:
    """A transformer that sees a few tubes of a clip and paints the others; its flags are `--mae.FIELD`.

    Args:
      fields: fields of `TubeMAE`
    """

    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable]:
        """The network by the prefix of its flags."""
        return {"mae": partial(TubeMAE, **self.fields)}

    def with_flags(self, flags: Any) -> "TubeAutoencoder":
        """Return the network with the values of its flags in its fields."""
        return TubeAutoencoder(flags.group("mae"))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": TubeMAE(run.facts.image_shape[-1], **self.fields, dtype=run.dtype)}

    def encoder(self, run: Any) -> Encoder:
        """Describe the encoder, whose features are the mean of the tubelets' tokens."""
        return module_encoder(
            self.arguments(run)["model"],
            run.parts.data.arguments(run)["preprocess"],
            run.facts.image_shape,
            lambda state: {"params": state.params},
            lambda tokens: tokens.mean(1),
            method="encode",
        )
