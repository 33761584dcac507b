"""Published networks of diffusers by name; `create_model` and `load_torch` of `dlcore.models` know them."""

import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from dlcore.generative import torch_diffusers
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.flux import Flux, image_positions
from dlcore.generative.mmdit import MMDiT
from dlcore.generative.pixart import PixArt

__all__ = ["MODELS", "example_inputs", "from_torch_names"]

MODELS = {
    "stable_diffusion_v1_unet": functools.partial(
        ConditionalUNet,
        channels=(320, 640, 1280, 1280),
        num_res_blocks=2,
        attention_levels=(0, 1, 2),
        num_heads=8,
        groups=32,
    ),
    "stable_diffusion_xl_unet": functools.partial(
        ConditionalUNet,
        channels=(320, 640, 1280),
        num_res_blocks=2,
        attention_levels=(1, 2),
        num_heads=None,
        head_features=64,
        groups=32,
        transformer_depths=(1, 2, 10),
        size_features=256,
    ),
    "consistency_imagenet64_unet": functools.partial(
        ConditionalUNet,
        channels=(192, 384, 576, 768),
        num_res_blocks=3,
        attention_levels=(1, 2, 3),
        num_heads=None,
        head_features=64,
        groups=32,
        num_classes=1000,
        resnet_time_scale_shift="scale_shift",
        resample="resnet",
        norm_in_middle=False,
    ),
    "stable_diffusion_v1_vae": functools.partial(
        AutoencoderKL, channels=(128, 256, 512, 512), num_res_blocks=2, groups=32
    ),
    "stable_diffusion_3_vae": functools.partial(
        AutoencoderKL,
        channels=(128, 256, 512, 512),
        num_res_blocks=2,
        latent_channels=16,
        groups=32,
        use_quant_conv=False,
        shift_factor=0.0609,
        scaling_factor=1.5305,
    ),
    "stable_diffusion_3_medium": functools.partial(MMDiT, width=1536, depth=24, num_heads=24),
    "pixart_alpha_512": functools.partial(
        PixArt, width=1152, depth=28, num_heads=16, out_channels=8, base_grid=32, position_scale=1.0
    ),
    "flux_1_schnell": functools.partial(Flux, width=3072, depth=19, single_depth=38, num_heads=24, axes=(16, 56, 56)),
    "flux_1_dev": functools.partial(
        Flux, width=3072, depth=19, single_depth=38, num_heads=24, axes=(16, 56, 56), has_guidance=True
    ),
}
TEXT_WIDTH = 768
"""Of the text that conditions the U-Net, and of Flux's pooled text: CLIP ViT-L/14's."""
TEXT_WIDTHS = 4096, 2048
"""Of the words of all transformers, T5-XXL's, and of the pooled text of MMDiT, that of two CLIPs."""


def example_inputs(model: nn.Module) -> tuple[Any, ...]:
    """Build inputs that initialize a network.

    Args:
      model: name from `MODELS`.

    Returns:
      An image for an autoencoder; for the others a latent or an image, a timestep and what they are conditioned on: no
      class and a text for a U-Net, a class for that of a consistency model, a text with its pooled vector for MMDiT and
      Flux, which has positions and may have a guidance too.
    """
    if isinstance(model, ConditionalUNet) and model.size_features is not None:
        words, added = jnp.zeros((1, 77, TEXT_WIDTHS[1])), (jnp.zeros((1, 1280)), jnp.zeros((1, 6)))
        return jnp.zeros((1, 128, 128, 4)), jnp.zeros(1), None, words, None, added
    if isinstance(model, ConditionalUNet) and model.num_classes is not None:
        return jnp.zeros((1, 64, 64, 3)), jnp.zeros(1), jnp.zeros(1, jnp.int32)
    if isinstance(model, ConditionalUNet):
        return jnp.zeros((1, 64, 64, 4)), jnp.zeros(1, jnp.int32), None, jnp.zeros((1, 77, TEXT_WIDTH))
    if isinstance(model, MMDiT):
        words, pooled = TEXT_WIDTHS
        return jnp.zeros((1, 64, 64, 16)), jnp.zeros(1), jnp.zeros((1, 77, words)), jnp.zeros((1, pooled))
    if isinstance(model, Flux):
        words, pooled, positions = (
            jnp.zeros((1, 77, TEXT_WIDTHS[0])),
            jnp.zeros((1, TEXT_WIDTH)),
            image_positions(32, 32),
        )
        guidance = jnp.zeros(1) if model.has_guidance else None
        return jnp.zeros((1, 1024, 64)), jnp.zeros(1), words, pooled, positions, None, guidance
    if isinstance(model, PixArt):
        return jnp.zeros((1, 64, 64, 4)), jnp.zeros(1), jnp.zeros((1, 120, TEXT_WIDTHS[0]))
    return (jnp.zeros((1, 64, 64, 3)),)


def from_torch_names(model: nn.Module, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of diffusers to the variables of a network.

    Args:
      model: name from `MODELS`.
      state_dict: PyTorch state dict, see `dlcore.generative.torch_diffusers`.

    Returns:
      {"params": ...}.

    Raises:
      ValueError: entries are missing, left over or of a wrong shape; they are listed by name.
    """
    return torch_diffusers.from_torch_names(model, state_dict, *example_inputs(model))
